package sqls

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/proxy"
	"github.com/utopia-go/pools/sqlpools"
)

// The connection ends while the answer to a statement is awaited, which the server goes
// on with. lib/pq says driver.ErrBadConn then, so that database/sql runs the statement
// once more, with and without sqlpools. The other drivers do not.
func TestRunTwice(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		plain := s.plain(t)
		defer run(t, plain, "drop table if exists twice")
		lock, unlock := []string{"begin", "lock table twice in exclusive mode"}, "commit"
		runs := "select count(*) from pg_stat_activity where query like 'insert into twice%' and state = 'active'"
		if s.server == mariaDB {
			lock, unlock = []string{"lock tables twice write"}, "unlock tables"
			runs = "select count(*) from information_schema.processlist where info like 'insert into twice%'"
		}
		for _, with := range []bool{true, false} {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			p, err := proxy.Start(s.server.engine(t).Address)
			check(t, err)
			defer p.Close()
			d := &dialer{through: p.Address}
			db := sql.OpenDB(s.connector(t, d))
			if with {
				db, _, err = sqlpools.OpenDB(s.name, s.connector(t, d), pools.Settings{Size: 1}, sqlpools.Options{})
				check(t, err)
			}
			defer db.Close()
			run(t, plain, "drop table if exists twice", "create table twice (a int)")
			other, err := plain.Conn(ctx)
			check(t, err)
			defer other.Close()
			run(t, other, lock...)

			ended := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(ctx, "insert into twice values (1)")
				ended <- err
			}()
			is := func(want string) error {
				if n := ask(t, plain, runs); n != want {
					return fmt.Errorf("%s run, want %s", n, want)
				}
				return nil
			}
			check(t, engine.Eventually(ctx, func() error { return is("1") }))
			p.HalfClose()
			if s.name == "pq" {
				check(t, engine.Eventually(ctx, func() error { return is("2") }))
			} else if err := <-ended; err == nil {
				t.Error("no error, though the answer is lost")
			}
			run(t, other, unlock)
			if s.name == "pq" {
				check(t, <-ended)
			}
			check(t, engine.Eventually(ctx, func() error { return is("0") }))
			if n := ask(t, plain, "select count(*) from twice"); (n == "2") != (s.name == "pq") {
				t.Errorf("with sqlpools: %t; %s rows", with, n)
			}
		}
	})
}
