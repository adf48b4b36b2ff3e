package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kit is a repository of three modules that is ready for its first release.
var kit = map[string]string{
	"go.mod":        "module example.com/kit\n\ngo 1.26\n",
	"kit.go":        "package kit\n\n// A Tool has what Sub takes.\ntype Tool struct{ Size int }\n\nfunc New(size int) *Tool { return &Tool{size} }\n",
	"more/more.go":  "package more\n\nfunc More() {}\n",
	"main/main.go":  "package main\n\nfunc Main() {}\n\nfunc main() { Main() }\n",
	"internal/i.go": "package internal\n\nfunc Inner() {}\n",
	"CHANGELOG.md":  "# Changelog\n\n## 0.2.0 - unreleased\n\n- more\n\n## 0.1.0 - 2026-01-31\n\n- all\n",
	"go.work":       "go 1.26\n\nuse (\n\t.\n\t./asub\n)\n\nreplace example.com/kit v0.1.0 => ./\n",
	// Before the root by name, and after it by what it requires.
	"asub/go.mod":            "module example.com/kit/asub\n\ngo 1.26\n\nrequire example.com/kit v0.1.0\n",
	"asub/sub.go":            "package asub\n\nimport \"example.com/kit\"\n\nfunc Sub(*kit.Tool) {}\n",
	"compat/other/go.mod":    "module example.org/other/v2\n\ngo 1.26\n\nrequire example.com/kit v0.1.0\n",
	"compat/other/go.work":   "go 1.26\n\nuse .\n\nreplace example.com/kit v0.1.0 => ../../\n",
	"compat/other/other.go":  "package other\n\nimport \"example.com/kit\"\n\nvar Tool kit.Tool\n",
	"README.md":              "Get example.com/kit/asub@v0.1.0, and\n\nreplace example.org/other/v2 => example.com/kit/compat/other/v2 v2.1.0\n",
	"bench/rivals/rivals.go": "package rivals\n\nfunc Rival() {}\n",
	"bench/go.mod":           "module example.com/kit/bench\n\ngo 1.26\n",
	"asub/deeper/go.mod":     "module example.com/kit/asub/deeper\n\ngo 1.26\n\nrequire example.com/kit/zlast v0.1.0\n",
	"asub/deeper/deeper.go":  "package deeper\n",
	"zlast/go.mod":           "module example.com/kit/zlast\n\ngo 1.26\n",
	"zlast/zlast.go":         "package zlast\n",
}

func init() {
	kit["go.work"] = strings.Replace(kit["go.work"], "./asub\n", "./asub\n\t./asub/deeper\n\t./bench\n\t./zlast\n", 1) +
		"\nreplace example.com/kit/zlast v0.1.0 => ./zlast\n"
}

// repository makes a git repository of kit.
func repository(t *testing.T) string {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOWORK", "")
	t.Setenv("GOFLAGS", "")
	for _, name := range []string{"GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"} {
		t.Setenv(name, "kit@example.com")
	}
	root := t.TempDir()
	git(t, root, "init", "--quiet")
	for name, text := range kit {
		write(t, root, name, text)
	}
	commit(t, root)
	return root
}

func git(t *testing.T, root string, args ...string) {
	t.Helper()
	if _, err := output(root, "git", args...); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, root string) {
	t.Helper()
	git(t, root, "add", "--all")
	git(t, root, "commit", "--quiet", "--allow-empty", "--message", "kit")
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text that must be in the file.
func edit(t *testing.T, root, name, old, replacement string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	write(t, root, name, strings.ReplaceAll(string(text), old, replacement))
}

func TestTags(t *testing.T) {
	root := repository(t)
	var notes strings.Builder
	tags, err := check(root, "v0.1.0", false, &notes)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"v0.1.0", "asub/v0.1.0", "zlast/v0.1.0", "asub/deeper/v0.1.0", "bench/v0.1.0", "compat/other/v2.1.0"}
	if !slices.Equal(tags, want) {
		t.Errorf("tags %q, want %q", tags, want)
	}
	if !strings.Contains(notes.String(), "no release before v0.1.0") {
		t.Errorf("notes: %s", &notes)
	}
}

