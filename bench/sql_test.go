package main

import (
	"context"
	"database/sql/driver"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools/sqlpools"
)

// Each scenario of databases runs, for some milliseconds, and sees what it is about.
// The outages of MariaDB are left out: their code is that of PostgreSQL's, and another
// start of MariaDB takes seconds.
func TestSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, some := range []string{"MariaDB, [^fr]", "PostgreSQL", "SQLite", "no server"} {
		t.Run(some, func(t *testing.T) {
			t.Parallel()
			testSQL(t, regexp.MustCompile("^"+sqlPrefix+some))
		})
	}
}

func testSQL(t *testing.T, some *regexp.Regexp) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	d, err := startDatabases(ctx, some)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}()
	if d.missing != nil {
		t.Skip(d.missing)
	}
	for _, scenario := range d.scenarios() {
		if !some.MatchString(scenario.Name) {
			continue
		}
		for _, rival := range sqlRivals {
			sample, err := scenario.Measure(ctx, rival, 5*time.Millisecond)
			if err != nil {
				t.Fatalf("%s, %s: %v", scenario.Name, rival.Name, err)
			}
			for _, m := range scenario.Metrics {
				if v, there := sample[m]; !there || v < 0 {
					t.Errorf("%s, %s: %s is %v", scenario.Name, rival.Name, m, v)
				}
			}
			measures := func(m Metric) bool { return slices.Contains(scenario.Metrics, m) }
			switch {
			case measures(Rate) && (sample[Rate] <= 0 || sample[P99] <= 0 || sample[Worst] < sample[P99]),
				measures(Time) && (sample[Time] <= 0 || sample[Allocs] < 5),
				measures(Useful) && sample[Rate] <= 0,
				measures(Errors) && sample[Down] <= 0:
				t.Errorf("%s, %s: %v", scenario.Name, rival.Name, sample)
			}
		}
	}
}

// Both have the same connections, no more than they may, and ours are in the pool.
func TestSQLRivals(t *testing.T) {
	for _, d := range theDatabases() {
		if d.start != nil {
			continue
		}
		d.address = "file:" + t.TempDir() + "/db?_pragma=journal_mode(wal)"
		if err := d.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, rival := range sqlRivals {
			db, err := d.open(rival, d.where())
			if err != nil {
				t.Fatal(err)
			}
			release := make(chan struct{})
			var held []interface{ Close() error }
			for range clientConnections {
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, conn)
				if err := conn.Raw(func(c any) error {
					own := c.(driver.Conn)
					if ours := sqlpools.Unwrap(own) != own; ours != (rival.Name == sqlOnPools.Name) {
						t.Errorf("%s, %s: a connection is a %T", d.name, rival.Name, own)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				defer close(release)
				conn, err := db.Conn(ctx)
				if err == nil {
					conn.Close()
					t.Errorf("%s: %s has more than %d connections", d.name, rival.Name, clientConnections)
				}
			}()
			cancel()
			<-release
			for _, conn := range held {
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
			ask, err := d.ask(t.Context(), db)
			if err == nil {
				err = ask(t.Context())
			}
			if n := db.opened.Load(); err != nil || n != clientConnections {
				t.Errorf("%s, %s: %v, %d were opened", d.name, rival.Name, err, n)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// The report tells the bars of databases, met or not, and what is missing.
func TestSQLReport(t *testing.T) {
	run := &Run{MissingSQL: []string{"MariaDB: engine: mariadbd: it is not installed"}}
	with := func(ours, theirs Sample) []map[string]Sample {
		return []map[string]Sample{{sqlOnPools.Name: ours, sqlAlone.Name: theirs}}
	}
	rounds := map[string][]map[string]Sample{
		"sql, PostgreSQL, alone": with(Sample{Time: 51_500, Allocs: 15}, Sample{Time: 50_000, Allocs: 12}),
		"sql, PostgreSQL, 64": with(Sample{Rate: 3000, P50: 1, P99: 3, Worst: 3, Share: 1},
			Sample{Rate: 2000, P50: 1, P99: 6, Worst: 6, Share: 1}),
		"sql, PostgreSQL, prepared": with(Sample{Rate: 900, P99: 9, Worst: 9}, Sample{Rate: 1000, P99: 9, Worst: 9}),
		"sql, PostgreSQL, overload": with(Sample{Useful: 0.95, Opened: 3, Rate: 1}, Sample{Useful: 0.5, Opened: 700, Rate: 1}),
		"sql, PostgreSQL, restart":  with(Sample{Errors: 40, Recovered: 0.5, Down: 0.25}, Sample{Errors: 80, Recovered: 0, Down: 0.75}),
	}
	for _, d := range theDatabases() {
		for _, s := range d.scenarios() {
			if r := rounds[s.Name]; r != nil {
				run.Results = append(run.Results, &Result{Scenario: s, Name: s.Name, Rounds: r})
			}
		}
	}
	text := run.markdown("BENCHMARKS.svg")
	for _, want := range []string{
		"| sql, PostgreSQL, alone, ns/op: sql.DB on pools more than sql.DB | 1,500 | 1,500 | at most 1,000 | **not met** |",
		"| sql, PostgreSQL, alone, allocs/op: sql.DB on pools more than sql.DB | 3 | 3 | at most 3 | met |",
		"| sql, PostgreSQL, 64, uses/s: sql.DB on pools / sql.DB | 1.5 | 1.5 | at least 1 | met |",
		"| sql, PostgreSQL, 64, p99 ms: sql.DB on pools / sql.DB | 0.5 | 0.5 | at most 0.6 | met |",
		"| sql, PostgreSQL, 64, worst ms: sql.DB on pools / sql.DB | 0.5 | 0.5 | at most 0.4 | **not met** |",
		"| sql, PostgreSQL, prepared, uses/s: sql.DB on pools / sql.DB | 0.9 | 0.9 | at least 1 | **not met** |",
		"| sql, PostgreSQL, overload, useful work, by what is served without deadlines: sql.DB on pools | 0.95 | 0.95 | at least 0.9 | met |",
		"- sql, PostgreSQL, restart, recovered s: sql.DB 0; sql.DB on pools 0.5",
		"Rows are missing: MariaDB: engine: mariadbd: it is not installed.",
		"| PostgreSQL: the server is killed and started again | errors | 80 | 80 | 40 | 40 | 0.5 |",
		"|  | recovered s | 0 | 0 | 0.5 | 0.5 |  |",
		"PostgreSQL, restart, 0.75 s for sql.DB and 0.25 s for sql.DB on pools.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	for _, no := range []string{"prepared, p99 ms: sql.DB on pools /", "each client is a process of its own", "### sql"} {
		if strings.Contains(text, no) {
			t.Errorf("the report has %q:\n%s", no, text)
		}
	}
}
