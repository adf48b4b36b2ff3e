package connectors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/pgxconn"
)

var cleanings = map[string]pgxconn.Cleaning{"session": pgxconn.Session, "everything": pgxconn.Everything, "rollback": pgxconn.Rollback}

// withRole starts a PostgreSQL that has the role, and the table things.
func withRole(t *testing.T) *engine.Engine {
	e := startPostgres(t)
	if _, err := e.Connections(t.Context()); err != nil {
		t.Fatal(err)
	}
	postgresAdmin(t, e.Address, "create table things (x int)", "grant all on things to app")
	return e
}

func asked(t *testing.T, pool *pools.Pool[*pgx.Conn], sql string) string {
	t.Helper()
	got, err := pools.UseResult(t.Context(), pool, func(conn *pgx.Conn) (s string, err error) {
		err = conn.QueryRow(t.Context(), sql, pgx.QueryExecModeSimpleProtocol).Scan(&s)
		return s, err
	})
	if err != nil {
		return err.Error()
	}
	return got
}

// A server that refuses the cleaning is a clear error of Open, and permanent.
func TestPostgresRefusesCleaning(t *testing.T) {
	e := withRole(t)
	postgresAdmin(t, e.Address, "revoke execute on function pg_advisory_unlock_all() from public")
	pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address)}, pools.Settings{Size: 1})
	for range 10 {
		err := pool.Use(t.Context(), does(t, "select 1"))
		if code(err) != "42501" && (err == nil || !strings.Contains(err.Error(), "42501")) || !strings.Contains(err.Error(), "set Options.Cleaning") {
			t.Fatal(err)
		}
	}
	if n := pool.Stats().OpenErrors; n != 1 {
		t.Errorf("%d logins for 10 uses", n)
	}
	pool = poolOf(t, pgxconn.Options{Config: config(t, e.Address), Cleaning: pgxconn.Rollback}, pools.Settings{Size: 1})
	if err := pool.Use(t.Context(), does(t, "select 1")); err != nil {
		t.Error(err)
	}
}

// What AfterConnect SETs would be undone: that is a clear error, and with Rollback
// it stays.
func TestPostgresAfterConnectSets(t *testing.T) {
	e := withRole(t)
	for name, cleaning := range cleanings {
		pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning, AfterConnect: exec("set statement_timeout = '7s'", "set application_name = 'mine'")}, pools.Settings{Size: 1})
		want := "7s"
		if cleaning != pgxconn.Rollback {
			want = "pgxconn: the cleaning would undo what Options.AfterConnect has SET (application_name, statement_timeout); put it into Config.RuntimeParams, or set Options.Cleaning to Rollback"
		}
		for range 3 {
			if got := asked(t, pool, "show statement_timeout"); !strings.Contains(got, want) {
				t.Errorf("%s: %s", name, got)
			}
		}
		pool = poolOf(t, pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning, AfterConnect: exec("begin", "set local statement_timeout = '7s'", "commit", "set statement_timeout = '7s'", "reset statement_timeout")}, pools.Settings{Size: 1})
		if got := asked(t, pool, "show statement_timeout"); got != "0" {
			t.Errorf("%s: what it has undone itself: %s", name, got)
		}
	}
}

// One user's DISCARD ALL makes at most one query of another fail.
func TestPostgresDiscardAll(t *testing.T) {
	e := withRole(t)
	for name, cleaning := range cleanings {
		for _, sql := range []string{"discard all", "deallocate all"} {
			pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning}, pools.Settings{Size: 1})
			ask := func(i int) error {
				return pool.Use(t.Context(), func(conn *pgx.Conn) error {
					var n int
					return conn.QueryRow(t.Context(), fmt.Sprintf("select $1::int + %d", i), 1).Scan(&n)
				})
			}
			for i := range 20 {
				if err := ask(i); err != nil {
					t.Fatal(err)
				}
			}
			if err := pool.Use(t.Context(), does(t, sql)); err != nil {
				t.Fatal(err)
			}
			faults := 0
			for i := range 40 {
				if err := ask(i % 20); code(err) == "26000" {
					faults++
				} else if err != nil {
					t.Error(err)
				}
			}
			if faults > 1 {
				t.Errorf("%s, %s: %d queries failed", name, sql, faults)
			}
		}
	}
}

// A copy whose source fails, by itself or by its ctx, costs no good connection.
func TestPostgresCopyFails(t *testing.T) {
	e := withRole(t)
	pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address)}, pools.Settings{Size: 1})
	for range 5 {
		err := pool.Use(t.Context(), func(conn *pgx.Conn) error {
			n := 0
			_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"things"}, []string{"x"}, pgx.CopyFromFunc(func() ([]any, error) {
				if n++; n > 3 {
					return nil, io.ErrUnexpectedEOF
				}
				return []any{n}, nil
			}))
			return err
		})
		if err == nil {
			t.Error("the copy succeeded")
		}
		if got := asked(t, pool, "select count(*)::text from things"); got != "0" {
			t.Error(got)
		}
	}
	if n := pool.Stats().Opened; n != 1 {
		t.Errorf("%d connections were opened", n)
	}
}

