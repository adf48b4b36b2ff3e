package main

import (
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/mod/semver"
)

// programs is the folder whose packages are not for users, although Go lets
// them be imported.
const programs = "bench"

// kept checks that the exported API of the last release is part of this one's.
func kept(root string, modules []*mod, version string, breaking bool, notes io.Writer) error {
	before, err := last(root, version)
	if err != nil {
		return err
	}
	if before == "" {
		fmt.Fprintf(notes, "release: no release before %s, so there is no API to keep\n", version)
		return nil
	}
	lost, err := missing(root, modules, before)
	if err != nil || !allowed(before, version, breaking) {
		return errors.Join(append(lost, err)...)
	}
	for _, change := range lost {
		fmt.Fprintf(notes, "release: %v\n", change)
	}
	return nil
}

// allowed says whether a version may break what an earlier one had.
func allowed(before, version string, breaking bool) bool {
	if semver.Major(version) == "v0" {
		return breaking && semver.MajorMinor(before) != semver.MajorMinor(version)
	}
	return breaking && semver.Major(before) != semver.Major(version)
}

// missing returns what the release before has in its API and modules have not.
func missing(root string, modules []*mod, before string) (lost []error, err error) {
	temp, err := os.MkdirTemp("", "pools-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if _, err := output(root, "git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--shared", "--branch", before, ".", temp); err != nil {
		return nil, err
	}
	earlier, err := load(temp)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", before, err)
	}
	then, err := exported(temp, earlier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", before, err)
	}
	now, err := exported(root, modules)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(then)) {
		if now[path] == nil {
			lost = append(lost, fmt.Errorf("%s of %s is gone", path, before))
			continue
		}
		for _, change := range apidiff.Changes(then[path], now[path]).Changes {
			if !change.Compatible {
				lost = append(lost, fmt.Errorf("%s has changed since %s: %s", path, before, change.Message))
			}
		}
	}
	return lost, nil
}

// exported returns the packages that users can import, by path.
func exported(root string, modules []*mod) (map[string]*types.Package, error) {
	packages := make(map[string]*types.Package)
	for _, m := range modules { // the root's workspace, and those with one of their own
		if m != modules[0] && !m.foreign(modules[0]) {
			continue
		}
		list, err := output(filepath.Join(root, m.dir), "go", "list", "-export", "-deps",
			"-f", "{{.ImportPath}} {{.Name}} {{.DepOnly}} {{.Export}}", "work")
		if err != nil {
			return nil, err
		}
		files := make(map[string]string) // export data by path
		var paths []string
		for line := range strings.Lines(list) {
			fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
			if len(fields) < 4 {
				continue // unsafe has no export data
			}
			path, name, dependency := fields[0], fields[1], fields[2] == "true"
			files[path] = fields[3]
			if !dependency && name != "main" && !private(modules[0], path) {
				paths = append(paths, path)
			}
		}
		from := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
			return os.Open(files[path])
		})
		for _, path := range paths {
			if packages[path], err = from.Import(path); err != nil {
				return nil, err
			}
		}
	}
	return packages, nil
}

// private says whether a package is not for users.
func private(root *mod, path string) bool {
	return slices.Contains(strings.Split(path, "/"), "internal") || strings.HasPrefix(path+"/", root.path+"/"+programs+"/")
}
