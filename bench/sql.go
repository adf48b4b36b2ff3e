package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	modernc "modernc.org/sqlite"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/bench/crowd"
	"github.com/utopia-go/pools/bench/rivals"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/sqlpools"
)

// The same *sql.DB, once with its own pool and once with ours below it. Both are in
// this program, since they share their drivers.
var (
	sqlAlone = rivals.Rival{
		Name: "sql.DB", Kind: rivals.Client, What: "a *sql.DB with SetMaxOpenConns and SetMaxIdleConns",
	}
	sqlOnPools = rivals.Rival{
		Name: "sql.DB on pools", Kind: rivals.OurClient, What: "a *sql.DB of sqlpools.OpenDB with the same Size, and the defaults otherwise",
	}
	sqlRivals = []rivals.Rival{sqlOnPools, sqlAlone}
)

// sqlDrivers are checked to be the real modules.
var sqlDrivers = []rivals.Rival{{Module: "github.com/go-sql-driver/mysql"}, {Module: pgxModule}, {Module: "modernc.org/sqlite"}}

const (
	// sqlPrefix begins the name of each scenario here, for -only.
	sqlPrefix = "sql, "

	preparedSuffix, failoverSuffix = "prepared", "failover"

	// What we hold ourselves to, relative to database/sql's own pool.
	sqlRate, sqlP99, sqlWorst = 1.0, 0.6, 0.4
	sqlMoreTime               = 1000.0 // nanoseconds a query
	sqlMoreAllocs             = 3.0    // a query
	sqlUseful                 = 0.9    // under overload, by our own capacity
)

// database is what is asked.
type database struct {
	name     string
	connect  func(address string) (driver.Connector, error)
	query    string
	prepared string // with the argument 2

	// slow returns a query that keeps a connection busy for about a time. Nil: there is none.
	slow func(takes time.Duration) string

	start func(ctx context.Context, limit int) (*engine.Engine, error) // nil: there is no server
	setUp []string                                                     // statements

	address string           // of a file, if there is no server
	servers []*engine.Engine // the second one takes over in a failover
}

// Three are real. The fourth shows what the time of the others hides.
func theDatabases() []*database {
	return []*database{
		{
			name: "MariaDB", start: engine.MariaDB, query: "select 1", prepared: "select 40 + ?",
			slow: func(takes time.Duration) string { return fmt.Sprintf("select sleep(%g)", takes.Seconds()) },
			connect: func(address string) (driver.Connector, error) {
				return mysql.NewConnector(engine.MariaDBConfig(engine.MariaDBUser, address))
			},
		},
		{
			name: "PostgreSQL", start: engine.Postgres, query: "select 1", prepared: "select 40 + $1::int",
			slow: func(takes time.Duration) string { return fmt.Sprintf("select 1 from pg_sleep(%g)", takes.Seconds()) },
			connect: func(address string) (driver.Connector, error) {
				config, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, address))
				if err != nil {
					return nil, err
				}
				return stdlib.GetConnector(*config), nil
			},
		},
		{
			name: "SQLite", query: "select a from t where id = 1", prepared: "select a from t where id = ?",
			// It does not sleep. On two processors a connection has a fifth of one, when ten are busy.
			slow: func(takes time.Duration) string {
				return fmt.Sprintf("with recursive c(x) as (select 1 union all select x + 1 from c where x < %d) select count(*) from c", 300*takes/time.Millisecond+1)
			},
			connect: func(address string) (driver.Connector, error) { return sqlite(address), nil },
			setUp:   []string{"create table t (id integer primary key, a int)", "insert into t values (1, 1), (2, 2)"},
		},
		{
			name: "no server", query: "x", prepared: "x",
			connect: func(string) (driver.Connector, error) { return nothing{}, nil },
		},
	}
}

// sqlite is a connector of that driver, which has none.
type sqlite string

func (dsn sqlite) Connect(context.Context) (driver.Conn, error) {
	return dsn.Driver().Open(string(dsn))
}
func (dsn sqlite) Driver() driver.Driver { return new(modernc.Driver) }

