package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/utopia-go/pools/internal/suites"
)

func TestCompare(t *testing.T) {
	without := suites.Results{"TestA": "PASS", "TestB": "PASS", "TestC": "FAIL", "TestD": "PASS", "TestD/x": "PASS", "TestE": "PASS", "TestF": "PASS", "TestG": "PASS", "TestH": "PASS", "TestI": "SKIP"}
	with := suites.Results{"TestA": "PASS", "TestB": "FAIL", "TestC": "FAIL", "TestD": "FAIL", "TestD/x": "FAIL", "TestE": "SKIP", "TestF": "PASS", "TestG": "PASS", "TestI": "FAIL"}
	v := compare(without, with, reasons{"TestD": "why", "TestF": "no longer", "TestG": sometimes + "why", "TestH": hanging + "why"})
	for what, lists := range map[string][2][]string{
		"faults":   {v.faults, {"TestB", "TestE"}},
		"cannot":   {v.cannot, {"TestD", "TestH"}},
		"needless": {v.needless, {"TestF"}},
		"theirs":   {v.theirs, {"TestC"}},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: %v, want %v", what, lists[0], lists[1])
		}
	}
	if v.both != 3 || v.skipped != 1 {
		t.Errorf("%d pass in both, %d are skipped", v.both, v.skipped)
	}
	err := v.fault(map[string]string{"TestB": "=== RUN   TestA\n=== RUN   TestB\n    b_test.go:1: why\n=== RUN   TestC\n"})
	if err == nil || !strings.Contains(err.Error(), "TestF is in the table") || !strings.Contains(err.Error(), "b_test.go:1: why") || strings.Contains(err.Error(), "RUN   TestC") {
		t.Error(err)
	}
	if err := compare(suites.Results{"TestA": "PASS"}, suites.Results{"TestA": "PASS"}, nil).fault(nil); err != nil {
		t.Error(err)
	}
}

func TestHook(t *testing.T) {
	got, err := hook("package sql\n\nfunc OpenDB(c driver.Connector) *DB {\n\treturn nil\n}\n")
	if err != nil || !strings.Contains(got, "*DB {\n\tif Below != nil {") || !strings.HasSuffix(got, "return conn }\n") {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := hook("package sql\n"); err == nil {
		t.Error("there is no OpenDB")
	}
}

// The reasons are for tests that can have failed: each is a name.
func TestTables(t *testing.T) {
	names := map[string]bool{}
	for _, s := range all {
		if names[s.name] {
			t.Errorf("there are two suites %s", s.name)
		}
		names[s.name] = true
		for name, reason := range s.cannot {
			if !strings.HasPrefix(name, "Test") || reason == "" || slices.Contains(s.skip, name) {
				t.Errorf("%s: %s: %q", s.name, name, reason)
			}
		}
	}
}
