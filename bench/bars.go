package main

import (
	"fmt"
	"slices"

	"github.com/utopia-go/pools/bench/rivals"
)

// Bar is what we hold ourselves to: a figure of ours, mostly by another one
// of the same run, and its limit.
type Bar struct {
	Text   string
	Values []float64 // one a round, or one
	Limit  float64
	Least  bool // Limit is the least and not the most
}

// Met reports whether the median keeps to the limit.
func (b Bar) Met() bool {
	if b.Least {
		return median(b.Values) >= b.Limit
	}
	return median(b.Values) <= b.Limit
}

// bars returns those that this run measured.
func (run *Run) bars() []Bar {
	const us = "pools"
	var all []Bar
	result := run.result
	add := func(text string, values []float64, limit float64) {
		if len(values) > 0 {
			all = append(all, Bar{Text: text, Values: values, Limit: limit})
		}
	}
	// within is a ratio of two in one scenario, across one of ours in two
	// scenarios; both round by round.
	within := func(scenario string, m Metric, rival string, limit float64) {
		add(scenario+", "+string(m)+": "+us+" / "+rival, result(scenario).ratios(us, rival, m), limit)
	}
	across := func(scenario, base string, limit float64) {
		x, y := result(scenario).figures(us, Time), result(base).figures(us, Time)
		var ratios []float64
		for i := range min(len(x), len(y)) {
			ratios = append(ratios, x[i]/y[i])
		}
		add(scenario+" / "+base, ratios, limit)
	}

	for _, s := range []string{"alone", "alone, cancellable"} {
		within(s, Time, "two CAS", 2)
		within(s, Time, "sync.Pool", 1)
		within(s, Time, "puddle", 0.1)
	}
	add("alone: Use / Pop and Push", result("alone").ratios("pools, Use", us, Time), 1.7)
	across("pair", "alone", 0.75)
	within("crowd", Time, "channel", 1.0/6)
	within("yield", Time, "channel", 0.85)
	within("work", Time, "no pool", 1.15)

	asleep := result("asleep")
	for _, m := range []Metric{Time, P99, Worst} {
		if best := bestFair(asleep, m); best != "" {
			within("asleep", m, best, 1)
		}
	}
	if share := asleep.figures(us, Share); len(share) > 0 {
		all = append(all, Bar{"asleep: the least share", share, 0.95, true})
	}

	for _, s := range []string{"alone", "alone, cancellable", "pair", "crowd", "yield", "work", "asleep"} {
		across(s+", GOMAXPROCS 8", s, 1.3)
	}
	for _, s := range []string{"10,000 slots, 0% held", "10,000 slots, 50% held", "10,000 slots, 99% held"} {
		across(s, "alone", 2)
	}
	add("memory of an idle connection, bytes", result("memory").figures(us, Bytes), 320)
	// The runtime allocates a little by itself.
	add("yield: allocations for one use", result("yield").figures(us, Allocs), 0.001)
	add("spike: done, ms", result("spike").figures(us, Done), 20)
	add("spike: more opened", result("spike").figures(us, Opened), 2)
	for _, s := range realServers {
		r := result(s.name)
		for _, ours := range s.clients {
			for _, rival := range s.clients {
				if ours.Kind != rivals.OurClient || rival.Kind != rivals.Client || ours.as == cleaned {
					continue
				}
				text := s.name + ", %s: " + ours.Name + " / " + rival.Name
				if values := r.ratios(ours.Name, rival.Name, Rate); len(values) > 0 {
					all = append(all, Bar{fmt.Sprintf(text, Rate), values, level, true})
				}
				add(fmt.Sprintf(text, P99), r.ratios(ours.Name, rival.Name, P99), 1)
				add(fmt.Sprintf(text, Worst), r.ratios(ours.Name, rival.Name, Worst), 1)
			}
			if ours.Kind == rivals.OurClient {
				add(s.name+", sessions: "+ours.Name, r.figures(ours.Name, Sessions), clientConnections)
			}
		}
	}
	all = append(all, run.sqlBars()...)
	for _, r := range run.Results {
		if r.Scenario.Event {
			add(r.Name+": 16,000 / 100", r.growths(), growth)
		}
	}
	add(eventPrefix+lockShrink+", ms: beyond the floor", run.beyondFloor(lockShrink), lockLimit.Seconds()*1e3)
	over := result(overloadScenario)
	for _, bar := range []Bar{
		{overloadScenario + ": useful work during it, by the capacity", over.figures(us, During), duringLimit, true},
		{overloadScenario + ": callers that are served after it", over.figures(us, After), afterLimit, true},
		{overloadScenario + ": recovered, s", over.figures(us, Recovered), recoveredLimit, false},
	} {
		if len(bar.Values) > 0 {
			all = append(all, bar)
		}
	}
	add("cold start: all begun, ms", result("cold start").figures(us, Begun), 450)
	return all
}

// result returns that of a scenario, without figures if it was not measured.
func (run *Run) result(name string) *Result {
	for _, r := range run.Results {
		if r.Name == name {
			return r
		}
	}
	return &Result{}
}

// level is the least part of a rival's rate that still is no less than it.
const level = 0.97

// fair is the least share of a rival that starves nobody.
const fair = 0.9

// bestFair returns the rival that is best by the metric, of those that starve
// nobody.
func bestFair(r *Result, m Metric) string {
	best, least := "", 0.0
	for _, rival := range rivals.All {
		if !slices.Contains(contenders, rival.Kind) || rival.Kind == rivals.Ours {
			continue
		}
		values, shares := r.figures(rival.Name, m), r.figures(rival.Name, Share)
		if len(values) > 0 && median(shares) >= fair && (best == "" || median(values) < least) {
			best, least = rival.Name, median(values)
		}
	}
	return best
}
