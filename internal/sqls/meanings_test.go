package sqls

import (
	"context"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// A statement that MariaDB has prepared keeps the database and the sql_mode that it was
// prepared with. After USE and SET a text is prepared anew, as without a pool.
func TestTextsAfterUseAndSet(t *testing.T) {
	mariaDB.engine(t)
	s := systems[0]
	for name, o := range map[string]sqlpools.Options{"plain": {}, "clean": {Clean: sqlpools.CleanMariaDB}} {
		t.Run(name, func(t *testing.T) {
			db, _ := s.open(t, pools.Settings{Size: 1}, o)
			run(t, db, "create or replace table app.tables (table_name varchar(20))")
			conn, err := db.Conn(t.Context())
			check(t, err)
			defer conn.Close()
			for _, use := range []string{"app", "information_schema", "app"} {
				run(t, conn, "use "+use)
				if got := ask(t, conn, "select concat(database(), if(count(*) > 0, ' some', ' none')) from tables where table_name <> ?", "x"); got != map[string]string{"app": "app none", "information_schema": "information_schema some"}[use] {
					t.Errorf("after USE %s: %v", use, got)
				}
			}
			for mode, want := range map[string]string{"": "0", "PIPES_AS_CONCAT": "01"} {
				run(t, conn, "/*!40101 set sql_mode='"+mode+"' */")
				if got := ask(t, conn, "select concat('0' || ?)", "1"); mode != "" && got != want {
					t.Errorf("with %q: %v", mode, got)
				}
			}
		})
	}
}

// A ctx that had ended before a query began is not the server's fault, also with a
// driver that answers driver.ErrBadConn.
func TestEndedContexts(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			if s.server != nil {
				s.server.engine(t)
			}
			db, pool := s.open(t, pools.Settings{Size: 2}, sqlpools.Options{})
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			for range 6 {
				conn, err := db.Conn(t.Context())
				check(t, err)
				_, _ = conn.ExecContext(ended, "select 1") // lib/pq runs it
				_ = conn.Close()
			}
			if err := db.PingContext(t.Context()); err != nil || pool.Stats().Down {
				t.Error(err)
			}
		})
	}
}

// SQLite rolls a transaction back by itself after some errors, and a text may have in it
// what looks like a statement. A database in memory survives both.
func TestSQLiteInMemoryStays(t *testing.T) {
	settings := pools.Settings{Size: 1, MaxLifetime: pools.Never, IdleTimeout: pools.Never}
	db, pool, err := sqlpools.OpenDB("memory", sqlite(":memory:"), settings, sqlpools.Options{})
	check(t, err)
	defer db.Close()
	run(t, db, "create table a (a integer primary key)", "insert into a values (1)", "create table notes (a text)")
	conn, err := db.Conn(t.Context())
	check(t, err)
	run(t, conn, "begin")
	if _, err := conn.ExecContext(t.Context(), "insert or rollback into a values (1)"); err == nil {
		t.Error("no error")
	}
	check(t, conn.Close())
	if got := ask(t, db, "select count(*) from a"); got != "1" {
		t.Errorf("%v rows", got)
	}
	run(t, db, "insert into notes values ('dear all; begin transaction')")
	if got := ask(t, db, "select count(*) from a"); got != "1" {
		t.Errorf("%v rows", got)
	}
	if st := pool.Stats(); st.Closed != 0 || st.Unfinished != 1 {
		t.Errorf("%d closed, %d unfinished", st.Closed, st.Unfinished)
	}
}

// A statement of tx.Prepare is a new one, since PostgreSQL cannot prepare it anew in a
// transaction when its table has changed.
func TestPreparedInATransactionAfterAlter(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			if s.server != nil {
				s.server.engine(t)
			}
			db, _ := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{})
			run(t, db, "drop table if exists alt", "create table alt (a int)")
			for _, add := range []string{"b", "c"} {
				tx, err := db.BeginTx(t.Context(), nil)
				check(t, err)
				stmt, err := tx.PrepareContext(t.Context(), "select * from alt")
				check(t, err)
				rows, err := stmt.QueryContext(t.Context())
				check(t, err)
				for rows.Next() {
				}
				check(t, rows.Err())
				check(t, rows.Close())
				check(t, tx.Commit())
				run(t, db, "alter table alt add column "+add+" int")
			}
		})
	}
}
