package connectors

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/pgxconn"
	"github.com/utopia-go/pools/poolstest"
)

func startPostgres(t *testing.T) *engine.Engine {
	e, err := engine.Postgres(t.Context(), 50)
	return engine.Need(t, e, err)
}

func config(t *testing.T, address string) *pgx.ConnConfig {
	c, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, address))
	if err != nil {
		t.Fatal(err)
	}
	c.RuntimeParams["application_name"] = "proof"
	return c
}

func exec(statements ...string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestPostgres(t *testing.T) {
	const secret = "open sesame/50%"
	e := withRole(t)
	postgresAdmin(t, e.Address, "alter role app password '"+secret+"'", "create role narrow login password '"+secret+"'",
		"revoke execute on function pg_advisory_unlock_all() from public", "grant execute on function pg_advisory_unlock_all() to app",
		"copy (select 'host all postgres 127.0.0.1/32 trust' union all select 'host all all 127.0.0.1/32 scram-sha-256') to '"+hba(t, e.Address)+"'",
		"select pg_reload_conf()")
	for name, cleaning := range cleanings {
		t.Run(name, func(t *testing.T) {
			poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*pgx.Conn] {
				p := before(t, e)
				connector := func(change func(c *pgx.ConnConfig)) pools.Connector[*pgx.Conn] {
					c := config(t, p.Address)
					c.Password = secret
					change(c)
					return pgxconn.New(pgxconn.Options{Config: c, Cleaning: cleaning})
				}
				s := poolstest.Subject[*pgx.Conn]{
					Connector: connector(func(*pgx.ConnConfig) {}),
					Use:       exec("delete from things where false"), // a write
					Useless:   exec("set default_transaction_read_only = on"),
					Dirty:     exec("begin", "set application_name = 'theirs'"),
					Clean:     session,
					Begin:     exec("begin", "insert into things values (1)"),
					Write:     exec("insert into things values (1)"),
					Written:   func() int { return things(t, e) },
					Refused:   exec("nonsense"),
					Block:     func(conn *pgx.Conn) error { return exec("select pg_sleep(60)")(context.Background(), conn) },
					Failing: map[string]pools.Connector[*pgx.Conn]{
						"a wrong password":    connector(func(c *pgx.ConnConfig) { c.Password = "wrong " + secret }),
						"a role that is none": connector(func(c *pgx.ConnConfig) { c.User = "nobody" }),
						"no such database":    connector(func(c *pgx.ConnConfig) { c.Database = "none" }),
						"nobody who listens":  connector(func(c *pgx.ConnConfig) { c.Host, c.Port = "127.0.0.1", 1 }),
						"no TLS":              connector(func(c *pgx.ConnConfig) { c.TLSConfig = new(tls.Config) }),
					},
					Secrets: []string{secret},
				}
				switch cleaning {
				case pgxconn.Session:
					s.Failing["a role that may not clean"] = connector(func(c *pgx.ConnConfig) { c.User = "narrow" })
				case pgxconn.Rollback:
					s.Dirty = exec("begin", "set local application_name = 'theirs'")
				}
				return subject(t, e, p, s)
			})
		})
	}
}

// things counts the rows of the table.
func things(t *testing.T, e *engine.Engine) (n int) {
	conn, err := pgx.Connect(t.Context(), engine.PostgresURL("postgres", e.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), "select count(*) from things").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// session returns an error if anything of another session is left.
func session(ctx context.Context, conn *pgx.Conn) error {
	if status := conn.PgConn().TxStatus(); status != 'I' {
		return fmt.Errorf("the transaction's status is %c", status)
	}
	return errors.Join(finds(ctx, conn, "proof", "show application_name"),
		finds(ctx, conn, engine.PostgresUser, "select current_user"),
		finds(ctx, conn, "0", "select count(*)::text from pg_listening_channels()"),
		finds(ctx, conn, "0", "select count(*)::text from pg_cursors where name <> ''"),
		finds(ctx, conn, "0", "select count(*)::text from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"),
		finds(ctx, conn, "0", "select count(*)::text from pg_class where relpersistence = 't'"))
}

func finds(ctx context.Context, conn *pgx.Conn, want, sql string) error {
	var got string
	// Without a statement of its own: it would be found.
	if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&got); err != nil || got != want {
		return fmt.Errorf("%s: %q, want %q: %w", sql, got, want, errors.Join(err, errLeft))
	}
	return nil
}

