package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// virtual are the scenarios of virtual_test.go.
var virtual = []Scenario{
	{
		Name: "spike", Title: "50 callers at once on 5 warm connections of 50; an open takes 150 ms, a use 2 ms",
		Metrics: []Metric{Done, Begun, Opened},
	},
	{
		Name: "cold start", Title: "50 callers at once on an empty pool of 50; an open takes 150 ms, a use a second",
		Metrics: []Metric{Done, Begun, Opened},
	},
	{
		Name: overloadScenario, Title: "Callers with deadlines of 500 ms on 10; a use takes 50 ms, for 20 s twice as many as can be served",
		Metrics: []Metric{During, After, Recovered, Opened},
	},
}

// The scenario of overload_test.go.
const (
	overloadScenario = "overload"
	overloadSeconds  = 50 // in all
	overloadFrom     = 10 // the overload, in seconds
	overloadTo       = 30
	overloadSettled  = overloadTo + 3
	overloadCalm     = 0.7 // callers by the capacity, before and after
	overloadMost     = 2.0 // and during
	overloadSeeds    = 5   // runs; the figures are their means

	// What we hold ourselves to.
	duringLimit, afterLimit, recoveredLimit = 0.9, 0.97, 3.0
)

// overloadRivals take part in it.
var overloadRivals = []string{"pools", "puddle", "database/sql", "redigo", "channel+select"}

// inVirtualTime runs the tests in virtual time, since only tests have it, and
// returns what they printed.
func inVirtualTime(scenarioNames, rivalNames *regexp.Regexp) ([]*Result, error) {
	var all []*Result
	results := make(map[string]*Result)
	for _, s := range virtual {
		if scenarioNames.MatchString(s.Name) {
			results[s.Name] = &Result{Scenario: s, Name: s.Name, Rounds: []map[string]Sample{{}}, Series: make(map[string][]float64)}
			all = append(all, results[s.Name])
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	fmt.Fprintln(os.Stderr, "in virtual time")
	cmd := exec.Command("go", "test", "-count=1", "-json", "-run", "^TestVirtual", "github.com/utopia-go/pools/bench")
	cmd.Stderr = os.Stderr
	out, runErr := cmd.Output()
	var output []byte
	found := false
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var event struct{ Action, Key, Value, Output string }
		if err := lines.Decode(&event); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go test -json: %w\n%s", err, out)
		}
		output = append(output, event.Output...)
		if event.Action == "attr" && event.Key == "series" {
			var scenario, rival string
			if _, err := fmt.Sscanf(event.Value, "%q %q", &scenario, &rival); err != nil {
				return nil, fmt.Errorf("series %q: %w", event.Value, err)
			}
			if r := results[scenario]; r != nil && rivalNames.MatchString(rival) {
				series, err := numbers(strings.TrimPrefix(event.Value, fmt.Sprintf("%q %q ", scenario, rival)))
				if err != nil {
					return nil, fmt.Errorf("series %q: %w", event.Value, err)
				}
				r.Series[rival] = series
			}
		}
		if event.Action != "attr" || event.Key != "figure" {
			continue
		}
		var scenario, rival string
		var metric Metric
		var v float64
		if _, err := fmt.Sscanf(event.Value, "%q %q %q %g", &scenario, &rival, &metric, &v); err != nil {
			return nil, fmt.Errorf("figure %q: %w", event.Value, err)
		}
		found = true
		if r := results[scenario]; r != nil && rivalNames.MatchString(rival) {
			if r.Rounds[0][rival] == nil {
				r.Rounds[0][rival] = make(Sample)
			}
			r.Rounds[0][rival][metric] = v
		}
	}
	// A bar that is not met fails the test, and is told in the report.
	if !found {
		return nil, fmt.Errorf("go test, for the scenarios in virtual time: %v\n%s", runErr, output)
	}
	return all, nil
}

func numbers(text string) ([]float64, error) {
	var all []float64
	for field := range strings.FieldsSeq(text) {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