// A role that was dropped and made anew: each connection fails once at most.
func TestPostgresDroppedRole(t *testing.T) {
	for name, cleaning := range cleanings {
		t.Run(name, func(t *testing.T) {
			e := withRole(t)
			postgresAdmin(t, e.Address, "create role fleeting login", "grant all on things to fleeting")
			c := config(t, e.Address)
			c.User = "fleeting"
			check := pools.Settings{Size: 2}
			if cleaning != pgxconn.Session {
				check.CheckAfter = pools.Always
			}
			pool := poolOf(t, pgxconn.Options{Config: c, Cleaning: cleaning}, check)
			if err := pool.Fill(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			postgresAdmin(t, e.Address, "drop owned by fleeting", "drop role fleeting", "create role fleeting login", "grant all on things to fleeting")
			faults, last := 0, error(nil)
			for range 20 {
				if err := pool.Use(t.Context(), does(t, "select * from things")); err != nil {
					faults, last = faults+1, err
				}
			}
			if faults > 2 {
				t.Errorf("%d uses failed: %v", faults, last)
			}
		})
	}
}

// Of two addresses one takes connections and says nothing: the other is reached.
func TestPostgresSilentAddress(t *testing.T) {
	e := withRole(t)
	_, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Skip(err)
	}
	defer silent.Close()
	for name, url := range map[string]string{
		"one name":  "postgres://app@db:" + port + "/postgres?sslmode=disable",
		"two hosts": "postgres://app@127.0.0.2:" + port + ",127.0.0.1:" + port + "/postgres?sslmode=disable",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := pgx.ParseConfig(url)
			if err != nil {
				t.Fatal(err)
			}
			if name == "one name" {
				c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.2", "127.0.0.1"}, nil }
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			connector := pgxconn.New(pgxconn.Options{Config: c})
			conn, err := connector.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := connector.Close(ctx, conn); err != nil {
				t.Error(err)
			}
		})
	}
}

// A deferrable transaction by default waits for others; Reset and Check do not.
func TestPostgresDeferrable(t *testing.T) {
	e := withRole(t)
	other, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", e.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if err := exec("begin isolation level serializable", "insert into things select count(*) from things")(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address), Replica: true})
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connector.Close(context.Background(), conn) }()
	if err := exec("set default_transaction_isolation = serializable", "set default_transaction_read_only = on", "set default_transaction_deferrable = on")(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(connector.Check(ctx, conn), connector.Reset(ctx, conn)); err != nil {
		t.Error(err)
	}
}

// What RuntimeParams say holds for every user, behind a PgBouncer too.
func TestPostgresParamsBehindPgBouncer(t *testing.T) {
	e := withRole(t)
	for _, mode := range []string{"session", "transaction"} {
		b, err := engine.PgBouncer(t.Context(), e.Address, mode)
		b = engine.Need(t, b, err)
		for name, cleaning := range cleanings {
			t.Run(mode+" mode, "+name, func(t *testing.T) {
				c := config(t, b.Address)
				c.RuntimeParams["timezone"] = "Asia/Tokyo"
				c.RuntimeParams["datestyle"] = "German"
				c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
				pool := poolOf(t, pgxconn.Options{Config: c, Cleaning: cleaning}, pools.Settings{Size: 1})
				for i := range 5 {
					if got := asked(t, pool, "select current_setting('timezone') || current_setting('application_name') || current_setting('datestyle')"); got != "Asia/TokyoproofGerman, DMY" {
						t.Errorf("user %d finds %s", i+1, got)
					}
				}
				if n := pool.Stats().Opened; n != 1 {
					t.Errorf("%d connections were opened", n)
				}
			})
		}
	}
}

// A transaction that a user left open is rolled back, and never silently.
func TestPostgresLeftOpen(t *testing.T) {
	e := withRole(t)
	for name, cleaning := range cleanings {
		for _, fails := range []bool{false, true} {
			events := make(chan pools.Event, 100)
			pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning}, pools.Settings{
				Size: 1, TrackHolders: true, TrackGoroutines: true, FailUnfinished: fails,
				Observer: &pools.Observer{Event: func(e pools.Event) {
					if e.Kind == pools.EventUnfinished {
						events <- e
					}
				}},
			})
			for i, leave := range [][]string{{"begin", "insert into things values (7)"}, {"begin", "select 1/0"}} {
				err := pool.Use(t.Context(), func(conn *pgx.Conn) error {
					for _, sql := range leave {
						_, _ = conn.Exec(t.Context(), sql)
					}
					return nil
				})
				if errors.Is(err, pools.ErrUnfinished) != fails {
					t.Errorf("%s: %v", name, err)
				}
				e := <-events
				if !strings.Contains(e.Err.Error(), "left open") || strings.Contains(e.Err.Error(), "failed") != (i == 1) || !strings.Contains(e.Stack, "TestPostgresLeftOpen") {
					t.Errorf("%s: %+v", name, e)
				}
				if got := asked(t, pool, "select count(*)::text from things"); got != "0" {
					t.Errorf("%s: there are %s rows", name, got)
				}
			}
			if err := pool.Use(t.Context(), does(t, "begin; insert into things values (7); rollback")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if st := pool.Stats(); st.Unfinished != 2 || st.Opened != 1 {
				t.Errorf("%s: %d unfinished, %d opened", name, st.Unfinished, st.Opened)
			}
		}
	}
}
