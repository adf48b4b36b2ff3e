package sqlpools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// A logical connection has another one of the pool's in each use. A statement of
// db.Prepare goes with that: it is prepared once on each.
func TestStatementOfManyConnections(t *testing.T) {
	shaped(t, "ctx", pools.Settings{Size: 3}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		s, err := db.PrepareContext(t.Context(), "x ?")
		must(t, err)
		use := func() {
			t.Helper()
			_, err := s.ExecContext(t.Context(), 1)
			must(t, err)
		}
		for range 3 {
			use()
			var held []pools.Conn[driver.Conn]
			for range 2 { // so that the next one gets another connection
				conn, err := pool.Pop(t.Context())
				must(t, err)
				held = append(held, conn)
				use()
			}
			for _, conn := range held {
				must(t, conn.Push())
			}
		}
		if p, n := below.asked("prepare x ?"), len(below.made); n != 3 || p != 3 {
			t.Errorf("%d connections, prepared %d times", n, p)
		}
		must(t, pool.Refresh(t.Context(), 0))
		synctest.Wait()
		use()
		if p, c := below.asked("prepare x ?"), below.asked("close x ?"); p != 4 || c != 3 { // of the three that were closed
			t.Errorf("after a Refresh: prepared %d times, closed %d times", p, c)
		}
		must(t, s.Close())
		_, err = db.ExecContext(t.Context(), "x ?", 1)
		must(t, err)
		if p, c := below.asked("prepare x ?"), below.asked("close x ?"); p != 4 || c != 3 {
			t.Errorf("it is not kept: prepared %d times, closed %d times", p, c)
		}
	})
}

// A logical connection is given up with a connection that is bad. The statements that it
// had on another one stay there.
func TestStatementsOutliveALogicalConnection(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		s, err := db.PrepareContext(t.Context(), "x ?")
		must(t, err)
		conn, err := pool.Pop(t.Context())
		must(t, err)
		if _, err := db.ExecContext(t.Context(), "bad"); !errors.Is(err, driver.ErrBadConn) {
			t.Error(err)
		}
		must(t, conn.Push())
		_, err = s.ExecContext(t.Context(), 1)
		must(t, err)
		if p, c := below.asked("prepare x ?"), below.asked("close x ?"); p != 1 || c != 0 {
			t.Errorf("prepared %d times, closed %d times", p, c)
		}
		must(t, s.Close())
	})
}

// A connection whose driver cannot reset it goes, and its user gets another one.
func TestResetThatFails(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		must(t, db.PingContext(t.Context()))
		below.unreset = driver.ErrBadConn
		must(t, db.PingContext(t.Context()))
		synctest.Wait()
		if st := pool.Stats(); st.Opened != 2 || st.Closed != 1 || st.Held != 0 {
			t.Errorf("%d opened, %d closed, %d held", st.Opened, st.Closed, st.Held)
		}
		below.unreset = errors.New("no matter to database/sql")
		must(t, db.PingContext(t.Context()))
		if st := pool.Stats(); st.Opened != 2 {
			t.Errorf("%d opened", st.Opened)
		}
	})
}

