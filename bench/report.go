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
	p("Written by `%s` on %s, at %s. Everybody was measured in turns,", run.Command, run.Date, run.Commit)
	p("in another order each round. A ratio within this page means something; a figure")
	p("by itself is this machine's.\n")
	p("- Machine: %s, %d cores, %s, %s, garbage collection at %d%%.", run.Machine.Processor, run.Machine.Cores, run.Machine.System, run.Machine.Go, gcPercent)
	p("- To read the clock takes %.0f ns here. Pools that keep times, as puddle does, read it at each use.", run.Machine.Clock)
	p("- Measured: %s;", strings.Join(run.Machine.Modules, ", "))
	p("  `database/sql` and `sync` are those of %s. Each was checked to be the real module, unreplaced.", run.Machine.Go)
	kept, dropped, noisy := 0, 0, 0
	for _, r := range run.Results {
		if r.Scenario.Who != nil {
			kept, dropped, noisy = kept+len(r.Rounds), dropped+r.Dropped, noisy+r.Noisy
		}
	}
	p("- GOMAXPROCS is 2, and 8 where that is said: more threads then, not more processors.")
	p("- %d rounds of each scenario, about %v a measurement. %d rounds of all scenarios were kept; %d were", run.Rounds, run.Target, kept, dropped)
	p("  dropped and repeated, because others used more than %g%% of the machine meanwhile; %d of the kept", tooMuch*100, noisy)
	p("  are such too, since repeating them did not help.")
	p("- A figure is the median of the rounds; the spread is from the lower to the upper quartile.")
	p("- \"× ours\" is the median of the ratios in each round: above 1, the rival takes that many times what pools takes.")
	p("- ns/op is the wall clock for one use, over all goroutines. Worst is the longest time from asking to having,")
	p("  what the scheduler takes included (compare the floors). Share is the uses of the goroutine that had fewest,")
	p("  by the mean: 1 is fair, 0 is somebody who had none. p99 is over uses, so it says little where shares are small.")
	p("- Who queues first is served first with puddle, redigo, mutex+slice and channels. With pools it may be overtaken")
	p("  for a millisecond, by goroutines that run anyhow, and a waiter whose deadline is too close is passed over; with")
	p("  mutex+cond, go-commons-pool and database/sql it may be overtaken for longer.\n")

	if run.Missing != "" {
		p("Rows with real servers are missing: %s.\n", run.Missing)
	} else if slices.ContainsFunc(run.Results, func(r *Result) bool { return r.Scenario.Apart && !r.Scenario.SQL }) {
		p("Rows with real servers: each client is a process of its own with %d connections, measured for %v after a fifth", clientConnections, serverTime(run.Target))
		p("of that to open them; the server runs on the same processors, so a figure tells what client and server take together.")
		p("uses/s, p50, p99 and worst are of whole uses, from asking for a connection to having given it back, as the")
		p("goroutines saw them. The server counted sessions, which were opened in all, and served, its commands or")
		p("transactions by the uses. Rounds are not dropped there: to others' programs, the servers look the same.\n")
	}

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
		p("By the medians, floors aside, by more than 3%%, and where the clock or the heap can tell:\n")
		for _, l := range losses {
			p("- %s", l)
		}
		p("")
	}

	if shown := slices.ContainsFunc(run.Results, func(r *Result) bool { return r.Scenario.Shown }); shown {
		p("## The time of one use\n")
		p("Red is ours, black are libraries, grey is what people write by hand, hollow are floors. The scale is logarithmic;")
		p("less is better.\n")
		if picture != "" {
			p("![The time of one use in each scenario](%s)\n", filepath.Base(picture))
		}
	}

	for _, r := range run.Results {
		if r.Scenario.Event || r.Scenario.SQL {
			continue // see eventTables and sqlTables
		}
		p("### %s: %s\n", r.Name, r.Scenario.Title)
		switch {
		case r.Scenario.Who == nil:
			p("In virtual time, so once.\n")
		case r.Noisy > 0:
			p("Others used much of the machine in %d of %d rounds.\n", r.Noisy, len(r.Rounds))
		}
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
		us := r.Scenario.us()
		for _, rival := range r.rivals() {
			name := rival.Name
			line := "| " + name + " |"
			if name == us {
				line = "| **" + us + "** |"
			}
			for _, m := range r.Scenario.Metrics {
				low, mid, high := quartiles(r.figures(name, m))
				line += " " + number(mid) + " |"
				if len(r.Rounds) > 1 {
					line += " " + spread(low, high) + " |"
				}
			}
			times := "" // of what is nothing
			if ratios := r.times(name, r.Scenario.Metrics[0]); len(ratios) > 0 && name != us {
				times = number(median(ratios))
			}
			p("%s %s |", line, times)
		}
		p("")
		if len(r.Series) > 0 {
			p("During is the uses that were finished in time, by the capacity, 200 a second. After is the callers that were")
			p("served, of those that came %d s after the overload or later; there are 140 a second then, as before it. Recovered", overloadSettled-overloadTo)
			p("is the end of the last second of whose callers less than 0.95 were served; %d: never. An open takes 100 ms. A use", overloadSeconds-overloadTo)
			p("that its deadline cuts off breaks the connection. Opened counts those that took the places of broken ones. Means")
			p("of %d runs, in which everybody met the same callers.\n", overloadSeeds)
			if picture != "" {
				p("In the picture the overload is shaded, and the dashed line is what can be served.\n")
				p("![Uses finished in each second, with each pool](%s)\n", filepath.Base(overloadPicture(picture)))
			}
		}
	}

	b.WriteString(run.sqlTables())
	b.WriteString(run.eventTables())

	p("## Who is who\n")
	for _, r := range everybody() {
		p("- **%s**: %s.", r.Name, r.What)
	}
	p("\nNot here: Vitess' smartconnpool, silenceper/pool and fatih/pool.")
	return b.String()
}

