package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/utopia-go/pools/bench/rivals"
)

// markdown writes the report. picture is the file that it shows.
func (run *Run) markdown(picture string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	p("# Benchmarks\n")
	p("Written by `%s` on %s. All figures of a table come from one run, in which", run.Command, run.Date)
	p("everybody was measured in turns, in another order each round. A ratio within")
	p("this page means something; a figure by itself is this machine's.\n")
	p("- Machine: %s, %d cores, %s, %s.", run.Machine.Processor, run.Machine.Cores, run.Machine.System, run.Machine.Go)
	p("- Measured: %s; `database/sql`, `sync` and channels of %s. Each was checked to be the real module.",
		strings.Join(run.Machine.Modules, ", "), run.Machine.Go)
	kept, dropped, noisy := 0, 0, 0
	for _, r := range run.Results {
		if r.Scenario.Who != nil {
			kept, dropped, noisy = kept+len(r.Rounds), dropped+r.Dropped, noisy+r.Noisy
		}
	}
	p("- Rounds: %d kept, %d dropped because others used more than %g%% of the machine meanwhile", kept, dropped, tooMuch*100)
	p("  (%d of the kept are such too, since repeating them did not help).", noisy)
	p("- A figure is the median of the rounds; the spread is from the lower to the upper quartile.")
	p("- \"× ours\" is the median of the ratios in each round: above 1, the rival takes that many times what pools takes.\n")

	if bars := run.bars(); len(bars) > 0 {
		p("## What we hold ourselves to\n")
		p("| figure | seen | spread | bar | |\n|---|--:|--:|--:|---|")
		for _, bar := range bars {
			low, mid, high := quartiles(bar.Values)
			limit, verdict := "at most "+number(bar.Limit), "met"
			if bar.Least {
				limit = "at least " + number(bar.Limit)
			}
			if !bar.Met() {
				verdict = "**not met**"
			}
			p("| %s | %s | %s | %s | %s |", bar.Text, number(mid), spread(low, high), limit, verdict)
		}
		p("")
	}

	if losses := run.losses(); len(losses) > 0 {
		p("## Where pools is not the best\n")
		p("By the medians, floors aside, by more than 3%%:\n")
		for _, l := range losses {
			p("- %s", l)
		}
		p("")
	}

	if shown := slices.ContainsFunc(run.Results, func(r *Result) bool { return r.Scenario.Shown }); shown {
		p("## The time of one use\n")
		p("![The time of one use in each scenario, on a logarithmic scale](%s)\n", filepath.Base(picture))
	}

	for _, r := range run.Results {
		p("### %s: %s\n", r.Name, r.Scenario.Title)
		header, rule := "| |", "|---|"
		for _, m := range r.Scenario.Metrics {
			header += fmt.Sprintf(" %s |", m)
			rule += "--:|"
			if len(r.Rounds) > 1 {
				header += " spread |"
				rule += "--:|"
			}
		}
		p("%s × ours |\n%s--:|", header, rule)
		for _, name := range r.names() {
			line := "| " + name + " |"
			if name == "pools" {
				line = "| **pools** |"
			}
			for _, m := range r.Scenario.Metrics {
				low, mid, high := quartiles(r.figures(name, m))
				line += " " + number(mid) + " |"
				if len(r.Rounds) > 1 {
					line += " " + spread(low, high) + " |"
				}
			}
			times := "" // of what is nothing
			if ratios := r.ratios(name, "pools", r.Scenario.Metrics[0]); len(ratios) > 0 && name != "pools" {
				times = number(median(ratios))
			}
			p("%s %s |", line, times)
		}
		p("")
	}

	p("## Who is who\n")
	for _, r := range rivals.All {
		p("- **%s**: %s.", r.Name, r.What)
	}
	p("\nNot here: Vitess' smartconnpool, silenceper/pool and fatih/pool, which could not be")
	p("had as modules where this ran.")
	return b.String()
}

// losses lists where somebody else is better.
func (run *Run) losses() []string {
	var all []string
	for _, r := range run.Results {
		for _, m := range r.Scenario.Metrics {
			ours := r.figures("pools", m)
			if len(ours) == 0 || r.Name == "options" {
				continue
			}
			mine := median(ours)
			var better []string
			for _, rival := range rivals.All {
				if !slices.Contains(contenders, rival.Kind) {
					continue
				}
				theirs := r.figures(rival.Name, m)
				if len(theirs) == 0 {
					continue
				}
				other := median(theirs)
				if m == Share && other > mine*1.03 || m != Share && other < mine*0.97 && mine-other > 0.001 {
					better = append(better, rival.Name+" "+number(other))
				}
			}
			if better != nil {
				all = append(all, fmt.Sprintf("%s, %s: %s; pools %s", r.Name, m, strings.Join(better, ", "), number(mine)))
			}
		}
	}
	return all
}

// number writes three digits.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 10_000:
		s := fmt.Sprintf("%.0f", v)
		return s[:len(s)-3] + "," + s[len(s)-3:]
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.005:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1g", v)
}

func spread(low, high float64) string {
	a, b := number(low), number(high)
	if a == b {
		return a
	}
	return a + " to " + b
}
