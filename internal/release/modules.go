package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// mod is one module of the repository.
type mod struct {
	dir  string // slash-separated, "." for the root
	path string
	file *modfile.File
}

// load reads the go.mod files that git knows, the root's first.
func load(root string) ([]*mod, error) {
	files, err := output(root, "git", "ls-files", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	var modules []*mod
	for name := range strings.Lines(files) {
		name = strings.TrimSpace(name)
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		file, err := modfile.Parse(name, text, nil)
		if err != nil {
			return nil, err
		}
		if file.Module == nil {
			return nil, fmt.Errorf("%s has no module line", name)
		}
		modules = append(modules, &mod{dir: path.Dir(name), path: file.Module.Mod.Path, file: file})
	}
	slices.SortFunc(modules, func(a, b *mod) int { return cmp.Compare(a.dir, b.dir) })
	if len(modules) == 0 || modules[0].dir != "." {
		return nil, fmt.Errorf("%s has no go.mod in git", root)
	}
	return modules, nil
}

// foreign says whether m's path is not that of its place in the repository.
func (m *mod) foreign(root *mod) bool {
	return m.path != path.Join(root.path, m.dir)
}

// tag returns m's tag of a release.
func (m *mod) tag(root *mod, version string) (string, error) {
	if !m.foreign(root) {
		return strings.TrimPrefix(path.Join(m.dir, version), "./"), nil
	}
	_, major, ok := module.SplitPathVersion(m.path)
	if !ok || major == "" {
		return "", fmt.Errorf("%s: the path %s is neither of this repository nor one that ends in a major version", m.dir, m.path)
	}
	numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	ours, err1 := strconv.Atoi(numbers[0])
	minor, err2 := strconv.Atoi(numbers[1])
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	if minor >= 100 {
		return "", fmt.Errorf("%s: the minor version of %s is above 99, and would be a later major's in the tag", m.dir, version)
	}
	return fmt.Sprintf("%s/%s.%d.%s", m.dir, major[1:], 100*ours+minor, numbers[2]), nil
}

// tagsOf returns the tags of a release, each after those of what it requires.
func tagsOf(modules []*mod, version string) ([]string, error) {
	byPath := make(map[string]*mod, len(modules))
	for _, m := range modules {
		byPath[m.path] = m
	}
	var tags []string
	var faults []error
	const under, done = 1, 2
	state := make(map[*mod]int, len(modules))
	var visit func(m *mod)
	visit = func(m *mod) {
		if state[m] == under {
			faults = append(faults, fmt.Errorf("%s requires itself, by way of others", m.path))
		}
		if state[m] != 0 {
			return
		}
		state[m] = under
		for _, r := range m.file.Require {
			if other := byPath[r.Mod.Path]; other != nil && !other.foreign(modules[0]) {
				visit(other)
			}
		}
		state[m] = done
		tag, err := m.tag(modules[0], version)
		tags, faults = append(tags, tag), append(faults, err)
	}
	for _, m := range modules {
		visit(m)
	}
	return tags, errors.Join(faults...)
}

// agree checks that go.mod, go.sum and go.work files are those of a release.
func agree(root string, modules []*mod, version string) error {
	byPath := make(map[string]*mod)
	for _, m := range modules {
		if !m.foreign(modules[0]) {
			byPath[m.path] = m
		}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	required := make(map[string]bool)
	work := []*mod{} // of the root's workspace
	for _, m := range modules {
		name := path.Join(m.dir, "go.mod")
		if err := module.CheckPathMajor(version, pathMajor(modules[0].path)); err != nil && m == modules[0] {
			fault("%s: %w: change the module's path", name, err)
		}
		needs := make(map[string]bool)
		for _, r := range m.file.Require {
			if !ours(modules[0], r.Mod.Path) {
				continue
			}
			if byPath[r.Mod.Path] == nil {
				fault("%s requires %s, which is not in this repository", name, r.Mod.Path)
			} else if r.Mod.Version != version {
				fault("%s requires %s: write %s", name, r.Mod, version)
			}
			needs[r.Mod.Path] = true
		}
		for _, r := range m.file.Replace {
			fault("%s replaces %s: write that into go.work, users do not get it", name, r.Old.Path)
		}
		for _, e := range m.file.Exclude {
			fault("%s excludes %s: require another version instead, users do not get it", name, e.Mod)
		}
		for _, sums := range []string{"go.sum", "go.work.sum"} {
			text, err := os.ReadFile(filepath.Join(root, m.dir, sums))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				faults = append(faults, err)
			}
			for line := range bytes.Lines(text) {
				if of, _, _ := strings.Cut(string(line), " "); ours(modules[0], of) {
					fault("%s has a line of %s: take it out", path.Join(m.dir, sums), of)
				}
			}
		}
		if m.foreign(modules[0]) {
			faults = append(faults, workspace(root, m.dir, version, []*mod{m}, needs, byPath))
			continue
		}
		work = append(work, m)
		for p := range needs {
			required[p] = true
		}
	}
	return errors.Join(append(faults, workspace(root, ".", version, work, required, byPath))...)
}

// workspace checks that the go.work in dir uses the modules, and that it has
// the folders of those that they require in place of this version.
func workspace(root, dir, version string, modules []*mod, required map[string]bool, byPath map[string]*mod) error {
	name := path.Join(dir, "go.work")
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return err
	}
	file, err := modfile.ParseWork(name, text, nil)
	if err != nil {
		return err
	}
	var faults []error
	used := make(map[string]bool)
	for _, u := range file.Use {
		used[path.Join(dir, u.Path)] = true
	}
	for _, m := range modules {
		if !used[m.dir] {
			faults = append(faults, fmt.Errorf("%s does not use %s", name, m.dir))
		}
	}
	replaced := make(map[string]bool)
	for _, r := range file.Replace {
		m := byPath[r.Old.Path]
		if m == nil {
			continue
		}
		if folder := path.Join(dir, r.New.Path); r.Old.Version != version || folder != m.dir {
			faults = append(faults, fmt.Errorf("%s replaces %s by %s: write %s, and its folder", name, r.Old, r.New.Path, version))
		}
		replaced[r.Old.Path] = true
	}
	for _, m := range byPath {
		if required[m.path] && !replaced[m.path] {
			faults = append(faults, fmt.Errorf("%s: add a line that replaces %s %s by its folder", name, m.path, version))
		}
	}
	return errors.Join(faults...)
}