// A wait in vain is told as it is, and takes as long as it may: database/sql does not
// wait again.
func TestWaitInVain(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		s, err := db.PrepareContext(t.Context(), "x ?")
		must(t, err)
		uses := map[string]func(context.Context) error{
			"Ping":  db.PingContext,
			"Exec":  func(ctx context.Context) error { _, err := db.ExecContext(ctx, "x ?", special{"a"}); return err },
			"Query": func(ctx context.Context) error { _, err := db.QueryContext(ctx, "x"); return err },
			"Stmt":  func(ctx context.Context) error { _, err := s.ExecContext(ctx, special{"a"}); return err },
			"Begin": func(ctx context.Context) error { _, err := db.BeginTx(ctx, nil); return err },
			"Conn": func(ctx context.Context) error {
				conn, err := db.Conn(ctx)
				if err != nil {
					return err
				}
				return errors.Join(conn.PingContext(ctx), conn.Close())
			},
		}
		for name, use := range uses {
			beside, err := pool.Pop(t.Context())
			must(t, err)
			began := time.Now()
			if err := use(t.Context()); !errors.Is(err, pools.ErrWaitTimeout) || time.Since(began) != time.Second {
				t.Errorf("%s: after %v: %v", name, time.Since(began), err)
			}
			began = time.Now()
			if err := use(ctxWithTimeout(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 300*time.Millisecond {
				t.Errorf("%s: after %v: %v", name, time.Since(began), err)
			}
			must(t, beside.Push())
			must(t, db.PingContext(t.Context()))
		}
		must(t, s.Close())
		must(t, pool.Close(t.Context()))
		for name, use := range uses {
			if name == "Stmt" {
				continue // it is closed
			}
			if err := use(t.Context()); !errors.Is(err, pools.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if conn, err := db.Conn(t.Context()); !errors.Is(err, pools.ErrClosed) {
			t.Error(conn, err)
		}
	})
}

// A sql.Result answers at once, whoever waits for a connection.
func TestResultWhileOthersWait(t *testing.T) {
	for name, exec := range map[string]func(db *sql.DB, s *sql.Stmt) (sql.Result, error){
		"Exec": func(db *sql.DB, _ *sql.Stmt) (sql.Result, error) { return db.Exec("x") },
		"Stmt": func(_ *sql.DB, s *sql.Stmt) (sql.Result, error) { return s.Exec(1) },
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
				s, err := db.PrepareContext(t.Context(), "x ?")
				must(t, err)
				other, err := pool.Pop(t.Context())
				must(t, err)
				for range 2 { // the second use has waited
					result, err := exec(db, s)
					must(t, err)
					must(t, db.PingContext(t.Context())) // another use of the logical connection
					own, err := pool.Pop(t.Context())
					must(t, err)
					var waiting sync.WaitGroup
					for range 3 {
						waiting.Go(func() {
							if err := db.PingContext(t.Context()); err != nil {
								t.Error(err)
							}
						})
					}
					synctest.Wait()
					at := time.Now()
					if n, err := result.RowsAffected(); err != nil || n == 0 {
						t.Error(n, err)
					}
					if d := time.Since(at); d > 0 {
						t.Errorf("it took %v", d)
					}
					time.AfterFunc(time.Second, func() { must(t, own.Push()) })
					result, err = exec(db, s) // waits
					must(t, err)
					_, _ = result.RowsAffected()
					waiting.Wait()
				}
				must(t, other.Push())
				must(t, s.Close())
			})
		})
	}
}

// When a statement cannot be prepared on the connection of a later use, that use says
// so, whatever arguments it has.
func TestStatementThatCannotBePreparedAgain(t *testing.T) {
	for _, stmt := range []string{"nothing", "all", "converter", "checker"} {
		t.Run(stmt, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below := &fake{shape: find(t, "ctx", stmt)}
				db, pool, err := sqlpools.OpenDB("db", below, pools.Settings{Size: 2}, sqlpools.Options{})
				must(t, err)
				defer db.Close()
				s, err := db.PrepareContext(t.Context(), "x ?")
				must(t, err)
				conn, err := pool.Pop(t.Context())
				must(t, err)
				gone := errors.New("the table has gone")
				below.unprepared = gone
				for range 2 {
					if _, err := s.ExecContext(t.Context(), 1); !errors.Is(err, gone) {
						t.Error(err)
					}
					if _, err := s.QueryContext(t.Context(), 1, 2, 3); !errors.Is(err, gone) {
						t.Error(err)
					}
				}
				below.unprepared = nil
				if _, err := s.ExecContext(t.Context(), 1); err != nil {
					t.Error(err)
				}
				must(t, errors.Join(conn.Push(), s.Close()))
				if st := pool.Stats(); st.Closed != 0 || st.Held != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A crowd waits in the pool, in order, and nobody hears of driver.ErrBadConn, by which
// a logical connection sends its user to wait.
func TestCrowd(t *testing.T) {
	for name, set := range map[string]func(*sql.DB){
		"plain":           func(*sql.DB) {},
		"SetMaxOpenConns": func(db *sql.DB) { db.SetMaxOpenConns(5) },
		"lifetimes":       func(db *sql.DB) { db.SetConnMaxLifetime(time.Millisecond); db.SetConnMaxIdleTime(time.Millisecond) },
		"changes": func(db *sql.DB) {
			go func() {
				for i := range 100 {
					time.Sleep(3 * time.Millisecond)
					db.SetMaxOpenConns(i % 4)
					db.SetMaxIdleConns(i % 3)
				}
				db.SetMaxOpenConns(4)
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 3}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
				set(db)
				s, err := db.PrepareContext(t.Context(), "x ?")
				must(t, err)
				var wg sync.WaitGroup
				for i := range 30 {
					wg.Go(func() {
						for n := range 20 {
							if err := one(t.Context(), db, s, i+n); err != nil {
								t.Errorf("%d: %v", i, err)
							}
						}
					})
				}
				wg.Go(func() { // beside the *sql.DB
					for range 50 {
						must(t, pool.Use(t.Context(), func(driver.Conn) error { time.Sleep(2 * time.Millisecond); return nil }))
					}
				})
				wg.Wait()
				time.Sleep(time.Second)
				must(t, s.Close())
				if st := pool.Stats(); st.Held != 0 || st.Closed != 0 || st.Opened > 3 {
					t.Errorf("%d opened, %d closed, %d held", st.Opened, st.Closed, st.Held)
				}
				if p, n := below.asked("prepare x ?"), len(below.made); p != n {
					t.Errorf("%d connections, prepared %d times", n, p)
				}
			})
		})
	}
}

