package sqlpools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// A statement is prepared once on a connection, by db.Prepare and by queries whose
// driver prepares each of them. The least recently used ones are closed.
func TestStatementsAreKept(t *testing.T) {
	shaped(t, "ctx", pools.Settings{Size: 1}, sqlpools.Options{Statements: 2}, func(t *testing.T, db *sql.DB, _ *pools.Pool[driver.Conn], below *fake) {
		run := func(query string) {
			t.Helper()
			_, err := db.ExecContext(t.Context(), query)
			must(t, err)
		}
		run("a")
		run("a")
		s, err := db.PrepareContext(t.Context(), "a")
		must(t, err)
		for range 3 {
			_, err := s.ExecContext(t.Context())
			must(t, err)
		}
		must(t, s.Close())
		if n := below.asked("prepare a"); n != 1 {
			t.Errorf("prepared %d times", n)
		}
		run("b")
		run("a")
		run("c")
		if below.asked("close a") != 0 || below.asked("close b") != 1 {
			t.Errorf("%q", below.logs())
		}
		run("a")
		run("b")
		if below.asked("prepare a") != 1 || below.asked("prepare b") != 2 || below.asked("close c") != 1 {
			t.Errorf("%q", below.logs())
		}
	})
}

// One that is in use is nobody else's.
func TestStatementInUse(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, _ *pools.Pool[driver.Conn], below *fake) {
		for range 2 {
			conn, err := db.Conn(t.Context())
			must(t, err)
			a, err := conn.PrepareContext(t.Context(), "a")
			must(t, err)
			b, err := conn.PrepareContext(t.Context(), "a")
			must(t, err)
			must(t, errors.Join(a.Close(), b.Close(), conn.Close()))
		}
		if p, c := below.asked("prepare a"), below.asked("close a"); p != 3 || c != 2 {
			t.Errorf("prepared %d times, closed %d times", p, c)
		}
	})
}

// After an error it is prepared anew.
func TestStatementThatFails(t *testing.T) {
	shaped(t, "ctx", pools.Settings{Size: 1}, sqlpools.Options{}, func(t *testing.T, db *sql.DB, _ *pools.Pool[driver.Conn], below *fake) {
		for range 2 {
			if _, err := db.ExecContext(t.Context(), "fails"); err == nil {
				t.Error("no error")
			}
		}
		if p, c := below.asked("prepare fails"), below.asked("close fails"); p != 2 || c != 2 {
			t.Errorf("prepared %d times, closed %d times", p, c)
		}
	})
}

// state is a server's error with an SQLSTATE.
type state string

func (s state) Error() string    { return "state " + string(s) }
func (s state) SQLState() string { return string(s) }

// forgetful answers each use of a statement but the first with its error.
type forgetful struct {
	driver.Stmt
	err  error
	used *int
}

func (f forgetful) Exec([]driver.Value) (driver.Result, error) {
	if *f.used++; *f.used == 2 {
		return nil, f.err
	}
	return driver.RowsAffected(1), nil
}

// A statement that the server has forgotten between two uses is prepared and run once
// more; any other error is the user's.
func TestStatementForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		again bool
	}{
		"PostgreSQL": {state("26000"), true},
		"MySQL":      {errors.New("Error 1243 (HY000): Unknown prepared statement handler (1) given to mysqld_stmt_execute"), true},
		"another":    {state("23505"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				used := 0
				shape := *find(t, "nothing", "nothing")
				shape.stmt = func(s *coreStmt) driver.Stmt { return forgetful{plainStmt(s), test.err, &used} }
				below := &fake{shape: &shape}
				db, _, err := sqlpools.OpenDB("db", below, pools.Settings{Size: 1}, sqlpools.Options{})
				must(t, err)
				defer db.Close()
				_, err = db.ExecContext(t.Context(), "x")
				must(t, err)
				_, err = db.ExecContext(t.Context(), "x")
				want := 3
				if !test.again {
					want = 2
				}
				if (err == nil) != test.again || used != want {
					t.Errorf("after %d uses: %v", used, err)
				}
				if _, err = db.ExecContext(context.Background(), "x"); err != nil {
					t.Error(err)
				}
				if n := below.asked("prepare x"); n != 2 {
					t.Errorf("prepared %d times", n)
				}
			})
		})
	}
}