// eventTables returns the section on events, or nothing if none was measured.
func (run *Run) eventTables() string {
	const us = "pools"
	var costs, waits strings.Builder
	for _, r := range run.Results {
		if !r.Scenario.Event {
			continue
		}
		if growths := r.growths(); len(growths) > 0 {
			low, mid, high := quartiles(growths)
			fmt.Fprintf(&costs, "| %s | %s | %s | %s | %s | %s | at most %s |\n", strings.TrimPrefix(r.Name, eventPrefix), r.Scenario.Title,
				number(median(r.figures(us, Few))), number(median(r.figures(us, Many))), number(mid), spread(low, high), number(growth))
		}
		if longest := r.figures(us, Locked); len(longest) > 0 {
			low, mid, high := quartiles(longest)
			limit := ""
			if r.Name == eventPrefix+lockShrink {
				limit = "at most " + number(lockLimit.Seconds()*1e3) + " beyond the floor"
			}
			fmt.Fprintf(&waits, "| %s | %s | %s | %s | %s |\n", strings.TrimPrefix(r.Name, eventPrefix), r.Scenario.Title, number(mid), spread(low, high), limit)
		}
	}
	if costs.Len() == 0 && waits.Len() == 0 {
		return ""
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("## What one event costs\n")
	p("These scenarios compare pools with itself. `go run ./bench -only events` runs them alone.\n")
	if costs.Len() > 0 {
		p("Each event happens to a pool of 100 and to a pool of 16,000, in alternating batches, with GOMAXPROCS 1. The size")
		p("counts slots, calls or waiters, whichever the event could walk over. A figure is the time of one event, including")
		p("the work that the pool does for it in the background: the median batch of a round, and the median of the rounds.")
		p("Each batch begins with cold caches, so that the memory of the larger pool does not count.\n")
		p("| event | | %s | %s | ratio | spread | bar |\n|---|---|--:|--:|--:|--:|--:|\n%s", Few, Many, costs.String())
	}
	if waits.Len() > 0 {
		p("While something is done to 16,000 connections, a goroutine keeps asking for the settings, which takes the pool's")
		p("lock and does nothing else. The figure is the longest of these calls, in the best of %d tries. It includes the time", tries)
		p("for which the system stops the thread that holds the lock. The floor, which holds the lock for one event at a")
		p("time, shows how long that is.\n")
		p("| meanwhile | | %s | spread | bar |\n|---|---|--:|--:|--:|\n%s", Locked, waits.String())
	}
	return b.String()
}

// losses lists where somebody else is better.
func (run *Run) losses() []string {
	var all []string
	for _, r := range run.Results {
		for _, m := range r.Scenario.Metrics {
			ours := r.figures(r.Scenario.us(), m)
			if len(ours) == 0 {
				continue
			}
			mine := median(ours)
			var better []string
			for _, rival := range r.rivals() {
				if !slices.Contains(contenders, rival.Kind) && rival.Kind != rivals.Client {
					continue
				}
				theirs := r.figures(rival.Name, m)
				if len(theirs) == 0 {
					continue
				}
				other := median(theirs)
				if m.more() && other > mine*1.03 || !m.more() && other < mine*0.97 && (m != Allocs || mine > 0.01) {
					better = append(better, rival.Name+" "+number(other))
				}
			}
			if better != nil {
				all = append(all, fmt.Sprintf("%s, %s: %s %s", r.Name, m, strings.Join(better, ", ")+"; "+r.Scenario.us(), number(mine)))
			}
		}
	}
	return all
}

// number writes at least three digits.
func number(v float64) string {
	if v < 0.01 && v > 0 {
		return fmt.Sprintf("%.1g", v)
	}
	if v < 1000 {
		s := fmt.Sprintf("%.3g", v)
		if v >= 999.5 {
			s = "1,000"
		}
		return s
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func spread(low, high float64) string {
	a, b := number(low), number(high)
	if a == b {
		return a
	}
	return a + " to " + b
}
