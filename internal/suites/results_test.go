package suites

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	out := "\x16=== RUN   TestA\nno line end\x16--- PASS: TestA (0.00s)\n" +
		"=== RUN   TestB\n=== RUN   TestB/x y\n    --- FAIL: TestB/x_y (0.00s)\n--- FAIL: TestB (0.01s)\n" +
		"=== RUN   TestC\n--- SKIP: TestC (0.00s)\n=== RUN   TestD\nit says --- PASS: TestE\npanic: no\n"
	r := Parse([]byte(out))
	for name, want := range map[string]Result{"TestA": Passed, "TestB": Failed, "TestB/x_y": Failed, "TestC": Skipped, "TestD": Began, "TestE": ""} {
		if r[name] != want {
			t.Errorf("%s: %q, want %q", name, r[name], want)
		}
	}
	if n := r.Tests(Failed); n != 1 {
		t.Errorf("%d failed", n)
	}
	delete(r, "TestB/x") // from its RUN line, which has the name with a space
	if got := r.Failures(); !slices.Equal(got, []string{"TestB/x_y", "TestD"}) {
		t.Error(got)
	}
}
