package main

import (
	"bufio"
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
// adds what it printed.
func (run *Run) inVirtualTime(pattern *regexp.Regexp) error {
	results := make(map[string]*Result)
	for _, s := range virtual {
		if pattern.MatchString(s.Name) {
			r := &Result{Scenario: s, Name: s.Name, Rounds: []map[string]Sample{{}}}
			results[s.Name] = r
			run.Results = append(run.Results, r)
		}
	}
	if len(results) == 0 {
		return nil
	}
	fmt.Fprintln(os.Stderr, "in virtual time")
	cmd := exec.Command("go", "test", "-count=1", "-json", "-run", "^TestVirtual$", "github.com/utopia-go/pools/bench")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go test, for the scenarios in virtual time: %w", err)
	}
	var output []byte
	lines := json.NewDecoder(bufio.NewReader(out))
	for {
		var event struct{ Action, Key, Value, Output string }
		if err := lines.Decode(&event); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("go test -json: %w", err)
		}
		output = append(output, event.Output...)
		if event.Action != "attr" || event.Key != "figure" {
			continue
		}
		var scenario, rival string
		var metric Metric
		var v float64
		if _, err := fmt.Sscanf(event.Value, "%q %q %q %g", &scenario, &rival, &metric, &v); err != nil {
			return fmt.Errorf("figure %q: %w", event.Value, err)
		}
		if r := results[scenario]; r != nil {
			if r.Rounds[0][rival] == nil {
				r.Rounds[0][rival] = make(Sample)
			}
			r.Rounds[0][rival][metric] = v
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test, for the scenarios in virtual time: %w\n%s", err, output)
	}
	return nil
}
