package sqls

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/sqlpools"
)

// The server ends all idle connections. The first user to meet one may get an error if
// the driver does not look at the socket; after that the others are checked. With
// CheckAfter Always nobody gets one.
func TestEndedWhileIdle(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		for _, settings := range []pools.Settings{{Size: 8}, {Size: 8, CheckAfter: pools.Always}} {
			for _, users := range []int{1, 8} {
				t.Run(fmt.Sprintf("CheckAfter=%v, %d users", settings.CheckAfter, users), func(t *testing.T) {
					db, pool := s.open(t, settings, sqlpools.Options{})
					failed := endIdle(t, s, db, settings.Size, users)
					if n := pool.Stats().Opened; n < uint64(settings.Size) {
						t.Errorf("only %d connections were opened", n)
					}
					most := users // as many as meet one at the same moment
					if settings.CheckAfter != 0 || s.server == mariaDB {
						most = 0
					}
					if failed > most {
						t.Errorf("%d users got an error, want at most %d", failed, most)
					}

					plain := s.plain(t)
					plain.SetMaxOpenConns(settings.Size)
					plain.SetMaxIdleConns(settings.Size)
					t.Logf("%d errors; without sqlpools %d", failed, endIdle(t, s, plain, settings.Size, users))
				})
			}
		}
	})
}

// endIdle has the server end all connections of a *sql.DB, and returns how many of
// forty uses fail then.
func endIdle(t *testing.T, s system, db *sql.DB, size, users int) int {
	t.Helper()
	for range 2 { // the driver may measure how long one was idle from its second use on
		var conns []*sql.Conn
		for range size {
			conn, err := db.Conn(t.Context())
			check(t, err)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			if got := ask(t, conn, "select 1"); got != "1" {
				t.Fatal(got)
			}
			check(t, conn.Close())
		}
	}
	s.endAll(t)
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range users {
		wg.Go(func() {
			for range 40 / users {
				if ask(t, db, "select 1") != "1" {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(failed.Load())
}

// sleeps waits until a session of the server runs the long statement.
func sleeps(t *testing.T, s system, db *sql.DB) {
	t.Helper()
	query := "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()"
	if s.server == mariaDB {
		query = "select count(*) from information_schema.processlist where info = '" + s.sleep + "'"
	}
	check(t, engine.Eventually(t.Context(), func() error {
		if got := ask(t, db, query); got != "1" {
			return fmt.Errorf("%s sleep", got)
		}
		return nil
	}))
}

// endAll has the server end all sessions, also those that earlier tests have left
// asleep, and waits until they have ended.
func (s system) endAll(t *testing.T) {
	t.Helper()
	e := s.server.engine(t)
	check(t, engine.Eventually(t.Context(), func() error {
		if err := e.Terminate(t.Context(), 100); err != nil {
			return err
		}
		n, err := e.Connections(t.Context())
		if n != 0 {
			err = fmt.Errorf("%d are left", n)
		}
		return err
	}))
}

// A transaction whose ctx ends in the middle: nothing of it is left. MariaDB's
// connection goes on if nothing was running; PostgreSQL's drivers give theirs up, lib/pq
// mostly, with and without sqlpools.
func TestTransactionWhoseContextEnds(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("running=%t", running), func(t *testing.T) {
				s.endAll(t)
				db, pool := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{})
				other := s.plain(t)
				setUp(t, s, db)
				session := ask(t, db, s.pid)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx, err := db.BeginTx(ctx, nil)
				check(t, err)
				run(t, tx, "insert into kept values (1)")
				if running {
					failed := make(chan error, 1)
					go func() {
						_, err := tx.ExecContext(ctx, s.sleep)
						failed <- err
					}()
					sleeps(t, s, other)
					cancel()
					if err := <-failed; err == nil {
						t.Error("the statement has not failed")
					}
				} else {
					cancel()
				}
				if err := tx.Commit(); !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
					t.Errorf("commit: %v", err)
				}
				if n := ask(t, db, "select count(*) from kept"); n != "0" {
					t.Errorf("%s rows are left", n)
				}
				stats := pool.Stats()
				kept := ask(t, db, s.pid) == session
				either := s.name == "pq" && !running // it depends on which of its goroutines is the first to see the end
				if want := s.server == mariaDB && !running; kept != want && !either || stats.Unfinished != 0 {
					t.Errorf("kept: %t, want %t; left open: %d", kept, want, stats.Unfinished)
				}
			})
		}
	})
}

// RevokeAll ends a statement that runs, through the network connection.
func TestAbort(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		s.endAll(t)
		options := sqlpools.Options{} // with the Abort of our dialer
		if s.name == "pgx" {          // needs none
			options.Abort = func(conn driver.Conn) { conn.(*stdlib.Conn).Conn().PgConn().Conn().Close() }
		}
		db, pool := s.open(t, pools.Settings{Size: 1}, options)
		failed := make(chan error, 1)
		go func() {
			_, err := db.ExecContext(t.Context(), s.sleep)
			failed <- err
		}()
		sleeps(t, s, s.plain(t))
		if n := pool.RevokeAll(); n != 1 {
			t.Errorf("%d were revoked", n)
		}
		select {
		case err := <-failed:
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
		case <-time.After(time.Minute):
			t.Fatal("it still runs")
		}
		if got := ask(t, db, "select 1"); got != "1" {
			t.Error(got)
		}
		check(t, engine.Eventually(t.Context(), func() error {
			if stats := pool.Stats(); stats.Opened != 2 || stats.Closed != 1 {
				return fmt.Errorf("opened %d, closed %d", stats.Opened, stats.Closed)
			}
			return nil
		}))
	})
}

// database/sql's Conn cannot be closed before its Tx has ended, so a Tx cannot be left
// open by it.
func TestConnOfATransaction(t *testing.T) {
	each(t, true, func(t *testing.T, s system) {
		db, _ := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{})
		conn, err := db.Conn(t.Context())
		check(t, err)
		tx, err := conn.BeginTx(t.Context(), nil)
		check(t, err)
		closed := make(chan error, 1)
		go func() { closed <- conn.Close() }()
		select {
		case err := <-closed:
			t.Errorf("closed: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		check(t, tx.Rollback())
		check(t, <-closed)
	})
}
