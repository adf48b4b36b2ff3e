package sqls

import (
	"database/sql"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

const (
	selectMaria    = "select 40 + ?"
	selectPostgres = "select 40 + $1::int"
)

func (s system) sum() string {
	if s.server == postgres {
		return selectPostgres
	}
	return selectMaria
}

// prepared counts what was prepared, by the server's own account.
func prepared(t *testing.T, s system, db asker) int {
	t.Helper()
	if s.server == postgres { // how many there are now, of this session
		return number(t, ask(t, db, "select count(*) from pg_prepared_statements where statement = '"+selectPostgres+"'"))
	}
	return number(t, ask(t, db, "select variable_value from information_schema.global_status where variable_name = 'COM_STMT_PREPARE'"))
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	check(t, err)
	return n
}

func sum(t *testing.T, stmt *sql.Stmt) {
	t.Helper()
	var n int
	if err := stmt.QueryRowContext(t.Context(), 2).Scan(&n); err != nil || n != 42 {
		t.Fatalf("%d, %v", n, err)
	}
}

// A statement of db.Prepare is prepared once a connection, not once a use.
func TestPreparedOnce(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		for _, size := range []int{1, 3} {
			db, pool := s.open(t, pools.Settings{Size: size}, sqlpools.Options{})
			before := 0
			if s.server == mariaDB {
				before = prepared(t, s, db)
			}
			stmt, err := db.PrepareContext(t.Context(), s.sum())
			check(t, err)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 10 {
						var n int
						if err := stmt.QueryRowContext(t.Context(), 2).Scan(&n); err != nil || n != 42 {
							t.Error(n, err)
						}
					}
				})
			}
			wg.Wait()
			connections := int(pool.Stats().Opened)
			if s.server == postgres {
				connections = 1 // it is asked by one of them, for its own
			}
			least := 1
			if s.server == postgres && size > 1 {
				least = 0 // that one may have had no use of it
			}
			if n := prepared(t, s, db) - before; n < least || n > connections {
				t.Errorf("%d connections have prepared it %d times", connections, n)
			}
			if size == 1 && s.server == postgres {
				const when = "select prepare_time::text from pg_prepared_statements where statement = '" + selectPostgres + "'"
				first := ask(t, db, when)
				sum(t, stmt)
				if again := ask(t, db, when); first != again {
					t.Errorf("prepared at %s, and again at %s", first, again)
				}
			}
			check(t, stmt.Close())
		}
	})
}

// forget makes the server forget the statements of a session.
func forget(t *testing.T, s system, db *sql.DB, network net.Conn) {
	t.Helper()
	if s.server == postgres {
		run(t, db, "deallocate all")
		return
	}
	// COM_RESET_CONNECTION, and OK. The driver has no call for it.
	if _, err := network.Write([]byte{1, 0, 0, 0, 0x1f}); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4)
	_, err := io.ReadFull(network, head)
	check(t, err)
	rest := make([]byte, int(head[0])|int(head[1])<<8)
	_, err = io.ReadFull(network, rest)
	check(t, err)
	if rest[0] != 0 {
		t.Fatalf("COM_RESET_CONNECTION: %q", rest)
	}
}

// When the server has forgotten a statement, the user does not notice.
func TestForgotten(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		db, pool, d := s.watched(t, pools.Settings{Size: 1}, sqlpools.Options{})
		stmt, err := db.PrepareContext(t.Context(), s.sum())
		check(t, err)
		for range 3 {
			sum(t, stmt)
			forget(t, s, db, d.only())
			sum(t, stmt)
		}
		if stats := pool.Stats(); stats.Opened != 1 || stats.Closed != 0 {
			t.Errorf("%d were opened, %d closed", stats.Opened, stats.Closed)
		}

		// In a transaction PostgreSQL answers nothing more after an error.
		tx, err := db.BeginTx(t.Context(), nil)
		check(t, err)
		if s.server == postgres {
			_, err := tx.ExecContext(t.Context(), "deallocate all")
			check(t, err)
		} else {
			forget(t, s, db, d.only())
		}
		var n int
		err = tx.StmtContext(t.Context(), stmt).QueryRowContext(t.Context(), 2).Scan(&n)
		if (err != nil) != (s.server == postgres) || errors.Is(err, sql.ErrNoRows) {
			t.Errorf("in a transaction: %d, %v", n, err)
		}
		check(t, tx.Rollback())
		sum(t, stmt)
	})
}

// A statement whose columns have changed is prepared anew, too. MariaDB does that itself.
func TestColumnsChange(t *testing.T) {
	each(t, true, func(t *testing.T, s system) {
		db, pool := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{})
		run(t, db, "create table changing (a int)", "insert into changing values (42)")
		defer run(t, db, "drop table changing")
		stmt, err := db.PrepareContext(t.Context(), "select * from changing")
		check(t, err)
		var a, b sql.NullInt64
		for range 2 {
			check(t, stmt.QueryRowContext(t.Context()).Scan(&a))
		}
		run(t, db, "alter table changing add column b int")
		if err := stmt.QueryRowContext(t.Context()).Scan(&a, &b); err != nil || a.Int64 != 42 || b.Valid {
			t.Errorf("%v, %v: %v", a, b, err)
		}
		if n := pool.Stats().Opened; n != 1 {
			t.Errorf("%d connections were opened", n)
		}
		check(t, stmt.Close())
	})
}

// The driver of MySQL prepares each query with arguments; here once a connection.
func TestQueriesWithArguments(t *testing.T) {
	s := systems[0]
	db, _ := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{})
	before := prepared(t, s, db)
	for range 10 {
		if got := ask(t, db, selectMaria, 2); got != "42" {
			t.Fatal(got)
		}
	}
	if n := prepared(t, s, db) - before; n != 1 {
		t.Errorf("prepared %d times", n)
	}
}
