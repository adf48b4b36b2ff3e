package sqls

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// leftover is what one user leaves for the next. The package comment of sqlpools has a
// table of them.
type leftover struct {
	name  string
	leave []string // by one user
	ask   string   // by the next
	// What the next user gets: on a connection where nobody left anything; without
	// Options.Clean; with it. "" is: as on a new connection.
	fresh, left, cleaned string
}

var leftovers = map[string][]leftover{
	"mysql": {
		{"user variable", []string{"set @a = 1, @`b``c` = 'x'"}, "select concat(coalesce(@a, '-'), coalesce(@`b``c`, '-'))", "--", "1x", ""},
		{"temporary table", []string{"create temporary table tt (a int)"}, "select count(*) from tt", "error: Error 1146 (42S02): Table 'app.tt' doesn't exist", "0", "0"},
		{"GET_LOCK", []string{"do get_lock('mine', 0)"}, "select is_used_lock('mine') is null", "1", "0", ""},
		{"LOCK TABLES", []string{"lock tables kept write"}, "select count(*) from other", "0", "error: Error 1100 (HY000): Table 'other' was not locked with LOCK TABLES", ""},
		{"autocommit off", []string{"set autocommit = 0"}, "select @@autocommit", "1", "0", ""},
		{"autocommit off, and a row", []string{"set autocommit = 0", "insert into kept values (1)"}, "select @@in_transaction", "0", "1", ""},
		{"SET sql_mode", []string{"set sql_mode = 'ANSI_QUOTES'"}, "select @@sql_mode = 'ANSI_QUOTES'", "0", "1", "1"},
		{"SET foreign_key_checks", []string{"set foreign_key_checks = 0"}, "select @@foreign_key_checks", "1", "0", "0"},
		{"SET time_zone", []string{"set time_zone = '+03:00'"}, "select @@time_zone", "SYSTEM", "+03:00", "+03:00"},
		{"SET SESSION TRANSACTION", []string{"set session transaction isolation level serializable"}, "select @@tx_isolation", "REPEATABLE-READ", "SERIALIZABLE", "SERIALIZABLE"},
		{"USE", []string{"use information_schema"}, "select database()", "app", "information_schema", "information_schema"},
		{"PREPARE", []string{"prepare p from 'select 1'"}, "execute p", "error: Error 1243 (HY000): Unknown prepared statement handler (p) given to EXECUTE", "1", "1"},
		{"BEGIN", []string{"begin", "insert into kept values (2)"}, "select @@in_transaction", "0", "", ""},
		{"BEGIN, COMMIT AND CHAIN", []string{"begin", "commit and chain", "insert into kept values (4)"}, "select @@in_transaction", "0", "", ""},
		{"START TRANSACTION", []string{"start transaction", "insert into kept values (3)"}, "select count(*) from kept", "0", "", ""},
	},
	"postgres": {
		{"SET", []string{"set application_name = 'left'"}, "show application_name", "", "left", ""},
		{"SET search_path", []string{"set search_path = pg_catalog"}, "show search_path", `"$user", public`, "pg_catalog", ""},
		{"SET default_transaction_read_only", []string{"set default_transaction_read_only = on"}, "show transaction_read_only", "off", "on", ""},
		{"SET of a name of one's own", []string{"set app.tenant = 'left'"}, "select coalesce(current_setting('app.tenant', true), 'NULL')", "NULL", "left", ""},
		{"SET ROLE", []string{"set role member"}, "select current_user", "app", "member", ""},
		{"temporary table", []string{"create temporary table tt (a int)"}, "select count(*) from pg_class where relname = 'tt' and pg_table_is_visible(oid)", "0", "1", ""},
		{"advisory lock", []string{"select pg_advisory_lock(7)"}, "select count(*) from pg_locks where locktype = 'advisory'", "0", "1", ""},
		{"LISTEN", []string{"listen news"}, "select count(*) from pg_listening_channels()", "0", "1", ""},
		{"cursor WITH HOLD", []string{"begin", "declare c cursor with hold for select 1", "commit"}, "select count(*) from pg_cursors where name = 'c'", "0", "1", ""},
		{"lastval", []string{"select nextval('numbers')"}, "select lastval() > 0", "error", "true", ""},
		{"PREPARE", []string{"prepare p as select 1"}, "select count(*) from pg_prepared_statements where name = 'p'", "0", "1", "1"},
		{"BEGIN", []string{"begin", "insert into kept values (1)"}, "select count(*) from kept", "0", "", ""},
		{"START TRANSACTION", []string{"start transaction isolation level serializable"}, "show transaction_isolation", "read committed", "", ""},
		{"BEGIN, COMMIT AND CHAIN", []string{"begin", "commit /**/ and chain", "insert into kept values (1)"}, "select count(*) from kept", "0", "", ""},
		{"several, and an error", []string{"!begin; select 1/0; commit"}, "select 1", "1", "", ""},
		{"BEGIN, and an error", []string{"begin", "!select 1/0"}, "select 1", "1", "", ""},
	},
	"sqlite": {
		{"PRAGMA", []string{"pragma foreign_keys = on"}, "pragma foreign_keys", "0", "1", ""},
		{"temporary table", []string{"create temporary table tt (a int)"}, "select count(*) from sqlite_temp_master where name = 'tt'", "0", "1", ""},
		{"ATTACH", []string{"attach ':memory:' as other"}, "select count(*) from pragma_database_list where name = 'other'", "0", "1", ""},
		{"BEGIN", []string{"begin", "insert into kept values (1)"}, "select count(*) from kept", "0", "", ""},
		{"SAVEPOINT outside of a transaction", []string{"savepoint s", "insert into kept values (1)"}, "select count(*) from kept", "0", "1", ""},
		{"several, and an error", []string{"!begin; insert into kept values (1); insert into nowhere values (1); commit"}, "select count(*) from kept", "0", "", ""},
		{"BEGIN IMMEDIATE", []string{"begin immediate"}, "select count(*) from kept", "0", "", ""},
	},
}

