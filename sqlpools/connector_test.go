package sqlpools_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// A pool of a driver's connections without a *sql.DB: what its users prepare is kept, and
// what they begin and do not end is rolled back.
func TestConnector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := &fake{shape: find(t, "all", "nothing")}
		connector, err := sqlpools.Connector(below, sqlpools.Options{})
		must(t, err)
		pool, err := pools.New("db", connector, pools.Settings{Size: 1})
		must(t, err)
		use := func(f func(conn driver.Conn) error) {
			t.Helper()
			must(t, pool.Use(t.Context(), f))
			synctest.Wait()
		}
		run := func(query string) func(conn driver.Conn) error {
			return func(conn driver.Conn) error {
				s, err := conn.Prepare(query)
				if err != nil {
					return err
				}
				_, err = s.Exec(nil) //lint:ignore SA1019 a driver.Stmt has no other without more interfaces
				return errors.Join(err, s.Close())
			}
		}
		for step, test := range []struct {
			does       func(conn driver.Conn) error
			unfinished uint64
		}{
			{run("x"), 0},
			{run("x"), 0},
			{run("BEGIN"), 1},
			{func(conn driver.Conn) error { _, err := conn.Begin(); return err }, 2}, //lint:ignore SA1019 as above
			{func(conn driver.Conn) error {
				tx, err := conn.Begin() //lint:ignore SA1019 as above
				if err != nil {
					return err
				}
				return tx.Commit()
			}, 2},
			{func(conn driver.Conn) error {
				tx, err := conn.Begin() //lint:ignore SA1019 as above
				if err != nil {
					return err
				}
				return tx.Rollback()
			}, 2},
		} {
			use(test.does)
			if n := pool.Stats().Unfinished; n != test.unfinished {
				t.Errorf("after use %d: %d unfinished, want %d", step, n, test.unfinished)
			}
		}
		if p, r := below.asked("prepare x"), below.asked("exec, ctx ROLLBACK []"); p != 1 || r != 2 {
			t.Errorf("x was prepared %d times, and there were %d ROLLBACKs: %q", p, r, below.logs())
		}
		must(t, pool.Close(t.Context()))
	})
}

// An error that says that the session has ended closes the connection, also if its driver
// cannot say whether one is valid. Any other of the server's keeps it.
func TestSessionThatHasEnded(t *testing.T) {
	for _, shape := range []string{"all", "nothing"} {
		for err, closed := range map[error]uint64{
			driver.ErrBadConn: 1, state("57P01"): 1, state("08006"): 1, state("25P03"): 1,
			state("57014"): 0, state("25006"): 0, errors.New("08006"): 0,
		} {
			t.Run(fmt.Sprint(shape, ", ", err), func(t *testing.T) {
				connector, failed := sqlpools.Connector(&fake{shape: find(t, shape, "nothing")}, sqlpools.Options{})
				must(t, failed)
				pool, failed := pools.New("db", connector, pools.Settings{Size: 1})
				must(t, failed)
				if got := pool.Use(t.Context(), func(driver.Conn) error { return fmt.Errorf("it failed: %w", err) }); !errors.Is(got, err) {
					t.Error(got)
				}
				must(t, pool.Use(t.Context(), func(driver.Conn) error { return nil }))
				if n := pool.Stats().Opened - 1; n != closed {
					t.Errorf("%d were opened anew, want %d", n, closed)
				}
				must(t, pool.Close(t.Context()))
			})
		}
	}
}