// cached asks by a statement that pgx prepares and keeps.
func cached(ctx context.Context, conn *pgx.Conn) error {
	var n int
	return conn.QueryRow(ctx, "select $1::int", 1).Scan(&n)
}

var errLeft = errors.New("something is left")

// Nothing of one user reaches the next.
func TestPostgresNextUser(t *testing.T) {
	c := config(t, startPostgres(t).Address)
	cancels := c.Copy() // as a program has it that wants to keep connections after a cancel
	cancels.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Minute}
	}
	nextUsers(t, []pgxconn.Options{{Config: c}, {Config: c, Cleaning: pgxconn.Everything}, {Config: cancels}})
}

func nextUsers(t *testing.T, all []pgxconn.Options) {
	early := func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		return exec("select pg_sleep(60)")(ctx, conn)
	}
	for _, options := range all {
		for _, n := range []next[*pgx.Conn]{
			{name: "nothing", first: exec("select 1"), same: true},
			{name: "BEGIN", first: exec("begin", "select 1"), same: true},
			{name: "a failed transaction", first: exec("begin", "nonsense"), same: true},
			{name: "an error of PostgreSQL", first: exec("nonsense"), same: true},
			{name: "SET", first: exec("set application_name = 'theirs'", "set search_path = nowhere"), same: true},
			{name: "RESET ALL", first: exec("reset all"), same: true},
			{name: "SET ROLE", first: exec("set role none"), same: true},
			{name: "LISTEN", first: exec("listen news", "notify news", "select 1"), same: true},
			{name: "a temporary table", first: exec("create temp table theirs (x int)"), same: true},
			{name: "an advisory lock", first: exec("select pg_advisory_lock(7)", "select pg_advisory_lock(7)"), same: true},
			{name: "a cursor", first: exec("begin", "declare theirs cursor with hold for select 1", "commit"), same: true},
			{name: "PREPARE", same: true, first: func(ctx context.Context, conn *pgx.Conn) error {
				if _, err := conn.Prepare(ctx, "theirs", "select $1::int"); err != nil {
					return err
				}
				return cached(ctx, conn)
			}},
			{name: "rows not read", same: false, first: func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Query(ctx, "select generate_series(1, 100000)")
				return err
			}},
			{name: "a ctx that had ended before", same: true, first: func(ctx context.Context, conn *pgx.Conn) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return exec("select 1")(ctx, conn)
			}},
			{name: "a ctx that ends in between", same: false, first: early},
			{name: "and is kept to oneself", same: false, first: func(ctx context.Context, conn *pgx.Conn) error {
				_ = early(ctx, conn)
				return nil
			}},
			{name: "a query that was cancelled", same: false, first: exec("set statement_timeout = 1", "select pg_sleep(60)")},
			{name: "closed by its user", same: false, first: func(ctx context.Context, conn *pgx.Conn) error { return conn.Close(ctx) }},
		} {
			n.second = func(ctx context.Context, conn *pgx.Conn) error {
				ended, cancel := context.WithCancel(ctx)
				cancel()
				if notice, _ := conn.WaitForNotification(ended); notice != nil {
					return fmt.Errorf("the last user's notification: %+v", notice)
				}
				for range 2 {
					if err := cached(ctx, conn); err != nil {
						return err
					}
				}
				if options.Cleaning == pgxconn.Everything {
					if err := finds(ctx, conn, "1", "select count(*)::text from pg_prepared_statements"); err != nil {
						return err
					}
				}
				return session(ctx, conn)
			}
			n.run(t, pgxconn.New(options))
		}
	}
}

