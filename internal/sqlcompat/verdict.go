package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/utopia-go/pools/internal/suites"
)

// reasons says why a test cannot pass with a pool, by its name or that of a test that
// it is part of. One that begins with sometimes may pass, too. What hangs does not run
// with a pool; it is not looked at whether it has come to pass.
type reasons map[string]string

const (
	sometimes = "sometimes: "
	hanging   = "hangs: "
)

// of returns the reason for a test and the name under which it stands.
func (r reasons) of(test string) (name, reason string) {
	for name = test; ; {
		if reason = r[name]; reason != "" {
			return name, reason
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return "", ""
		}
		name = name[:i]
	}
}

// verdict is what comes out of the two runs of a suite. Tests are counted without
// their subtests, and failures are of subtests where there are some.
type verdict struct {
	both     int      // tests that passed in both runs
	theirs   []string // failed without a pool
	skipped  int      // without a pool
	cannot   []string // failed with a pool only, or did not run: the names in the table
	faults   []string // failed with a pool only, and are not
	needless []string // are in the table, and passed with a pool or did not run
	reasons  reasons
}

func compare(without, with suites.Results, r reasons) verdict {
	v := verdict{theirs: without.Failures(), skipped: without.Tests(suites.Skipped), reasons: r}
	for name, result := range without {
		if result == suites.Passed && with[name] == suites.Passed && !strings.Contains(name, "/") {
			v.both++
		}
	}
	bad := with.Failures()
	for name, result := range without { // such as tests that were skipped
		if result == suites.Passed && with[name] != suites.Passed && with[name] != suites.Failed && with[name] != suites.Began {
			bad = append(bad, name)
		}
	}
	slices.Sort(bad)
	used := map[string]bool{}
	for _, name := range bad {
		if result := without[name]; result == suites.Failed || result == suites.Began || result == suites.Skipped {
			continue
		}
		at, reason := r.of(name)
		used[at] = true
		if reason != "" {
			if !slices.Contains(v.cannot, at) {
				v.cannot = append(v.cannot, at)
			}
		} else if !partOf(name, bad) {
			v.faults = append(v.faults, name)
		}
	}
	for name, reason := range r {
		if !used[name] && !strings.HasPrefix(reason, sometimes) {
			v.needless = append(v.needless, name)
		}
	}
	slices.Sort(v.needless)
	return v
}

// partOf reports whether a subtest did not run because one that it is part of failed.
func partOf(name string, bad []string) bool {
	for i := range name {
		if name[i] == '/' && slices.Contains(bad, name[:i]) {
			return true
		}
	}
	return false
}

func (v verdict) print(w io.Writer, s suite, dbs int) {
	fmt.Fprintf(w, "%s (%s): %d tests pass in both runs, %d fail without a pool, too, %d are skipped, %d cannot pass with a pool; %d pools were made\n",
		s.name, s.what(), v.both, len(v.theirs), v.skipped, len(v.cannot), dbs)
	for _, name := range v.theirs {
		fmt.Fprintf(w, "  fails without a pool: %s\n", name)
	}
	for _, name := range v.cannot {
		_, reason := v.reasons.of(name)
		fmt.Fprintf(w, "  %s: %s\n", name, reason)
	}
}

// fault is an error if there is something in the table, or not in it, that should not.
func (v verdict) fault(output map[string]string) error {
	var faults []error
	for _, name := range v.faults {
		faults = append(faults, fmt.Errorf("%s passes without a pool and does not with one\n%s", name, excerpt(output[name], name)))
	}
	for _, name := range v.needless {
		faults = append(faults, fmt.Errorf("%s is in the table and did not fail with a pool only", name))
	}
	if v.both == 0 {
		faults = append(faults, errors.New("no test passed in both runs"))
	}
	return errors.Join(faults...)
}

// excerpt returns what was printed from a test's beginning on.
func excerpt(out, name string) string {
	const most = 40
	at := regexp.MustCompile(`=== RUN +` + regexp.QuoteMeta(name) + `\n`).FindStringIndex(out)
	if at == nil {
		return ""
	}
	lines := strings.SplitAfter(out[at[0]:], "\n")
	for i, line := range lines[1:] {
		if strings.HasPrefix(strings.TrimPrefix(line, "\x16"), "=== RUN ") && !strings.Contains(line, name+"/") {
			lines = lines[:i+1]
			break
		}
	}
	return strings.Join(lines[:min(most, len(lines))], "")
}