// databases are those that the scenarios ask.
type databases struct {
	all     []*database
	folder  string
	missing []string // why there are no rows for one
}

// startDatabases starts what the scenarios need. A server that is missing is noted.
func startDatabases(ctx context.Context, scenarioNames *regexp.Regexp) (*databases, error) {
	d := new(databases)
	var err error
	if d.folder, err = os.MkdirTemp("", "pools-bench-"); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var faults []error
	var all sync.WaitGroup
	for _, one := range theDatabases() {
		wanted := 0 // servers
		for _, s := range one.scenarios() {
			switch {
			case !scenarioNames.MatchString(s.Name):
			case strings.HasSuffix(s.Name, failoverSuffix):
				wanted = 2
			default:
				wanted = max(wanted, 1)
			}
		}
		if wanted == 0 {
			continue
		}
		d.all = append(d.all, one)
		if one.start == nil {
			one.address = "file:" + filepath.Join(d.folder, one.name) + "?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)"
			if err := one.prepare(ctx); err != nil {
				faults = append(faults, err)
			}
			continue
		}
		for range wanted {
			all.Go(func() {
				e, err := one.start(ctx, 100)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					faults = append(faults, fmt.Errorf("%s: %w", one.name, err))
					return
				}
				one.servers = append(one.servers, e)
			})
		}
	}
	all.Wait()
	for _, err := range faults {
		if !errors.Is(err, engine.ErrMissing) || os.Getenv("CI") == "true" {
			return nil, errors.Join(errors.Join(faults...), d.close())
		}
		if text := err.Error(); !slices.Contains(d.missing, text) {
			d.missing = append(d.missing, text)
		}
	}
	d.all = slices.DeleteFunc(d.all, func(one *database) bool { return one.start != nil && len(one.servers) == 0 })
	return d, nil
}

// prepare makes what the queries ask for.
func (d *database) prepare(ctx context.Context) error {
	db, err := d.open(sqlAlone, d.where())
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range d.setUp {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %s: %w", d.name, statement, err)
		}
	}
	return nil
}

func (d *databases) close() error {
	if d == nil {
		return nil
	}
	faults := []error{os.RemoveAll(d.folder)}
	for _, one := range d.all {
		for _, e := range one.servers {
			faults = append(faults, e.Close())
		}
	}
	return errors.Join(faults...)
}

// scenarios are the rows of the databases that are there.
func (d *databases) scenarios() []Scenario {
	var all []Scenario
	for _, one := range d.all {
		all = append(all, one.scenarios()...)
	}
	return all
}

func (d *database) scenarios() []Scenario {
	var all []Scenario
	add := func(s Scenario) {
		s.Name, s.Title, s.Us, s.SQL, s.Procs = sqlPrefix+d.name+", "+s.Name, d.name+": "+s.Title, sqlOnPools.Name, true, 2
		s.Apart = d.start != nil
		s.Who = func(r rivals.Rival) bool { return r.Name == sqlAlone.Name || r.Name == sqlOnPools.Name }
		all = append(all, s)
	}
	add(Scenario{
		Name: "alone", Title: "one goroutine", Metrics: []Metric{Time, Allocs},
		Measure: d.alone,
	})
	if d.slow == nil {
		return all
	}
	for _, n := range []int{64, 1000} {
		add(Scenario{
			Name: number(float64(n)), Title: number(float64(n)) + " goroutines", Metrics: []Metric{Rate, P50, P99, Worst, Share},
			Measure: d.crowd(n, d.ask),
		})
	}
	add(Scenario{
		Name: preparedSuffix, Title: "64 goroutines with a statement of db.Prepare", Metrics: []Metric{Rate, P99, Worst},
		Measure: d.crowd(64, d.askPrepared),
	})
	add(Scenario{
		Name: "overload", Title: "callers with deadlines, twice as many as can be served", Metrics: []Metric{Useful, Opened},
		Measure: d.overload,
	})
	if d.start == nil {
		return all
	}
	add(Scenario{
		Name: "restart", Title: "the server is killed and started again", Metrics: []Metric{Errors, Recovered},
		Measure: d.restart,
	})
	add(Scenario{
		Name: failoverSuffix, Title: "the server is killed, and another one takes its address over", Metrics: []Metric{Errors, Recovered},
		Measure: d.failover,
	})
	return all
}

