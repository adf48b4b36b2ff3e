// Release checks that this checkout can be released as one version, and prints
// the git tags of that release, one a line, in the order in which they must be
// pushed: a module comes after those that it requires. It changes nothing and
// publishes nothing.
//
//	go run ./internal/release v0.1.0
//
// It checks that
//
//   - every module requires exactly this version of our other modules, and has
//     no replace or exclude line: "go run module/program@version" refuses them;
//   - go.work has the folder of each module, also for this version of it;
//   - no go.sum or go.work.sum has a line of our modules: it could not be right before the tags
//     exist;
//   - CHANGELOG.md has a section of this version, and other documents and comments
//     name no other version of our modules;
//   - nothing is uncommitted, and no tag of the release exists;
//   - the exported API of the last release, which is the highest version tag
//     below this one, is kept. With -breaking it prints what is not, and fails
//     only if semantic versioning forbids it: within a major version, and before
//     v1 within a minor one. The API is that of the machine that it runs on.
//
// Modules whose path is not of this repository have versions of their own major:
// compat/puddle, which is github.com/jackc/puddle/v2 to those who replace theirs
// by it, is v2.1.0 when the others are v0.1.0, and v2.100.0 at v1.0.0.
//
// To raise the version, write it into the go.mod files, the two go.work files,
// CHANGELOG.md and the documents; this program names each place that was forgotten.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	breaking := flag.Bool("breaking", false, "print incompatible changes of the API, and fail only where semantic versioning forbids them")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: go run ./internal/release [-breaking] v0.1.0")
	}
	root, err := output(".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		log.Fatal(err)
	}
	tags, err := check(root, flag.Arg(0), *breaking, os.Stderr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Join(tags, "\n"))
}

// check returns the tags of the release of the checkout in root, or all faults
// in one error. It writes to notes what is no fault and worth knowing.
func check(root, version string, breaking bool, notes io.Writer) ([]string, error) {
	if semver.Canonical(version) != version {
		return nil, fmt.Errorf("%q is not a version such as v0.1.0", version)
	}
	modules, err := load(root)
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(modules, version)
	if err != nil {
		return nil, err
	}
	return tags, errors.Join(
		agree(root, modules, version),
		changelog(root, version, notes),
		documents(root, modules, version),
		unreleased(root, tags),
		kept(root, modules, version, breaking, notes),
	)
}

// unreleased checks that the tags would be those of what was checked.
func unreleased(root string, tags []string) error {
	changed, err := output(root, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	var faults []error
	if changed != "" {
		faults = append(faults, fmt.Errorf("not committed, so the tags would be without it:\n%s", changed))
	}
	known, err := output(root, "git", "tag", "--list")
	if err != nil {
		return err
	}
	for tag := range strings.FieldsSeq(known) {
		if slices.Contains(tags, tag) {
			faults = append(faults, fmt.Errorf("the tag %s exists: choose a version that has not been released", tag))
		}
	}
	return errors.Join(faults...)
}

// output returns what a command prints, without the last newline.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, failed.Stderr)
	}
	return strings.TrimRight(string(out), "\n"), err
}