// When Close has returned, the server does not count the connection any more.
func TestPostgresClose(t *testing.T) {
	e := startPostgres(t)
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address)})
	for range 20 {
		conn, err := connector.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := connector.Close(t.Context(), conn); err != nil {
			t.Error(err)
		}
		if n, err := e.Connections(t.Context()); err != nil || n != 0 {
			t.Errorf("%d connections, %v", n, err)
		}
	}
}

// A connection that its user hijacked goes, and what was below it is left alone.
func TestPostgresHijacked(t *testing.T) {
	e := startPostgres(t)
	pool := poolOf(t, pgxconn.Options{Config: config(t, e.Address)}, pools.Settings{Size: 1})
	var taken *pgconn.HijackedConn
	err := pool.Use(t.Context(), func(conn *pgx.Conn) (err error) {
		if err := conn.PgConn().SyncConn(t.Context()); err != nil {
			return err
		}
		taken, err = conn.PgConn().Hijack()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Conn.Close()
	own, err := pgconn.Construct(taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Use(t.Context(), does(t, "select 1")); err != nil { // the slot is free again
		t.Error(err)
	}
	if s := pool.Stats(); s.Opened != 2 {
		t.Errorf("%d were opened", s.Opened)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := own.Ping(t.Context()); err != nil {
		t.Errorf("the hijacked connection: %v", err)
	}
	if err := own.Close(ctx); err != nil {
		t.Error(err)
	}
}

// A copy whose destination fails is closed by pgx in the background: Close waits
// for that.
func TestPostgresCopyToFails(t *testing.T) {
	e := startPostgres(t)
	connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address)})
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	r.Close()
	if _, err := conn.PgConn().CopyTo(t.Context(), w, "copy (select generate_series(1, 1000)) to stdout"); !errors.Is(err, io.ErrClosedPipe) || !connector.Broken(conn, err) {
		t.Errorf("%v, broken %v", err, connector.Broken(conn, err))
	}
	if err := connector.Close(t.Context(), conn); err != nil {
		t.Error(err)
	}
	select {
	case <-conn.PgConn().CleanupDone():
	default:
		t.Error("pgx is still closing it")
	}
}

// A connection of which nobody has said how to make it is a clear error.
func TestPostgresWithoutConfig(t *testing.T) {
	if _, err := pgxconn.New(pgxconn.Options{}).Open(t.Context()); err == nil || err.Error() != "pgxconn: Options.Config is nil; give what pgx.ParseConfig returned" {
		t.Error(err)
	}
}

// What AfterConnect does not finish reaches no user: it is a clear error.
func TestPostgresAfterConnect(t *testing.T) {
	e := startPostgres(t)
	for name, test := range map[string]struct {
		after func(ctx context.Context, conn *pgx.Conn) error
		want  string
	}{
		"nothing":                   {exec("select 1"), ""},
		"a transaction to its end":  {exec("begin", "select 1", "commit"), ""},
		"a transaction":             {exec("begin"), "pgxconn: Options.AfterConnect has left a transaction open; have it commit or roll back before it returns"},
		"a transaction that failed": {func(ctx context.Context, conn *pgx.Conn) error { _ = exec("begin", "nonsense")(ctx, conn); return nil }, "pgxconn: Options.AfterConnect has left a transaction open; have it commit or roll back before it returns"},
		"rows": {func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Query(ctx, "select generate_series(1, 100000)")
			return err
		}, "pgxconn: Options.AfterConnect has left rows, a batch or a copy unfinished; have it close them before it returns"},
		"a closed connection": {func(ctx context.Context, conn *pgx.Conn) error { return conn.Close(ctx) }, "pgxconn: Options.AfterConnect has left the connection closed; have it return the error that closed it"},
		"a cancelled query": {func(ctx context.Context, conn *pgx.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_ = exec("select pg_sleep(60)")(ctx, conn)
			return nil
		}, "pgxconn: a ctx ended in the middle of a query of Options.AfterConnect; have it return the query's error, or give the query more time"},
	} {
		t.Run(name, func(t *testing.T) {
			connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address), AfterConnect: test.after})
			conn, err := connector.Open(t.Context())
			if text := fmt.Sprint(err); text != test.want && (err != nil || test.want != "") {
				t.Errorf("%v, want %q", err, test.want)
			}
			if conn != nil {
				if err := connector.Close(t.Context(), conn); err != nil {
					t.Error(err)
				}
			}
			// The server takes its time to notice that rows are not wanted.
			if err := await(func() bool { n, err := e.Connections(t.Context()); return err == nil && n == 0 }); err != nil {
				t.Errorf("connections are left: %v", err)
			}
		})
	}
}