// ours says whether a module's path is of this repository.
func ours(root *mod, path string) bool {
	return path == root.path || strings.HasPrefix(path, root.path+"/")
}

func pathMajor(path string) string {
	_, major, _ := module.SplitPathVersion(path)
	return major
}

// changelog checks that CHANGELOG.md has a section of the version.
func changelog(root, version string, notes io.Writer) error {
	text, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	heading := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(version[1:]) + `( - (.*))?$`).FindSubmatch(text)
	if heading == nil {
		return fmt.Errorf("CHANGELOG.md has no section \"## %s - (date)\"", version[1:])
	}
	date := string(heading[2])
	if date == "unreleased" {
		fmt.Fprintf(notes, "release: CHANGELOG.md calls %s unreleased: write its date before you tag\n", version)
	} else if !regexp.MustCompile(`^\d{4}-\d\d-\d\d$`).MatchString(date) {
		return fmt.Errorf("CHANGELOG.md: write the heading as \"## %s - 2026-01-31\" or \"## %[1]s - unreleased\"", version[1:])
	}
	return nil
}

// last returns the highest released version below this one, or "".
func last(root, version string) (string, error) {
	tags, err := output(root, "git", "tag", "--list", "v*")
	if err != nil {
		return "", err
	}
	highest := ""
	for tag := range strings.FieldsSeq(tags) {
		if semver.Canonical(tag) == tag && semver.Prerelease(tag) == "" &&
			semver.Compare(tag, version) < 0 && semver.Compare(tag, highest) > 0 {
			highest = tag
		}
	}
	return highest, nil
}

// documents checks the versions of our modules that the documentation and the
// comments name: those of the release. The changelog and tests may name others.
func documents(root string, modules []*mod, version string) error {
	files, err := output(root, "git", "ls-files", "*.md", "*.go")
	if err != nil {
		return err
	}
	foreign := make(map[string]string) // the versions of those with a foreign path, by where they are had
	for _, m := range modules {
		if tag, err := m.tag(modules[0], version); err != nil {
			return err
		} else if m.foreign(modules[0]) {
			foreign[path.Join(modules[0].path, m.dir, pathMajor(m.path))] = path.Base(tag)
		}
	}
	named := regexp.MustCompile(regexp.QuoteMeta(modules[0].path) + `(?:/[\w./-]*)?[@ ]v\d+\.\d+\.\d+(?:-[\w.-]+)?`)
	var faults []error
	for name := range strings.Lines(files) {
		name = strings.TrimSpace(name)
		if name == "CHANGELOG.md" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		for _, found := range named.FindAllString(string(text), -1) {
			at := strings.LastIndexAny(found, "@ ")
			if want := cmp.Or(foreign[found[:at]], version); found[at+1:] != want {
				faults = append(faults, fmt.Errorf("%s names %s: write %s", name, found, want))
			}
		}
	}
	return errors.Join(faults...)
}
