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
}

// inVirtualTime runs virtual_test.go, since only tests have virtual time, and
// returns what it printed.
func inVirtualTime(scenarioNames, rivalNames *regexp.Regexp) ([]*Result, error) {
	var all []*Result
	results := make(map[string]*Result)
	for _, s := range virtual {
		if scenarioNames.MatchString(s.Name) {
			results[s.Name] = &Result{Scenario: s, Name: s.Name, Rounds: []map[string]Sample{{}}}
			all = append(all, results[s.Name])
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	fmt.Fprintln(os.Stderr, "in virtual time")
	cmd := exec.Command("go", "test", "-count=1", "-json", "-run", "^TestVirtual$", "github.com/utopia-go/pools/bench")
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
