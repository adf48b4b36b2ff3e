package sqlpools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// find returns one of the shapes.
func find(t *testing.T, conn, stmt string) *shape {
	for _, s := range shapes() {
		if s.name == "conn with "+conn+", stmt with "+stmt {
			return s
		}
	}
	t.Fatal("there is no shape ", conn, stmt)
	return nil
}

// scenario is a *sql.DB on a pool of a driver that has everything, in virtual time.
func scenario(t *testing.T, settings pools.Settings, o sqlpools.Options, f func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], driver *fake)) {
	t.Helper()
	shaped(t, "all", settings, o, f)
}

func shaped(t *testing.T, conn string, settings pools.Settings, o sqlpools.Options, f func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], driver *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		below := &fake{shape: find(t, conn, "nothing")}
		db, pool, err := sqlpools.OpenDB("db", below, settings, o)
		if err != nil {
			t.Fatal(err)
		}
		f(t, db, pool, below)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if st := pool.Stats(); st.Opened != st.Closed {
			t.Errorf("%d opened, %d closed", st.Opened, st.Closed)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asked returns how often the driver was asked something.
func (f *fake) asked(what string) (n int) {
	for _, line := range f.logs() {
		if _, said, _ := strings.Cut(line, ": "); said == what {
			n++
		}
	}
	return n
}

// Whatever the *sql.DB is told, it keeps no connection of the pool's. What it keeps are
// logical ones, and with SetMaxOpenConns not even those.
func TestTheDBKeepsNone(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*sql.DB)
		idle int
	}{
		"nothing":         {func(*sql.DB) {}, 2},
		"SetMaxIdleConns": {func(db *sql.DB) { db.SetMaxIdleConns(1) }, 1},
		"without":         {func(db *sql.DB) { db.SetMaxIdleConns(-1) }, 0},
		"SetMaxOpenConns": {func(db *sql.DB) { db.SetMaxIdleConns(10); db.SetMaxOpenConns(1) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
				test.set(db)
				a, err := db.Conn(t.Context())
				must(t, err)
				got := make(chan error)
				go func() {
					got <- db.PingContext(t.Context())
				}()
				synctest.Wait()
				must(t, a.Close())
				must(t, <-got)
				synctest.Wait()
				if st, held := db.Stats(), pool.Stats().Held; st.Idle != test.idle || st.OpenConnections != test.idle || held != 0 {
					t.Errorf("%+v; %d are held", st, held)
				}
			})
		})
	}
}

// Who waits is served first come, first served, and no longer than WaitTimeout; the
// error says why.
func TestWaits(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		held, err := db.Conn(t.Context())
		must(t, err)
		began := time.Now()
		err = db.PingContext(t.Context())
		if e, ok := errors.AsType[*pools.PopError](err); !ok || !errors.Is(err, pools.ErrWaitTimeout) || e.Pool != "db" || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		must(t, held.Close())
		must(t, db.PingContext(t.Context()))
		if st := pool.Stats(); st.TimedOut != 2 || st.Opened != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// With SetMaxOpenConns one goroutine of database/sql pops for all who wait there,
// without their ctx: it holds them up for WaitTimeout at most.
func TestMaxOpenConnsIsBounded(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		db.SetMaxOpenConns(1)
		a, err := db.Conn(t.Context())
		must(t, err)
		own, err := pool.Pop(ctxWithTimeout(t, time.Millisecond)) // beside the *sql.DB
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(own, err)
		}
		var others []chan error
		for range 2 {
			got := make(chan error, 1)
			others = append(others, got)
			go func() { got <- db.PingContext(ctxWithTimeout(t, 10*time.Second)) }()
		}
		synctest.Wait()
		beside := make(chan pools.Conn[driver.Conn])
		go func() {
			conn, err := pool.Pop(t.Context())
			if err != nil {
				t.Error(err)
			}
			beside <- conn
		}()
		synctest.Wait()
		must(t, a.Close()) // the one beside gets it, and the opener waits
		conn := <-beside
		began := time.Now()
		for _, got := range others {
			if err := <-got; !errors.Is(err, pools.ErrWaitTimeout) {
				t.Error(err)
			}
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("the two were held up for %v", d)
		}
		must(t, conn.Push())
		must(t, db.PingContext(t.Context()))
	})
}

func ctxWithTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// database/sql calls Connect three times if its error is a driver.ErrBadConn. The
// pool has tried already.
func TestConnectIsNotRetried(t *testing.T) {
	settings := pools.Settings{Size: 1, ReconnectAttempts: 2, ReconnectSleep: time.Millisecond}
	scenario(t, settings, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		below.fail = errors.Join(errors.New("no route"), driver.ErrBadConn)
		err := db.PingContext(t.Context())
		if errors.Is(err, driver.ErrBadConn) || !errors.Is(err, pools.ErrOpenFailed) || !strings.Contains(err.Error(), "no route") {
			t.Error(err)
		}
		if e, ok := errors.AsType[*pools.PopError](err); !ok || e.Pool != "db" {
			t.Errorf("%T %v", err, err)
		}
		if st := pool.Stats(); st.OpenErrors != 1 {
			t.Errorf("%d opens failed", st.OpenErrors)
		}
	})
}

// A connection that says driver.ErrBadConn goes, and the query gets another one.
func TestBadConnectionsGo(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		must(t, db.PingContext(t.Context()))
		conn, err := db.Conn(t.Context())
		must(t, err)
		if _, err := conn.ExecContext(t.Context(), "bad"); !errors.Is(err, driver.ErrBadConn) {
			t.Error(err)
		}
		_ = conn.Close()
		synctest.Wait()
		if st := pool.Stats(); st.Closed != 1 || st.Held != 0 {
			t.Errorf("%+v", st)
		}
		must(t, db.PingContext(t.Context()))
		if n := len(below.made); n != 2 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// A transaction whose ctx has ended is rolled back. The connection is kept as
// database/sql would keep it.
func TestTransactionEndsWithItsContext(t *testing.T) {
	for conn, kept := range map[string]bool{"all": true, "ctx": true, "nothing": false, "query only": false, "both ways": false} {
		t.Run(conn, func(t *testing.T) {
			shaped(t, conn, pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
				must(t, db.PingContext(t.Context()))
				_, err := db.ExecContext(t.Context(), "x") // so that it is not fresh
				must(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				_, err = db.BeginTx(ctx, nil)
				must(t, err)
				cancel()
				synctest.Wait()
				if st := pool.Stats(); st.Held != 0 || (st.Closed == 0) != kept || st.Unfinished != 0 {
					t.Errorf("%+v", st)
				}
				if n := below.asked("rollback"); n != 1 {
					t.Errorf("rolled back %d times", n)
				}
			})
		})
	}
}

// A transaction that nobody has ended is rolled back, and counted.
func TestTransactionLeftOpen(t *testing.T) {
	for name, leave := range map[string]struct {
		with func(ctx context.Context, conn *sql.Conn) error
		ends string // what the driver is asked
	}{
		"statement": {func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, "/* mine */ begin immediate; insert x")
			return err
		}, "exec, ctx ROLLBACK []"},
		"prepared statement": {func(ctx context.Context, conn *sql.Conn) error {
			s, err := conn.PrepareContext(ctx, "START TRANSACTION")
			if err != nil {
				return err
			}
			_, err = s.ExecContext(ctx)
			return err
		}, "exec, ctx ROLLBACK []"},
		"ended by a statement": {func(ctx context.Context, conn *sql.Conn) error {
			_, err1 := conn.ExecContext(ctx, "BEGIN")
			_, err2 := conn.ExecContext(ctx, "COMMIT")
			return errors.Join(err1, err2)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cleaned := 0
			clean := func(context.Context, driver.Conn) error { cleaned++; return nil }
			scenario(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: clean}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
				conn, err := db.Conn(t.Context())
				must(t, err)
				must(t, leave.with(t.Context(), conn))
				must(t, conn.Close())
				synctest.Wait()
				want := 0
				if leave.ends != "" {
					want = 1
				}
				if n := pool.Stats().Unfinished; n != uint64(want) {
					t.Errorf("%d unfinished", n)
				}
				if leave.ends != "" && below.asked(leave.ends) != 1 {
					t.Errorf("asked: %q", below.logs())
				}
				if cleaned != 1 {
					t.Errorf("cleaned %d times", cleaned)
				}
				must(t, db.PingContext(t.Context()))
				synctest.Wait()
				if st := pool.Stats(); st.Unfinished != uint64(want) || st.Opened != 1 {
					t.Errorf("the next user: %+v", st)
				}
			})
		})
	}
}

