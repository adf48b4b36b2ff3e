package sqls

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	modernc "modernc.org/sqlite"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/sqlpools"
)

// shared is a server for all tests, which run one after the other.
type shared struct {
	start func(context.Context, int) (*engine.Engine, error)
	once  sync.Once
	e     *engine.Engine
	err   error
}

var (
	mariaDB  = &shared{start: engine.MariaDB}
	postgres = &shared{start: engine.Postgres}
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range []*shared{mariaDB, postgres} {
		if s.e == nil {
			continue
		}
		if err := s.e.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func (s *shared) engine(t testing.TB) *engine.Engine {
	t.Helper()
	s.once.Do(func() {
		s.e, s.err = s.start(context.Background(), 40)
		if s.err != nil {
			return
		}
		if s == postgres { // nobody may create tables there since PostgreSQL 15
			var conn *pgx.Conn
			if conn, s.err = pgx.Connect(context.Background(), engine.PostgresURL("postgres", s.e.Address)); s.err == nil {
				_, err := conn.Exec(context.Background(), "grant create on schema public to app; create role member; grant member to app; grant usage on schema public to member")
				s.err = errors.Join(err, conn.Close(context.Background()))
			}
		}
	})
	if s.err != nil {
		engine.Need(t, nil, s.err) // ends the test
	}
	return s.e
}

// system is a driver and its database.
type system struct {
	name      string
	server    *shared // nil: SQLite
	connector func(t testing.TB, d *dialer) driver.Connector
	clean     func(context.Context, driver.Conn) error
	pid       string // asks which session of the server this is
	sleep     string
}

var systems = []system{
	{"mysql", mariaDB, func(t testing.TB, d *dialer) driver.Connector {
		config := engine.MariaDBConfig(engine.MariaDBUser, mariaDB.engine(t).Address)
		config.DialFunc = d.DialContext
		c, err := mysql.NewConnector(config)
		return must(t, c, err)
	}, sqlpools.CleanMariaDB, "select connection_id()", "select sleep(600)"},
	{"pgx", postgres, func(t testing.TB, d *dialer) driver.Connector {
		config, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, postgres.engine(t).Address))
		must(t, config, err).DialFunc = d.DialContext
		return stdlib.GetConnector(*config)
	}, sqlpools.CleanPostgres, "select pg_backend_pid()", "select 1 from pg_sleep(600)"},
	{"pq", postgres, func(t testing.TB, d *dialer) driver.Connector {
		c, err := pq.NewConnector(engine.PostgresURL(engine.PostgresUser, postgres.engine(t).Address))
		must(t, c, err).Dialer(d)
		return c
	}, sqlpools.CleanPostgres, "select pg_backend_pid()", "select 1 from pg_sleep(600)"},
	{"sqlite", nil, func(t testing.TB, _ *dialer) driver.Connector {
		return sqlite(filepath.Join(t.TempDir(), "db"))
	}, nil, "", ""},
}

// sqlite is a connector of that driver, which has none.
type sqlite string

func (dsn sqlite) Connect(context.Context) (driver.Conn, error) {
	return dsn.Driver().Open(string(dsn))
}
func (dsn sqlite) Driver() driver.Driver { return new(modernc.Driver) }

// dialer counts what is sent, and knows the network connection of each of a driver's.
type dialer struct {
	through string // a proxy; "": straight to the server
	sent    atomic.Int64
	byConn  sync.Map // driver.Conn: *counted
}

// counted is a network connection whose packets are counted as they are sent. Each of
// these drivers sends what belongs together at once.
type counted struct {
	net.Conn
	sent *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(p)
}

// SyscallConn is for the driver of MySQL, which looks at the socket.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

type dialing struct{}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.through != "" {
		address = d.through
	}
	own, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &counted{own, &d.sent}
	if place, ok := ctx.Value(dialing{}).(*net.Conn); ok {
		*place = c
	}
	return c, nil
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *dialer) DialTimeout(network, address string, _ time.Duration) (net.Conn, error) {
	return d.Dial(network, address)
}

// watched is a connector whose connections its dialer knows.
type watched struct {
	driver.Connector
	d *dialer
}

func (w watched) Connect(ctx context.Context) (driver.Conn, error) {
	var network net.Conn
	conn, err := w.Connector.Connect(context.WithValue(ctx, dialing{}, &network))
	if err == nil {
		w.d.byConn.Store(conn, network)
	}
	return conn, err
}

// abort is an Options.Abort: it ends what waits for the network.
func (d *dialer) abort(conn driver.Conn) { d.of(conn).Close() }

func (d *dialer) of(conn driver.Conn) net.Conn {
	network, _ := d.byConn.Load(conn)
	return network.(net.Conn)
}

// only returns the one that there is.
func (d *dialer) only() (only net.Conn) {
	d.byConn.Range(func(_, network any) bool {
		only = network.(net.Conn)
		return true
	})
	return only
}

// plain is what users have without sqlpools.
func (s system) plain(t testing.TB) *sql.DB {
	db := sql.OpenDB(s.connector(t, new(dialer)))
	t.Cleanup(func() { check(t, db.Close()) })
	return db
}

func (s system) open(t testing.TB, settings pools.Settings, options sqlpools.Options) (*sql.DB, *pools.Pool[driver.Conn]) {
	db, pool, _ := s.watched(t, settings, options)
	return db, pool
}

func (s system) watched(t testing.TB, settings pools.Settings, options sqlpools.Options) (*sql.DB, *pools.Pool[driver.Conn], *dialer) {
	t.Helper()
	d := new(dialer)
	if options.Abort == nil && s.server != nil {
		options.Abort = d.abort
	}
	db, pool, err := sqlpools.OpenDB(s.name, watched{s.connector(t, d), d}, settings, options)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return db, pool, d
}

// each runs a test for each system, or for those with a server.
func each(t *testing.T, alsoSQLite bool, test func(t *testing.T, s system)) {
	for _, s := range systems {
		if s.server == nil && !alsoSQLite {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			if s.server != nil {
				s.server.engine(t)
			}
			test(t, s)
		})
	}
}

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	check(t, err)
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ask returns the one value that a query has, or its error.
func ask(t testing.TB, db asker, query string, args ...any) string {
	t.Helper()
	var v sql.NullString
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		return "error: " + err.Error()
	}
	if !v.Valid {
		return "NULL"
	}
	return v.String
}

func run(t testing.TB, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}
