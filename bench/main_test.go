package main

import (
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/utopia-go/pools/bench/rivals"
)

func TestModulesMustBeReal(t *testing.T) {
	real := make(map[string]*debug.Module)
	for _, r := range rivals.All {
		if r.Module != "" {
			real[r.Module] = &debug.Module{Path: r.Module, Version: "v1.0.0", Sum: "h1:x"}
		}
	}
	const victim = "github.com/jackc/puddle/v2"
	for name, c := range map[string]struct {
		change func(deps map[string]*debug.Module)
		want   string // in the error
	}{
		"all are real":     {func(map[string]*debug.Module) {}, ""},
		"missing":          {func(deps map[string]*debug.Module) { delete(deps, victim) }, "not in this program"},
		"replaced":         {func(deps map[string]*debug.Module) { deps[victim].Replace = &debug.Module{Path: "../compat/puddle"} }, "replaced by ../compat/puddle"},
		"of the workspace": {func(deps map[string]*debug.Module) { deps[victim].Sum = "" }, "no checksum"},
		"what it stands on": {func(deps map[string]*debug.Module) {
			deps["golang.org/x/sync"] = &debug.Module{Path: "golang.org/x/sync", Version: "v0.16.0"}
		}, "golang.org/x/sync has no checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			deps := make(map[string]*debug.Module)
			for path, m := range real {
				m := *m
				deps[path] = &m
			}
			c.change(deps)
			_, err := checkModules(&debug.BuildInfo{Deps: slices.Collect(maps.Values(deps))}, rivals.All)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v; want %q", err, c.want)
			}
		})
	}
}

func TestOthersUse(t *testing.T) {
	before := usage{all: 100, busy: 50, own: 10}
	for name, c := range map[string]struct {
		after usage
		want  float64
	}{
		"we alone":       {usage{110, 58, 18}, 0},
		"one of ours":    {usage{110, 60, 18}, 0.2},
		"nothing passed": {usage{100, 50, 10}, 0},
		"rounding":       {usage{110, 57, 18}, 0},
	} {
		if got := others(before, c.after); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.00003: "3e-05", 0.104: "0.104", 1.0 / 6: "0.167", 9.876: "9.88", 164.2: "164",
		999.4: "999", 999.6: "1,000", 2803.2: "2,803", 1234567: "1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestQuartiles(t *testing.T) {
	low, mid, high := quartiles([]float64{5, 1, 4, 2, 3})
	if low != 2 || mid != 3 || high != 4 {
		t.Error(low, mid, high)
	}
	if low, mid, high = quartiles([]float64{1, 2}); low != 1.25 || mid != 1.5 || high != 1.75 {
		t.Error(low, mid, high)
	}
}

// The report tells what was lost.
func TestReport(t *testing.T) {
	var alone, slots Scenario
	for _, s := range scenarios(func() {}) {
		switch s.Name {
		case "alone":
			alone = s
		case "10,000 slots, 0% held":
			slots = s
		}
	}
	round := func(ours, puddle, channel float64) map[string]Sample {
		return map[string]Sample{"pools": {Time: ours}, "puddle": {Time: puddle}, "channel": {Time: channel}, "two CAS": {Time: 5}}
	}
	run := &Run{Command: "go run ./bench", Results: []*Result{
		{Scenario: alone, Name: alone.Name, Dropped: 2, Rounds: []map[string]Sample{round(10, 100, 9), round(10, 120, 9), round(12, 240, 6)}},
		{Scenario: slots, Name: slots.Name, Rounds: []map[string]Sample{round(31, 100, 60)}},
	}}
	served := func(ours, pgxpool float64) map[string]Sample {
		return map[string]Sample{"pools+pgxconn": {Rate: ours, P99: 1}, "pgxpool": {Rate: pgxpool, P99: 2}}
	}
	run.Results = append(run.Results, &Result{
		Scenario: Scenario{Name: "select 1, 64", Us: "pools+pgxconn", Apart: true, Metrics: []Metric{Rate, P99}},
		Name:     "select 1, 64", Rounds: []map[string]Sample{served(900, 1000)},
	})
	over := &Result{
		Scenario: virtual[len(virtual)-1], Name: overloadScenario,
		Rounds: []map[string]Sample{{"pools": {During: 0.5, After: 1, Recovered: 1}, "puddle": {During: 0.25, After: 1, Recovered: 4}}},
		Series: map[string][]float64{"pools": {140, 200, 140}, "puddle": {140, 0, 140}},
	}
	run.Results = append(run.Results, over)
	text := run.markdown("BENCHMARKS.svg")
	for _, want := range []string{
		"4 rounds of all scenarios were kept; 2 were",
		"| alone, ns/op: pools / two CAS | 2 | 2 to 2.2 | at most 2 | met |",
		"| alone, ns/op: pools / puddle | 0.0833 | 0.0667 to 0.0917 | at most 0.1 | met |",
		"| 10,000 slots, 0% held / alone | 3.1 | 3.1 | at most 2 | **not met** |",
		"- alone, ns/op: channel 9; pools 10",
		"| puddle | 120 | 110 to 180 | 12 |",
		"(BENCHMARKS.svg)",
		"| select 1, 64, uses/s: pools+pgxconn / pgxpool | 0.9 | 0.9 | at least 0.97 | **not met** |",
		"| select 1, 64, p99 ms: pools+pgxconn / pgxpool | 0.5 | 0.5 | at most 1 | met |",
		"- select 1, 64, uses/s: pgxpool 1,000; pools+pgxconn 900",
		"| **pools+pgxconn** | 900 | 1 |  |",
		"| pgxpool | 1,000 | 2 | 0.9 |",
		"| overload: useful work during it, by the capacity | 0.5 | 0.5 | at least 0.9 | **not met** |",
		"| overload: recovered, s | 1 | 1 | at most 3 | met |",
		"| puddle | 0.25 | 1 | 4 | 0 | 2 |",
		"(BENCHMARKS-overload.svg)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	var svg strings.Builder
	if err := run.draw(&svg); err != nil || !strings.Contains(svg.String(), "puddle") {
		t.Errorf("the picture does not name a rival: %v", err)
	}
	svg.Reset()
	if err := over.drawOverTime(&svg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">puddle</text>", "fill:#24292F", "prefers-color-scheme: dark", `[style*="fill:#24292F"]`, `[style*="stroke:#CF222E"]`} {
		if !strings.Contains(svg.String(), want) {
			t.Errorf("the picture over time lacks %q", want)
		}
	}
}
