package sqls

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// Each cleaning takes one round trip, and works on a connection whose user has set what
// changes the meaning of its text.
func TestCleaning(t *testing.T) {
	odd := map[*shared][]string{
		mariaDB: {"set @a = 1", "set sql_mode = 'ANSI'", "set sql_mode = 'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE,HIGH_NOT_PRECEDENCE'",
			"set transaction isolation level serializable",
			"set @`a'b` = 1, @`c``d` = 2, @`e\"f` = 3, @`ä` = 4", "set @`SQLPOOLS` = 5", "set group_concat_max_len = 4",
			"use information_schema", "lock tables app.kept write", "set autocommit = 0", "set session transaction read only"},
		postgres: {"set search_path = ''", "set default_transaction_isolation = serializable", "set default_transaction_read_only = on", "set default_transaction_deferrable = on",
			"set role member", "set standard_conforming_strings = off", "set statement_timeout = 60000", "begin; select 1; commit"},
	}
	each(t, false, func(t *testing.T, s system) {
		trips, cleaned := int64(0), 0
		var d *dialer
		clean := func(ctx context.Context, conn driver.Conn) error {
			before := d.sent.Load()
			err := s.clean(ctx, conn)
			trips += d.sent.Load() - before
			cleaned++
			return err
		}
		db, pool, d0 := s.watched(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: clean})
		d = d0
		setUp(t, s, db)
		session := ask(t, db, s.pid)
		for _, q := range odd[s.server] {
			run(t, db, q)
			if now := ask(t, db, s.pid); now != session {
				t.Errorf("%s: session %s became %s", q, session, now)
				session = now
			}
		}
		if s.server == mariaDB {
			if n := ask(t, db, "select count(*) from information_schema.user_variables where variable_value is not null"); n != "0" {
				t.Errorf("%s user variables have a value", n)
			}
		}
		check(t, db.Close()) // and with it the last cleaning
		if int(trips) != cleaned || cleaned != int(pool.Stats().Leases) {
			t.Errorf("%d cleanings after %d uses took %d round trips", cleaned, pool.Stats().Leases, trips)
		}
	})
}

// In this sql_mode compound statements have another syntax: the connection goes.
func TestCleaningInModeOracle(t *testing.T) {
	s := systems[0]
	db, pool := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: s.clean})
	run(t, db, "set sql_mode = 'ORACLE'")
	if mode := ask(t, db, "select @@sql_mode"); strings.Contains(mode, "ORACLE") {
		t.Error(mode)
	}
	if stats := pool.Stats(); stats.Opened != 2 {
		t.Errorf("%d connections were opened", stats.Opened)
	}
}

// What the connection string sets holds again after it was SET otherwise.
func TestCleaningKeepsSettingsOfTheConnection(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		queries := []string{"show client_encoding", "show datestyle", "show extra_float_digits", "show search_path"}
		change := "set client_encoding = latin1; set datestyle = german; set extra_float_digits = 0; set search_path = pg_catalog"
		if s.server == mariaDB {
			queries = []string{"select @@character_set_client", "select @@collation_connection", "select @@autocommit", "select @@sql_mode"}
			change = "set autocommit = 0"
		}
		db, _ := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: s.clean})
		all := func() string {
			var b strings.Builder
			for _, q := range queries {
				fmt.Fprintf(&b, "%s: %s\n", q, ask(t, db, q))
			}
			return b.String()
		}
		before := all()
		run(t, db, change)
		if after := all(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// A cleaning that fails costs the connection, and no user gets an error.
func TestCleaningFails(t *testing.T) {
	each(t, false, func(t *testing.T, s system) {
		db, pool := s.open(t, pools.Settings{Size: 1}, sqlpools.Options{Clean: func(ctx context.Context, conn driver.Conn) error {
			return sqlpools.Exec(ctx, conn, "no statement")
		}})
		first, second := ask(t, db, s.pid), ask(t, db, s.pid)
		if first == second || strings.HasPrefix(second, "error") {
			t.Errorf("session %s, then %s", first, second)
		}
		if n := pool.Stats().ClosedBy[pools.ReasonReset]; n < 1 {
			t.Errorf("%d were closed because of it", n)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	for _, s := range systems {
		if s.clean == nil {
			continue
		}
		for name, f := range map[string]func(context.Context, driver.Conn) error{
			"clean":  s.clean,
			"select": func(ctx context.Context, conn driver.Conn) error { return sqlpools.Exec(ctx, conn, "select 1") },
		} {
			b.Run(s.name+"/"+name, func(b *testing.B) {
				conn, err := s.connector(b, new(dialer)).Connect(b.Context())
				check(b, err)
				defer conn.Close()
				check(b, f(b.Context(), conn))
				for b.Loop() {
					if err := f(b.Context(), conn); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