// isOwn reports whether a connection is one of the fake driver's.
func isOwn(c driver.Conn) bool { return strings.HasPrefix(fmt.Sprintf("%T", c), "struct {") }

// Raw and Unwrap reach the driver's own connection.
func TestRaw(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		conn, err := db.Conn(t.Context())
		must(t, err)
		own := func(c driver.Conn) error {
			if !isOwn(c) {
				t.Errorf("a %T", c)
			}
			return nil
		}
		must(t, sqlpools.Raw(conn, own))
		must(t, conn.Raw(func(c any) error { return own(sqlpools.Unwrap(c.(driver.Conn))) }))
		must(t, conn.Close())
		must(t, pool.Use(t.Context(), func(c driver.Conn) error { return own(sqlpools.Unwrap(c)) }))
	})
}

// RevokeAll interrupts by Abort; a pool that is closed says so.
func TestOperators(t *testing.T) {
	var aborted []driver.Conn
	options := sqlpools.Options{Abort: func(conn driver.Conn) { aborted = append(aborted, conn) }}
	scenario(t, pools.Settings{Size: 2}, options, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		conn, err := db.Conn(t.Context())
		must(t, err)
		if n := pool.RevokeAll(); n != 1 {
			t.Errorf("%d leases", n)
		}
		synctest.Wait()
		if len(aborted) != 1 {
			t.Fatalf("%d were interrupted", len(aborted))
		}
		if !isOwn(aborted[0]) {
			t.Errorf("Abort got a %T", aborted[0])
		}
		_ = conn.Close()
		must(t, pool.Refresh(t.Context(), 0))
		must(t, db.PingContext(t.Context()))
		must(t, pool.Close(t.Context()))
		if err := db.PingContext(t.Context()); !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
	})
}

// A holder is named by its own function, and not by one of database/sql.
func TestHolders(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, TrackHolders: true}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		conn, err := db.Conn(t.Context())
		must(t, err)
		for c := range pool.Connections() {
			lines := strings.Split(c.Stack, "\n")
			if len(lines) < 3 || !strings.HasPrefix(lines[0], "database/sql.") || !strings.Contains(lines[2], "sqlpools_test.TestHolders") {
				t.Errorf("it is taken at %s", c.Stack)
			}
		}
		must(t, conn.Close())
	})
}

// What is wrong is said, by New's words too.
func TestBadInput(t *testing.T) {
	if _, _, err := sqlpools.OpenDB("db", nil, pools.Settings{Size: 1}, sqlpools.Options{}); err == nil || !strings.Contains(err.Error(), "connector is nil") {
		t.Error(err)
	}
	if _, err := sqlpools.Connector(nil, sqlpools.Options{}); err == nil || !strings.Contains(err.Error(), "connector is nil") {
		t.Error(err)
	}
	if _, _, err := sqlpools.OpenDB("db", &fake{}, pools.Settings{}, sqlpools.Options{}); err == nil || !strings.Contains(err.Error(), "Size") {
		t.Error(err)
	}
	if _, _, err := sqlpools.Open("db", "no such driver", "", pools.Settings{Size: 1}, sqlpools.Options{}); err == nil || !strings.Contains(err.Error(), "no such driver") {
		t.Error(err)
	}
}

// A driver that is registered under a name has its connectors made, or its
// connections opened.
func TestOpen(t *testing.T) {
	plain := &fake{shape: find(t, "nothing", "nothing")}
	name := fmt.Sprintf("sqlpools %p", plain) // with -count there are some
	sql.Register(name, fakeDriver{plain})
	db, pool, err := sqlpools.Open("db", name, "dsn", pools.Settings{Size: 1}, sqlpools.Options{})
	must(t, err)
	must(t, db.PingContext(t.Context()))
	if db.Driver() != (fakeDriver{plain}) {
		t.Errorf("Driver is a %T", db.Driver())
	}
	must(t, db.Close())
	if !slices.Equal(plain.logs(), []string{"0: close"}) || pool.Stats().Closed != 1 {
		t.Errorf("%q", plain.logs())
	}
}