// one is a use of some kind.
func one(ctx context.Context, db *sql.DB, s *sql.Stmt, kind int) error {
	pause := func() error { time.Sleep(time.Millisecond); return nil }
	switch kind % 4 {
	case 0:
		_, err := db.ExecContext(ctx, "y")
		return err
	case 1:
		_, err := s.ExecContext(ctx, 1)
		return err
	case 2:
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "y")
		return errors.Join(err, pause(), tx.Commit())
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(pause(), conn.PingContext(ctx), conn.Close())
}

// What a text means may change with the session. Then no statement from before is used,
// and none from in between once the use has ended: Options.Clean may change it back.
func TestTextsThatMeanSomethingElse(t *testing.T) {
	raw := func(conn *sql.Conn) error { return sqlpools.Raw(conn, func(driver.Conn) error { return nil }) }
	exec := func(query string) func(*sql.Conn) error {
		return func(conn *sql.Conn) error { _, err := conn.ExecContext(context.Background(), query); return err }
	}
	for name, test := range map[string]struct {
		change   func(*sql.Conn) error
		prepared int
	}{
		"nothing":           {exec("select 1"), 1},
		"USE":               {exec("use other"), 3},
		"SET":               {exec("select 1; set sql_mode = ''"), 3},
		"SET for MySQL":     {exec("/*!40101 SET NAMES utf8 */"), 3},
		"SET of @@":         {exec("set @@sql_mode = ''"), 3},
		"SET of @":          {exec("set @a = 1"), 1},
		"SET LOCAL":         {exec("set local a = 1"), 1},
		"SET search_path":   {exec("set search_path = a"), 1},
		"in a string":       {exec("select '; use other'"), 1},
		"Raw":               {raw, 3},
		"failed in between": {func(conn *sql.Conn) error { _ = exec("fails; use other")(conn); return nil }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			shaped(t, "both ways", pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, _ *pools.Pool[driver.Conn], below *fake) {
				prepare := func(conn *sql.Conn) {
					t.Helper()
					s, err := conn.PrepareContext(t.Context(), "x")
					must(t, err)
					_, err = s.ExecContext(t.Context())
					must(t, errors.Join(err, s.Close()))
				}
				for i := range 3 {
					conn, err := db.Conn(t.Context())
					must(t, err)
					prepare(conn)
					if i == 0 {
						must(t, test.change(conn))
						prepare(conn)
					}
					must(t, conn.Close())
				}
				if p, c := below.asked("prepare x"), below.asked("close x"); p != test.prepared || c != p-1 {
					t.Errorf("prepared %d times, closed %d times", p, c)
				}
			})
		})
	}
}

// So may a user of the pool change it, without the *sql.DB.
func TestTextsAfterADirectUse(t *testing.T) {
	shaped(t, "ctx", pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], below *fake) {
		s, err := db.PrepareContext(t.Context(), "x")
		must(t, err)
		must(t, pool.Use(t.Context(), func(conn driver.Conn) error {
			return sqlpools.Exec(t.Context(), sqlpools.Unwrap(conn), "use other")
		}))
		_, err = s.ExecContext(t.Context())
		must(t, errors.Join(err, s.Close()))
		if n := below.asked("prepare x"); n != 2 {
			t.Errorf("prepared %d times", n)
		}
	})
}

// A ctx that had ended before the driver did anything is not the server's fault, though
// the driver says driver.ErrBadConn.
func TestEndedBefore(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			conn, err := db.Conn(t.Context())
			must(t, err)
			if _, err := conn.ExecContext(ended, "looks at its ctx"); !errors.Is(err, driver.ErrBadConn) {
				t.Error(err)
			}
			_ = conn.Close()
		}
		must(t, db.PingContext(t.Context()))
	})
}

// The ctx of db.Conn may end before a statement of a transaction is prepared.
func TestStatementAfterTheContextOfItsConn(t *testing.T) {
	shaped(t, "nothing", pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		s, err := db.PrepareContext(t.Context(), "x ?")
		must(t, err)
		must(t, pool.Refresh(t.Context(), 0)) // so that it has to be prepared anew
		short, cancel := context.WithCancel(t.Context())
		conn, err := db.Conn(short)
		must(t, err)
		tx, err := conn.BeginTx(short, nil)
		must(t, err)
		must(t, tx.Commit())
		tx, err = conn.BeginTx(t.Context(), nil)
		must(t, err)
		cancel()
		_, err = tx.StmtContext(t.Context(), s).ExecContext(t.Context(), 1)
		must(t, errors.Join(err, tx.Commit(), conn.Close(), s.Close()))
	})
}