// sqlDB is a *sql.DB that is measured.
type sqlDB struct {
	*sql.DB
	opened *atomic.Int64 // connections
}

// counted counts the connections that are opened.
type counted struct {
	driver.Connector
	n *atomic.Int64
}

func (c counted) Connect(ctx context.Context) (driver.Conn, error) {
	c.n.Add(1)
	return c.Connector.Connect(ctx)
}

func (d *database) where() string {
	if d.start == nil {
		return d.address
	}
	return d.servers[0].Address
}

// open makes a *sql.DB with clientConnections at most, as a rival has it.
func (d *database) open(r rivals.Rival, address string) (sqlDB, error) {
	c, err := d.connect(address)
	if err != nil {
		return sqlDB{}, err
	}
	n := new(atomic.Int64)
	if r.Name == sqlOnPools.Name {
		db, _, err := sqlpools.OpenDB(d.name, counted{c, n}, pools.Settings{Size: clientConnections}, sqlpools.Options{})
		return sqlDB{db, n}, err
	}
	db := sql.OpenDB(counted{c, n})
	db.SetMaxOpenConns(clientConnections)
	db.SetMaxIdleConns(clientConnections)
	return sqlDB{db, n}, nil
}

// ask asks by db.QueryRow.
func (d *database) ask(_ context.Context, db sqlDB) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		var answer int
		return db.QueryRowContext(ctx, d.query).Scan(&answer)
	}, nil
}

// askPrepared asks by a statement of db.Prepare, which all goroutines share.
func (d *database) askPrepared(ctx context.Context, db sqlDB) (func(context.Context) error, error) {
	stmt, err := db.PrepareContext(ctx, d.prepared)
	return func(ctx context.Context) error {
		var answer int
		return stmt.QueryRowContext(ctx, 2).Scan(&answer)
	}, err
}

// alone is one goroutine, with a ctx that can be cancelled.
func (d *database) alone(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db, err := d.open(r, d.where())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ask, err := d.ask(ctx, db)
	if err != nil {
		return nil, err
	}
	return timed(target, func(n int) (time.Duration, float64, error) {
		return run(1, n, func(n int) error {
			for range n {
				if err := ask(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// crowd is goroutines that ask on end. Each query has a ctx of its own, as a request has.
func (d *database) crowd(goroutines int, asking func(context.Context, sqlDB) (func(context.Context) error, error)) func(context.Context, rivals.Rival, time.Duration) (Sample, error) {
	return func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
		db, err := d.open(r, d.where())
		if err != nil {
			return nil, err
		}
		defer db.Close()
		ask, err := asking(ctx, db)
		if err != nil {
			return nil, err
		}
		return crowdOn(ctx, goroutines, target, func(int) func(context.Context) error { return ask })
	}
}

// crowdOn has goroutines ask for a fifth of the time, which opens all connections, and
// then measures.
func crowdOn(ctx context.Context, goroutines int, target time.Duration, asking func(goroutine int) func(context.Context) error) (Sample, error) {
	var goroutine atomic.Int64
	user := func(note func()) func() error {
		ask := asking(int(goroutine.Add(1)))
		return func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			err := ask(ctx)
			note()
			return err
		}
	}
	if _, err := crowd.Watch(goroutines, serverTime(target)/5, user); err != nil {
		return nil, err
	}
	seen, err := crowd.Watch(goroutines, serverTime(target), user)
	if err != nil {
		return nil, err
	}
	return sampleOf(seen), nil
}
