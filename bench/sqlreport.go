package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/utopia-go/pools/bench/rivals"
)

// sqlBars are those of databases.
func (run *Run) sqlBars() []Bar {
	ours, theirs := sqlOnPools.Name, sqlAlone.Name
	var all []Bar
	add := func(text string, values []float64, limit float64, least bool) {
		if len(values) > 0 {
			all = append(all, Bar{text, values, limit, least})
		}
	}
	for _, r := range run.Results {
		if !r.Scenario.SQL {
			continue
		}
		for _, bar := range []struct {
			metric Metric
			limit  float64
			text   string
			values func(a, b string, m Metric) []float64
		}{
			{Rate, sqlRate, "/", r.ratios},
			{P99, sqlP99, "/", r.ratios},
			{Worst, sqlWorst, "/", r.ratios},
			{Time, sqlMoreTime, "more than", r.differences},
			{Allocs, sqlMoreAllocs, "more than", r.differences},
		} {
			m := bar.metric
			if slices.Contains(r.Scenario.Metrics, m) && (m != P99 && m != Worst || !strings.HasSuffix(r.Name, preparedSuffix)) {
				add(fmt.Sprintf("%s, %s: %s %s %s", r.Name, m, ours, bar.text, theirs), bar.values(ours, theirs, m), bar.limit, m.more())
			}
		}
		add(r.Name+", useful work, by what is served without deadlines: "+ours, r.figures(ours, Useful), sqlUseful, true)
	}
	return all
}

// differences returns by how much rival a's metric is more than rival b's, in every
// round.
func (r *Result) differences(a, b string, m Metric) []float64 {
	var all []float64
	for _, samples := range r.Rounds {
		x, took := samples[a][m]
		if y, tookToo := samples[b][m]; took && tookToo {
			all = append(all, x-y)
		}
	}
	return all
}

// sqlTables returns the section on database/sql, or nothing if nothing of it was measured.
func (run *Run) sqlTables() string {
	var queries, outages strings.Builder
	noisy := 0
	for _, r := range run.Results {
		if !r.Scenario.SQL {
			continue
		}
		noisy += r.Noisy
		to := &queries
		if slices.Contains(r.Scenario.Metrics, Errors) {
			to = &outages
		}
		for i, m := range r.Scenario.Metrics {
			name := ""
			if i == 0 {
				name = r.Scenario.Title
			}
			fmt.Fprintf(to, "| %s | %s |", name, m)
			for _, rival := range []string{sqlAlone.Name, sqlOnPools.Name} {
				low, mid, high := quartiles(r.figures(rival, m))
				fmt.Fprintf(to, " %s | %s |", number(mid), spread(low, high))
			}
			ratio := "" // by nothing
			if ratios := r.ratios(sqlOnPools.Name, sqlAlone.Name, m); len(ratios) > 0 {
				ratio = number(median(ratios))
			}
			fmt.Fprintf(to, " %s |\n", ratio)
		}
	}
	if queries.Len() == 0 && outages.Len() == 0 && run.MissingSQL == nil {
		return ""
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("## Under database/sql\n")
	p("The same `*sql.DB`, drivers and servers, once with SetMaxOpenConns(%d) and SetMaxIdleConns(%[1]d), and once made by", clientConnections)
	p("sqlpools.OpenDB with Size %d. They are measured in turns in one process, on the processors that the server uses, too.", clientConnections)
	p("`go run ./bench -only sql` runs these scenarios alone. SQLite is a file in WAL mode.\n")
	for _, missing := range run.MissingSQL {
		p("Rows are missing: %s.\n", missing)
	}
	if noisy > 0 {
		p("Others used much of the machine in %d rounds of those without a server.\n", noisy)
	}
	const header = "| | | sql.DB | spread | sql.DB on pools | spread | ratio |\n|---|---|--:|--:|--:|--:|--:|\n%s"
	if queries.Len() > 0 {
		p("Times are of whole queries, from asking to the answer, the wait for a connection included. In overload a query takes")
		p("%v on average, half of that to one and a half, and has the time of %d turns of all connections.", slowTime(run.Target), overloadTurns)
		p("Useful is the rate of those that are answered in time, by the rate of 64 goroutines without deadlines, measured just")
		p("before. Opened counts the connections that took the places of those that a deadline broke.\n")
		p(header, queries.String())
	}
	if outages.Len() > 0 {
		p("In a restart or failover %d callers come in a second, each with a deadline of %v. Errors are the queries that", outageRate, outageTime)
		p("failed. Recovered is the time from the server's return until the last query that failed, or took more than %v,", outageSlow)
		p("had ended. A restarted server has returned when it answers, another one when the address leads to it. There was none")
		p("for, in the median: %s.\n", strings.Join(run.downTimes(), "; "))
		p(header, outages.String())
	}
	return b.String()
}

// downTimes are those of the outages, for each rival.
func (run *Run) downTimes() []string {
	var all []string
	for _, r := range run.Results {
		var times []string
		for _, rival := range []rivals.Rival{sqlAlone, sqlOnPools} {
			if figures := r.figures(rival.Name, Down); len(figures) > 0 {
				times = append(times, number(median(figures))+" s for "+rival.Name)
			}
		}
		if times != nil {
			all = append(all, strings.TrimPrefix(r.Name, sqlPrefix)+", "+strings.Join(times, " and "))
		}
	}
	return all
}