// A connection that was opened for somebody who has left is given back while the *sql.DB
// is locked. An Observer that asks it does not wait for itself.
func TestObserverAsksTheDB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var db *sql.DB
		pushed := 0
		settings := pools.Settings{Size: 1, Observer: &pools.Observer{Pushed: func(pools.Event) { pushed++; db.Stats() }}}
		db, pool, err := sqlpools.OpenDB("db", quick{}, settings, sqlpools.Options{})
		must(t, err)
		leaves(t, db, pool, func(*sql.DB) {})
		must(t, db.Close())
		if pushed == 0 {
			t.Error("nothing was observed")
		}
	})
}

// The error of a wait is that of the pool, also when SetMaxOpenConns comes late.
func TestLimitThatComesLate(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		must(t, db.PingContext(t.Context()))
		beside, err := pool.Pop(t.Context())
		must(t, err)
		db.SetMaxOpenConns(1)
		for name, use := range map[string]func() error{
			"Ping":    func() error { return db.PingContext(t.Context()) },
			"Exec":    func() error { _, err := db.ExecContext(t.Context(), "x"); return err },
			"Query":   func() error { _, err := db.QueryContext(t.Context(), "x"); return err },
			"Prepare": func() error { _, err := db.PrepareContext(t.Context(), "x"); return err },
			"Begin":   func() error { _, err := db.BeginTx(t.Context(), nil); return err },
			"Raw": func() error {
				conn, err := db.Conn(t.Context())
				if err != nil {
					return err
				}
				return errors.Join(sqlpools.Raw(conn, func(driver.Conn) error { t.Error("a connection"); return nil }), conn.Close())
			},
		} {
			began := time.Now()
			if err := use(); !errors.Is(err, pools.ErrWaitTimeout) || time.Since(began) != time.Second {
				t.Errorf("%s: after %v: %v", name, time.Since(began), err)
			}
			db.SetMaxOpenConns(0)
			must(t, beside.Push())
			must(t, db.PingContext(t.Context()))
			beside, err = pool.Pop(t.Context())
			must(t, err)
			db.SetMaxOpenConns(1)
		}
		must(t, beside.Push())
		must(t, db.PingContext(t.Context()))
	})
}

// A connection that database/sql's own goroutine got for somebody who has left is given
// back, as good as it was.
func TestLeftWhileItOpens(t *testing.T) {
	for name, late := range map[string]func(db *sql.DB){
		"plain":         func(db *sql.DB) {},
		"SetMaxIdle":    func(db *sql.DB) { db.SetMaxIdleConns(10) },
		"limit is gone": func(db *sql.DB) { db.SetMaxOpenConns(0) },
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
				leaves(t, db, pool, late)
				if st := pool.Stats(); st.Held != 0 || st.Closed != 0 || st.Idle != 1 {
					t.Errorf("%d held, %d closed, %d idle", st.Held, st.Closed, st.Idle)
				}
			})
		})
	}
}

// leaves has somebody leave while database/sql waits for the pool on their behalf.
func leaves(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], late func(*sql.DB)) {
	db.SetMaxOpenConns(1)
	a, err := db.Conn(t.Context())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- db.PingContext(ctx) }()
	synctest.Wait()
	beside := make(chan pools.Conn[driver.Conn], 1)
	go func() {
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Error(err)
		}
		beside <- conn
	}()
	synctest.Wait()
	_ = a.Raw(func(any) error { return driver.ErrBadConn }) // so that it is not handed on
	conn := <-beside
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	synctest.Wait()
	late(db)
	must(t, conn.Push())
	synctest.Wait()
}

// What a *sql.DB costs beside the pool: no allocation, and no logical connection for
// each use.
func TestAllocations(t *testing.T) {
	allocations := func(db *sql.DB) float64 {
		defer db.Close()
		return testing.AllocsPerRun(1000, func() {
			if _, err := db.ExecContext(t.Context(), "insert x"); err != nil {
				t.Fatal(err)
			}
		})
	}
	db, _, err := sqlpools.OpenDB("db", quick{}, pools.Settings{Size: 10}, sqlpools.Options{})
	must(t, err)
	if alone, on := allocations(sql.OpenDB(quick{})), allocations(db); on > alone {
		t.Errorf("%v allocations, %v without a pool", on, alone)
	}
}

// The errors of a statement's end do not hide what its use has said.
func TestErrorBeforeClose(t *testing.T) {
	shaped(t, "query only", pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, pool *pools.Pool[driver.Conn], _ *fake) {
		if _, err := db.ExecContext(t.Context(), "times out"); err == nil || !strings.Contains(fmt.Sprint(err), "timeout") {
			t.Error(err)
		}
		synctest.Wait()
		if st := pool.Stats(); st.Closed != 1 {
			t.Errorf("a connection with an error of the network is kept: %+v", st)
		}
	})
}