// What Session's doc says of temporary tables.
func TestPostgresTemporaryTables(t *testing.T) {
	e := startPostgres(t)
	for _, cleaning := range []pgxconn.Cleaning{pgxconn.Session, pgxconn.Everything} {
		connector := pgxconn.New(pgxconn.Options{Config: config(t, e.Address), Cleaning: cleaning})
		conn, err := connector.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		query := func(columns string) error {
			if err := exec("create temp table mine ("+columns+")")(t.Context(), conn); err != nil {
				return err
			}
			rows, err := conn.Query(t.Context(), "select * from mine") // by a statement that pgx keeps
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		}
		if err := query("a int"); err != nil {
			t.Error(err)
		}
		if err := connector.Reset(t.Context(), conn); err != nil {
			t.Error(err)
		}
		err = query("a text, b text")
		refused, is := errors.AsType[*pgconn.PgError](err)
		if fails := is && refused.Code == "0A000"; fails != (cleaning == pgxconn.Session) {
			t.Errorf("cleaning %v: the next user's table of the same name: %v", cleaning, err)
		}
		if err := connector.Close(t.Context(), conn); err != nil {
			t.Error(err)
		}
	}
}

// deaf is a layer that takes its time when it is closed, as TLS does that says
// goodbye to a server which reads no more: here it never ends.
type deaf struct{ net.Conn }

func (deaf) Close() error        { return nil }
func (d deaf) NetConn() net.Conn { return d.Conn }

// Abort closes the connection below TLS, and Close does when its ctx ends.
func TestPostgresAbort(t *testing.T) {
	e := startPostgres(t)
	c := config(t, e.Address)
	var below net.Conn
	c.DialFunc = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		below, err = new(net.Dialer).DialContext(ctx, network, address)
		return deaf{below}, err
	}
	connector := pgxconn.New(pgxconn.Options{Config: c})
	for name, abort := range map[string]func(conn *pgx.Conn){
		"Abort": connector.Abort,
		"Close": func(conn *pgx.Conn) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = connector.Close(ctx, conn)
		},
	} {
		conn, err := connector.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		abort(conn)
		if err := below.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the connection below: %v", name, err)
		}
		below.Close()
	}
}

// Close does not wait longer than its ctx for what pgx does in the background:
// it dials, to cancel a query that was given up.
func TestPostgresCloseGivesUp(t *testing.T) {
	e := startPostgres(t)
	c := config(t, e.Address)
	var dials atomic.Int64
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.Context().Done():
			return nil, t.Context().Err()
		}
	}
	connector := pgxconn.New(pgxconn.Options{Config: c})
	conn, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	early, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := exec("select pg_sleep(60)")(early, conn); err == nil {
		t.Fatal("the query has ended")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := connector.Close(ctx, conn); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if err := await(func() bool { return dials.Load() == 2 }); err != nil {
		t.Errorf("pgx has not dialed: %v", err)
	}
}