func TestWhatOneUserLeaves(t *testing.T) {
	each(t, true, func(t *testing.T, s system) {
		list := leftovers[s.name]
		if s.server == postgres {
			list = leftovers["postgres"]
		}
		for _, cleans := range []bool{false, true} {
			if cleans && s.clean == nil {
				continue
			}
			for _, l := range list {
				t.Run(fmt.Sprintf("%s, Clean=%t", l.name, cleans), func(t *testing.T) {
					options := sqlpools.Options{}
					want := l.left
					if cleans {
						options.Clean, want = s.clean, l.cleaned
					}
					if want == "" {
						want = l.fresh
					}
					if cleans && l.name == "SET of a name of one's own" {
						want = "" // PostgreSQL keeps the name
					}
					db, pool := s.open(t, pools.Settings{Size: 1}, options)
					setUp(t, s, db)
					session := func() string {
						if s.pid == "" {
							return ""
						}
						return ask(t, db, s.pid)
					}
					before, opened := session(), pool.Stats().Opened

					got := ask(t, db, l.ask)
					if !strings.HasPrefix(got, l.fresh) {
						t.Errorf("on a new connection: %q, want %q", got, l.fresh)
					}
					conn, err := db.Conn(t.Context())
					check(t, err)
					for _, q := range l.leave {
						if q, fails := strings.CutPrefix(q, "!"); fails {
							if _, err := conn.ExecContext(t.Context(), q); err == nil {
								t.Errorf("%s: no error", q)
							}
							continue
						}
						run(t, conn, q)
					}
					check(t, conn.Close())

					if got := ask(t, db, l.ask); got != want && !(l.fresh == "error" && want == "error" && strings.HasPrefix(got, "error")) {
						t.Errorf("the next user gets %q, want %q", got, want)
					}
					if after := session(); after != before || pool.Stats().Opened != opened {
						t.Errorf("it was session %s, and is %s", before, after)
					}
					unfinished := uint64(0)
					if strings.HasPrefix(l.name, "BEGIN") || l.name == "START TRANSACTION" {
						unfinished = 1
					}
					if n := pool.Stats().Unfinished; n != unfinished {
						t.Errorf("%d transactions were left open, want %d", n, unfinished)
					}
				})
			}
		}
	})
}

// setUp makes what the statements above need, once and for all connections.
func setUp(t *testing.T, s system, db *sql.DB) {
	run(t, db, "create table if not exists kept (a int)", "create table if not exists other (a int)")
	if s.server == postgres {
		run(t, db, "create sequence if not exists numbers")
	}
}
