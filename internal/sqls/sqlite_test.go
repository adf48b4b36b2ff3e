package sqls

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

func openSQLite(t *testing.T, dsn string, size int) (*sql.DB, *pools.Pool[driver.Conn]) {
	t.Helper()
	db, pool, err := sqlpools.Open("sqlite", "sqlite", dsn, pools.Settings{Size: size}, sqlpools.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return db, pool
}

// two returns two connections of a pool that are lent at once.
func two(t *testing.T, db *sql.DB) (a, b *sql.Conn) {
	t.Helper()
	a, err := db.Conn(t.Context())
	check(t, err)
	b, err = db.Conn(t.Context())
	check(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// Each connection to :memory: is a database of its own, unless the cache is shared.
func TestMemory(t *testing.T) {
	for dsn, shared := range map[string]bool{":memory:": false, "file:memdb?mode=memory&cache=shared": true} {
		t.Run(dsn, func(t *testing.T) {
			db, _ := openSQLite(t, dsn, 2)
			a, b := two(t, db)
			run(t, a, "create table t (a int)")
			if _, err := b.ExecContext(t.Context(), "insert into t values (1)"); (err == nil) != shared {
				t.Errorf("the other connection: %v", err)
			}
		})
	}
}

// With Size 1 a database in memory lives through statements and transactions that are
// interrupted, and ends with its connection.
func TestMemoryOfOneConnection(t *testing.T) {
	db, pool := openSQLite(t, ":memory:", 1)
	run(t, db, "create table t (a int)", "insert into t values (1)")
	const forever = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"
	for _, inTransaction := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		var err error
		if inTransaction {
			var tx *sql.Tx
			if tx, err = db.BeginTx(ctx, nil); err == nil {
				_, err = tx.ExecContext(ctx, "insert into t values (2)")
			}
			if err == nil {
				_, err = tx.ExecContext(ctx, forever)
			}
		} else {
			var n int
			err = db.QueryRowContext(ctx, forever).Scan(&n)
		}
		cancel()
		if err == nil {
			t.Error("it has ended")
		}
		if n := ask(t, db, "select count(*) from t"); n != "1" {
			t.Errorf("in a transaction: %t: %s rows", inTransaction, n)
		}
	}
	if stats := pool.Stats(); stats.Opened != 1 || stats.Closed != 0 {
		t.Errorf("opened %d, closed %d", stats.Opened, stats.Closed)
	}
	check(t, pool.Refresh(t.Context(), 0))
	if got := ask(t, db, "select count(*) from t"); !strings.Contains(got, "no such table") {
		t.Errorf("after a Refresh: %s", got)
	}
}

// A file has one writer at a time. A second one gets SQLITE_BUSY at once, or waits with
// a busy_timeout; a transaction that has read before another one wrote gets it all the
// same, unless transactions begin as writers (_txlock=immediate).
func TestFile(t *testing.T) {
	const wait = "_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)"
	open := func(t *testing.T, params string) (a, b *sql.Conn) {
		db, pool := openSQLite(t, "file:"+filepath.Join(t.TempDir(), "db")+"?"+params, 2)
		t.Cleanup(func() {
			if n := pool.Stats().Closed; n != 0 {
				t.Errorf("%d connections were closed", n)
			}
		})
		run(t, db, "create table t (a int)")
		return two(t, db)
	}
	begin := func(t *testing.T, conn *sql.Conn) *sql.Tx {
		tx, err := conn.BeginTx(t.Context(), nil)
		check(t, err)
		return tx
	}
	insert := func(t *testing.T, db interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}) error {
		_, err := db.ExecContext(t.Context(), "insert into t values (1)")
		return err
	}
	isBusy := func(t *testing.T, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "database is locked") {
			t.Errorf("the second writer: %v", err)
		}
	}
	// waits expects the second writer to wait until the first has committed.
	waits := func(t *testing.T, first *sql.Tx, second func() error) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- second() }()
		select {
		case err := <-done:
			t.Errorf("the second writer has not waited: %v", err)
		case <-time.After(20 * time.Millisecond):
			check(t, first.Commit())
			check(t, <-done)
		}
	}

	t.Run("as it is", func(t *testing.T) {
		a, b := open(t, "")
		tx := begin(t, a)
		check(t, insert(t, tx))
		isBusy(t, insert(t, b))
		check(t, tx.Commit())
	})
	t.Run("busy_timeout", func(t *testing.T) {
		a, b := open(t, wait)
		tx := begin(t, a)
		check(t, insert(t, tx))
		waits(t, tx, func() error { return insert(t, b) })
	})
	t.Run("busy_timeout, has read", func(t *testing.T) {
		a, b := open(t, wait)
		tx := begin(t, b)
		if n := ask(t, tx, "select count(*) from t"); n != "0" {
			t.Error(n)
		}
		check(t, insert(t, a))
		isBusy(t, insert(t, tx))
		check(t, tx.Rollback())
	})
	t.Run("busy_timeout, immediate", func(t *testing.T) {
		a, b := open(t, wait+"&_txlock=immediate")
		tx := begin(t, a)
		waits(t, tx, func() error {
			tx, err := b.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			ask(t, tx, "select count(*) from t")
			return errors.Join(insert(t, tx), tx.Commit())
		})
	})
}
