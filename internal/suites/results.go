package suites

import (
	"regexp"
	"slices"
	"strings"
)

// Results are those of tests, by their names. A subtest has its parent's name before
// its own.
type Results map[string]Result

// Result is how a test has ended.
type Result string

// A test without any of the others' marks has begun and not ended: the program
// crashed, or its time was over.
const (
	Began   Result = "began"
	Passed  Result = "PASS"
	Failed  Result = "FAIL"
	Skipped Result = "SKIP"
)

// The test binary writes the mark before its own lines, if -test.v=test2json or
// go test -json asks for it: a test may print text without a line end.
var line = regexp.MustCompile(`(?m)(?:^|\x16) *(=== RUN  |--- PASS:|--- FAIL:|--- SKIP:) +(\S+)`)

// Parse reads what go test -v has printed.
func Parse(out []byte) Results {
	r := Results{}
	for _, m := range line.FindAllSubmatch(out, -1) {
		name, result := string(m[2]), Began
		switch string(m[1]) {
		case "--- PASS:":
			result = Passed
		case "--- FAIL:":
			result = Failed
		case "--- SKIP:":
			result = Skipped
		}
		r[name] = result
	}
	return r
}

// Tests counts the tests with that result, without subtests.
func (r Results) Tests(result Result) (n int) {
	for name, got := range r {
		if got == result && !strings.Contains(name, "/") {
			n++
		}
	}
	return n
}

// Failures returns those that failed or did not end, in order: the subtests instead of
// a test that has some.
func (r Results) Failures() (names []string) {
	below := map[string]bool{}
	for name, got := range r {
		if got != Failed && got != Began {
			continue
		}
		names = append(names, name)
		for i := range name {
			if name[i] == '/' {
				below[name[:i]] = true
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return below[name] })
	slices.Sort(names)
	return names
}