func TestTagsOfForeignModules(t *testing.T) {
	modules, err := load(repository(t))
	if err != nil {
		t.Fatal(err)
	}
	other := modules[slices.IndexFunc(modules, func(m *mod) bool { return m.dir == "compat/other" })]
	for version, want := range map[string]string{
		"v0.1.0":      "compat/other/v2.1.0",
		"v0.12.3":     "compat/other/v2.12.3",
		"v0.2.0-rc.1": "compat/other/v2.2.0-rc.1",
		"v1.0.0":      "compat/other/v2.100.0",
		"v0.100.0":    "",
	} {
		if got, err := other.tag(modules[0], version); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", version, got, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		change  func(t *testing.T, root string)
		want    string
	}{
		"no version":       {"0.1.0", nil, "not a version"},
		"short":            {"v0.1", nil, "not a version"},
		"another version":  {"v0.2.0", nil, "asub/go.mod requires example.com/kit@v0.1.0: write v0.2.0"},
		"of go.work too":   {"v0.2.0", nil, "compat/other/go.work replaces example.com/kit@v0.1.0"},
		"v2 without /v2":   {"v2.0.0", nil, "should be v0 or v1"},
		"not in changelog": {"v0.3.0", nil, `no section "## 0.3.0`},
		"changelog without a date": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "CHANGELOG.md", "2026-01-31", "soon")
		}, "write the heading"},
		"one disagrees": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "compat/other/go.mod", "v0.1.0", "v0.0.9")
		}, "compat/other/go.mod requires example.com/kit@v0.0.9"},
		"a replace": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "asub/go.mod", "require", "replace example.com/kit => ../\n\nrequire")
		}, "asub/go.mod replaces example.com/kit"},
		"an exclude": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "asub/go.mod", "require", "exclude example.com/kit v0.0.1\n\nrequire")
		}, "asub/go.mod excludes"},
		"a sum of ours": {"v0.1.0", func(t *testing.T, root string) {
			write(t, root, "asub/go.sum", "example.com/kit v0.1.0 h1:x\n")
		}, "asub/go.sum has a line of example.com/kit"},
		"a sum of ours in go.work.sum": {"v0.1.0", func(t *testing.T, root string) {
			write(t, root, "go.work.sum", "example.com/kit/zlast v0.1.0 h1:x\n")
		}, "go.work.sum has a line of example.com/kit/zlast"},
		"a module that is not there": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "asub/go.mod", "example.com/kit v", "example.com/kit/gone v")
		}, "not in this repository"},
		"a circle": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "zlast/go.mod", "go 1.26", "go 1.26\n\nrequire example.com/kit/asub/deeper v0.1.0")
		}, "requires itself"},
		"not used by go.work": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "go.work", "\t./zlast\n", "")
		}, "go.work does not use zlast"},
		"no folder in go.work": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "go.work", "replace example.com/kit/zlast v0.1.0 => ./zlast", "")
		}, "replaces example.com/kit/zlast v0.1.0"},
		"another's folder in go.work": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "go.work", "=> ./zlast", "=> ./asub")
		}, "write v0.1.0, and its folder"},
		"a foreign path without a major version": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "compat/other/go.mod", "other/v2", "other")
		}, "nor one that ends in a major version"},
		"another version in a document": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "README.md", "asub@v0.1.0", "asub@v0.0.1")
		}, "README.md names example.com/kit/asub@v0.0.1: write v0.1.0"},
		"another version of a foreign path in a document": {"v0.1.0", func(t *testing.T, root string) {
			edit(t, root, "README.md", "v2.1.0", "v0.1.0")
		}, "README.md names example.com/kit/compat/other/v2 v0.1.0: write v2.1.0"},
		"already released": {"v0.1.0", func(t *testing.T, root string) {
			git(t, root, "tag", "asub/v0.1.0")
		}, "the tag asub/v0.1.0 exists"},
	} {
		t.Run(name, func(t *testing.T) {
			root := repository(t)
			if c.change != nil {
				c.change(t, root)
				commit(t, root)
			}
			_, err := check(root, c.version, false, t.Output())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestNotCommitted(t *testing.T) {
	root := repository(t)
	write(t, root, "new.go", "package kit\n")
	if _, err := check(root, "v0.1.0", false, t.Output()); err == nil || !strings.Contains(err.Error(), "new.go") {
		t.Errorf("%v, want new.go", err)
	}
}

// An API is compared with the highest release below the version.
func TestAPI(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, root string)
		want   string // "": the API is kept
	}{
		"an addition": {func(t *testing.T, root string) {
			edit(t, root, "kit.go", "func New", "func Newer() {}\n\nfunc New")
		}, ""},
		"in a program, bench and internal": {func(t *testing.T, root string) {
			edit(t, root, "main/main.go", "Main", "Other")
			edit(t, root, "internal/i.go", "Inner", "Other")
			edit(t, root, "bench/rivals/rivals.go", "Rival", "Other")
		}, ""},
		"a function goes": {func(t *testing.T, root string) {
			edit(t, root, "kit.go", "func New", "func Other")
		}, "example.com/kit has changed since v0.1.0: New: removed"},
		"a field's type changes": {func(t *testing.T, root string) {
			edit(t, root, "kit.go", "Size int", "Size int64")
			edit(t, root, "kit.go", "size int)", "size int64)")
		}, "Tool.Size"},
		"a package goes": {func(t *testing.T, root string) {
			git(t, root, "rm", "-r", "--quiet", "more")
		}, "example.com/kit/more of v0.1.0 is gone"},
		"in a nested module": {func(t *testing.T, root string) {
			edit(t, root, "asub/sub.go", "*kit.Tool", "kit.Tool")
		}, "example.com/kit/asub has changed"},
		"in one with a foreign path": {func(t *testing.T, root string) {
			edit(t, root, "compat/other/other.go", "var Tool kit.Tool", "var Tool *kit.Tool")
		}, "example.org/other/v2 has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			root := repository(t)
			git(t, root, "tag", "v0.1.0")
			c.change(t, root)
			modules, err := load(root)
			if err != nil {
				t.Fatal(err)
			}
			lost, err := missing(root, modules, "v0.1.0")
			if err != nil {
				t.Fatal(err)
			}
			if got := errors.Join(lost...); c.want == "" && got != nil || c.want != "" && (got == nil || !strings.Contains(got.Error(), c.want)) {
				t.Errorf("%v, want %q", got, c.want)
			}
		})
	}
}

