package connectors

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/pgxconn"
)

// postgresAdmin runs statements as the superuser.
func postgresAdmin(t *testing.T, address string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func poolOf(t *testing.T, o pgxconn.Options, settings pools.Settings) *pools.Pool[*pgx.Conn] {
	t.Helper()
	pool, err := pools.New("db", pgxconn.New(o), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// standby makes a table and a standby that has it.
func standby(t *testing.T) (primary, replica *engine.Engine) {
	primary = startPostgres(t)
	if _, err := primary.Connections(t.Context()); err != nil { // makes the role
		t.Fatal(err)
	}
	postgresAdmin(t, primary.Address, "create table things (x int)", "grant all on things to app")
	e, err := engine.PostgresStandby(t.Context(), primary, 50)
	return primary, engine.Need(t, e, err)
}

// moving is a config whose server is where the name leads now.
func moving(t *testing.T, address string) (*pgx.ConnConfig, func(address string)) {
	var now atomic.Value
	now.Store(address)
	c := config(t, address)
	c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, now.Load().(string))
	}
	return c, func(address string) { now.Store(address) }
}

func code(err error) string {
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return e.Code
	}
	return ""
}

// The old primary takes no writes any more, and keeps its connections: after one
// refused write the others are not lent. It is so for each cleaning.
func TestPostgresBecomesReadOnly(t *testing.T) {
	for name, cleaning := range map[string]pgxconn.Cleaning{"session": pgxconn.Session, "everything": pgxconn.Everything, "rollback": pgxconn.Rollback} {
		t.Run(name, func(t *testing.T) {
			a, b := startPostgres(t), startPostgres(t)
			for _, e := range []*engine.Engine{a, b} {
				if _, err := e.Connections(t.Context()); err != nil {
					t.Fatal(err)
				}
				postgresAdmin(t, e.Address, "create table things (x int)", "grant all on things to app")
			}
			c, move := moving(t, a.Address)
			pool := poolOf(t, pgxconn.Options{Config: c, Cleaning: cleaning}, pools.Settings{Size: 5})
			if err := pool.Fill(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			postgresAdmin(t, a.Address, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
			move(b.Address)
			// A server carries a reload out in its own time.
			refused, written := 0, 0
			for end := time.Now().Add(10 * time.Second); written < 50 && time.Now().Before(end); {
				moved := false
				err := pool.Use(t.Context(), func(conn *pgx.Conn) error {
					moved = conn.PgConn().Conn().RemoteAddr().String() == b.Address
					return exec("insert into things values (1)")(t.Context(), conn)
				})
				switch {
				case err != nil && code(err) == "25006":
					refused++
				case err != nil:
					t.Fatal(err)
				case moved: // maybe without an error, if a Reset was the first to notice
					written++
				}
			}
			t.Logf("%d writes were refused", refused)
			if refused > 5 || written < 50 {
				t.Errorf("%d writes were refused, and %d succeeded on the other server", refused, written)
			}
		})
	}
}

// Primary to standby and back to a new one, under load: at most one error for
// each connection, none when the pool has had time to notice.
func TestPostgresFailover(t *testing.T) {
	primary, replica := standby(t)
	c, move := moving(t, primary.Address)
	const size, writers = 5, 8
	pool := poolOf(t, pgxconn.Options{Config: c}, pools.Settings{Size: size, WaitTimeout: 20 * time.Second, WaitWhileDown: 20 * time.Second})
	var faults, writes atomic.Int64
	var last atomic.Value
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for ctx.Err() == nil {
				err := pool.Use(t.Context(), func(conn *pgx.Conn) error { return exec("insert into things values (1)")(t.Context(), conn) })
				if err != nil {
					faults.Add(1)
					last.Store(fmt.Sprint(err))
				} else {
					writes.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	defer func() { stop(); all.Wait() }()
	goesOn := func(what string) {
		t.Helper()
		before := writes.Load()
		if err := engine.Eventually(t.Context(), func() error {
			if writes.Load() < before+200 {
				return errors.New("few writes")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d writes have failed, the last: %v", what, faults.Load(), last.Load())
	}
	goesOn("before")

	// The name leads to the standby before it is promoted, and the primary dies.
	move(replica.Address)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := engine.Promote(t.Context(), replica); err != nil {
		t.Fatal(err)
	}
	goesOn("after the promotion")
	if n := faults.Load(); n > size {
		t.Errorf("%d writes failed for %d connections; the last: %v", n, size, last.Load())
	}

	// And to a standby of that one, which lives: its connections stay.
	next, err := engine.PostgresStandby(t.Context(), replica, 50)
	next = engine.Need(t, next, err)
	if err := engine.Promote(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	bad := faults.Load()
	move(next.Address)
	postgresAdmin(t, replica.Address, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
	goesOn("while the old one becomes read-only")
	goesOn("afterwards")
	if n := faults.Load() - bad; n > size {
		t.Errorf("%d writes failed for %d connections; the last: %v", n, size, last.Load())
	}
	bad = faults.Load()
	goesOn("at rest")
	if n := faults.Load() - bad; n > 0 {
		t.Errorf("%d writes failed long after it", n)
	}
}

// A hot standby is for pools that say so.
func TestPostgresReplica(t *testing.T) {
	primary, replica := standby(t)
	c := config(t, replica.Address)
	if _, err := pgxconn.New(pgxconn.Options{Config: c}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "set Options.Replica") {
		t.Errorf("a writer's Open: %v", err)
	}

	hosts, err := pgx.ParseConfig("postgres://app@" + replica.Address + "," + primary.Address + "/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	writer := poolOf(t, pgxconn.Options{Config: hosts}, pools.Settings{Size: 1})
	if err := writer.Use(t.Context(), func(conn *pgx.Conn) error { return exec("insert into things values (1)")(t.Context(), conn) }); err != nil {
		t.Errorf("of two hosts: %v", err)
	}

	for name, c := range map[string]*pgx.ConnConfig{"standby": c, "target_session_attrs": sessions(t, replica.Address, "standby")} {
		t.Run(name, func(t *testing.T) {
			reader := poolOf(t, pgxconn.Options{Config: c, Replica: true}, pools.Settings{Size: 1, CheckAfter: pools.Always})
			for range 5 {
				if err := reader.Use(t.Context(), does(t, "insert into things values (1)")); code(err) != "25006" {
					t.Error(err)
				}
				if err := reader.Use(t.Context(), does(t, "select * from things")); err != nil {
					t.Error(err)
				}
			}
			if n := reader.Stats().Opened; n != 1 {
				t.Errorf("%d connections were opened", n)
			}
		})
	}
}

func sessions(t *testing.T, address, attrs string) *pgx.ConnConfig {
	c, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, address) + "&target_session_attrs=" + attrs)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func does(t *testing.T, statements ...string) func(*pgx.Conn) error {
	return func(conn *pgx.Conn) error { return exec(statements...)(t.Context(), conn) }
}

// Who asks for a read-only transaction keeps the connection when it refuses a write.
func TestPostgresOwnReadOnly(t *testing.T) {
	e := startPostgres(t)
	if _, err := e.Connections(t.Context()); err != nil {
		t.Fatal(err)
	}
	postgresAdmin(t, e.Address, "create table things (x int)", "grant all on things to app")
	for _, cleaning := range []pgxconn.Cleaning{pgxconn.Session, pgxconn.Everything, pgxconn.Rollback} {
		byDefault := config(t, e.Address)
		byDefault.RuntimeParams["default_transaction_read_only"] = "on"
		for _, c := range []*pgx.ConnConfig{config(t, e.Address), byDefault} {
			pool := poolOf(t, pgxconn.Options{Config: c, Cleaning: cleaning}, pools.Settings{Size: 1})
			for range 5 {
				if err := pool.Use(t.Context(), does(t, "begin read only", "insert into things values (1)")); code(err) != "25006" {
					t.Error(err)
				}
			}
			if n := pool.Stats().Opened; n != 1 {
				t.Errorf("cleaning %v: %d connections were opened", cleaning, n)
			}
		}
	}
}

// What each of PostgreSQL's codes means to an open.
func TestPostgresRefusesLogin(t *testing.T) {
	e := startPostgres(t)
	if _, err := e.Connections(t.Context()); err != nil {
		t.Fatal(err)
	}
	postgresAdmin(t, e.Address, "create role secretive login password 'right'", "create database closed", "revoke connect on database closed from public",
		"copy (select 'host all secretive 127.0.0.1/32 scram-sha-256' union all select 'host all all 127.0.0.1/32 trust') to '"+hba(t, e.Address)+"'",
		"select pg_reload_conf()", "create role narrow login connection limit 0")
	for _, test := range []struct {
		user, database, param, value, code string
		before, permanent                  bool
	}{
		{user: "secretive:wrong", code: "28P01", permanent: true},
		{user: "secretive:wrong", code: "28P01", before: true},
		{user: "nobody", code: "28000", permanent: true},
		{user: "nobody", code: "28000", before: true},
		{user: "app", database: "none", code: "3D000", permanent: true},
		{user: "app", database: "none", code: "3D000", before: true, permanent: true},
		{user: "app", database: "closed", code: "42501", permanent: true},
		{user: "app", param: "statement_timeout", value: "soon", code: "22023", permanent: true},
		{user: "app", param: "nonsense", value: "x", code: "42704", permanent: true},
		{user: "narrow", code: "53300"},
	} {
		t.Run(fmt.Sprintf("%s, BeforeConnect %v", test.code, test.before), func(t *testing.T) {
			address := engine.PostgresURL(test.user, e.Address)
			if test.database != "" {
				u, err := url.Parse(address)
				if err != nil {
					t.Fatal(err)
				}
				u.Path = test.database
				address = u.String()
			}
			c, err := pgx.ParseConfig(address)
			if err != nil {
				t.Fatal(err)
			}
			if test.param != "" {
				c.RuntimeParams[test.param] = test.value
			}
			o := pgxconn.Options{Config: c}
			if test.before {
				o.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return nil }
			}
			_, err = pgxconn.New(o).Open(t.Context())
			if code(err) != test.code {
				t.Fatal(err)
			}
			if strings.Contains(err.Error(), "wrong") {
				t.Errorf("the error gives the password: %v", err)
			}
			// There is no other way to see it: a type of its own wraps pgx's error.
			if _, plain := err.(*pgconn.ConnectError); plain == test.permanent {
				t.Errorf("%T, permanent: want %v", err, test.permanent)
			}
		})
	}
}

// hba returns the file that says who may log in.
func hba(t *testing.T, address string) (path string) {
	conn, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "show hba_file").Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

// What ends a session from outside breaks its connection, whenever it is noticed.
func TestPostgresEndsSessions(t *testing.T) {
	e := startPostgres(t)
	if _, err := e.Connections(t.Context()); err != nil {
		t.Fatal(err)
	}
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address)})
	for want, end := range map[string]func(conn *pgx.Conn) error{
		"57P01": func(conn *pgx.Conn) error {
			postgresAdmin(t, e.Address, fmt.Sprintf("select pg_terminate_backend(%d)", conn.PgConn().PID()))
			return exec("select 1")(t.Context(), conn)
		},
		"57P05": func(conn *pgx.Conn) error {
			if err := exec("set idle_session_timeout = 1")(t.Context(), conn); err != nil {
				return err
			}
			return engine.Eventually(t.Context(), func() error { // the server's own time
				if n, err := e.Connections(t.Context()); err == nil && n == 0 {
					return nil
				}
				return errors.New("still there")
			})
		},
	} {
		t.Run(want, func(t *testing.T) {
			conn, err := connector.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err = end(conn); err == nil {
				err = connector.Check(t.Context(), conn)
			}
			if code(err) != want || !connector.Broken(conn, err) {
				t.Errorf("%v, broken %v", err, connector.Broken(conn, err))
			}
			_ = connector.Close(t.Context(), conn)
		})
	}
}