func TestAPIOfTheLastRelease(t *testing.T) {
	root := repository(t)
	git(t, root, "tag", "v0.0.9")
	edit(t, root, "kit.go", "func New", "func Old() {}\n\nfunc New")
	commit(t, root)
	for _, tag := range []string{"v0.0.10", "v0.1.0-rc.1", "v0.1.1", "vain", "asub/v0.0.11"} {
		git(t, root, "tag", tag)
	}
	edit(t, root, "kit.go", "func Old() {}\n\n", "")
	commit(t, root)
	if before, err := last(root, "v0.1.0"); before != "v0.0.10" || err != nil {
		t.Errorf("the last release is %q, %v", before, err)
	}
	const gone = "example.com/kit has changed since v0.0.10: Old: removed"
	if _, err := check(root, "v0.1.0", false, t.Output()); err == nil || !strings.Contains(err.Error(), gone) {
		t.Errorf("%v, want %q", err, gone)
	}
	var notes strings.Builder
	if _, err := check(root, "v0.1.0", true, &notes); err != nil || !strings.Contains(notes.String(), gone) {
		t.Errorf("with -breaking: %v, and notes %q, want %q", err, &notes, gone)
	}
}

func TestBreakingIsForNewMajors(t *testing.T) {
	for _, c := range []struct {
		before, version string
		want            bool
	}{
		{"v0.1.0", "v0.1.1", false},
		{"v0.1.0", "v0.2.0", true},
		{"v0.9.0", "v1.0.0", true},
		{"v1.0.0", "v1.0.1", false},
		{"v1.0.0", "v1.1.0", false},
		{"v1.1.0", "v2.0.0", true},
	} {
		if got := allowed(c.before, c.version, true); got != c.want {
			t.Errorf("%s after %s: %v", c.version, c.before, got)
		}
		if allowed(c.before, c.version, false) {
			t.Errorf("%s after %s without -breaking", c.version, c.before)
		}
	}
}
