package sqls

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// TestAsWithoutIt asks the same of a *sql.DB on a pool and of one without, and gets the
// same.
func TestAsWithoutIt(t *testing.T) {
	each(t, true, func(t *testing.T, s system) {
		ours, _ := s.open(t, pools.Settings{Size: 4}, sqlpools.Options{})
		with, without := everything(t, s, ours), everything(t, s, s.plain(t))
		if !slices.Equal(with, without) {
			t.Errorf("with sqlpools:\n%s\n\nwithout:\n%s", strings.Join(with, "\n"), strings.Join(without, "\n"))
		}
		for _, want := range []string{"prepared 2 two <nil>", "committed 3", "rolled back 3", "none " + sql.ErrNoRows.Error()} {
			if !slices.Contains(with, want) {
				t.Errorf("%q is not in:\n%s", want, strings.Join(with, "\n"))
			}
		}
	})
}

// everything uses a database in many ways, and says what came.
func everything(t *testing.T, s system, db *sql.DB) (log []string) {
	ctx := t.Context()
	say := func(what ...any) { log = append(log, strings.TrimSuffix(fmt.Sprintln(what...), "\n")) }
	first, second := "?", "?"
	if s.server == postgres {
		first, second = "$1", "$2"
	}
	defer run(t, db, "drop table things")
	run(t, db, "create table things (id int primary key, name varchar(20))")
	insert := "insert into things values (" + first + ", " + second + ")"
	for id, name := range []any{"zero", "one", nil} {
		result, err := db.ExecContext(ctx, insert, id, name)
		check(t, err)
		n, err := result.RowsAffected()
		say("inserted", n, err)
	}
	run(t, db, "update things set name = 'two' where id = 2")

	rows, err := db.QueryContext(ctx, "select id, name, id * 1.5, null from things where id < "+first+" order by id", 10)
	check(t, err)
	columns, err := rows.Columns()
	say(columns, err)
	for rows.Next() {
		var id int
		var name string
		var f float64
		var null sql.NullString
		err := rows.Scan(&id, &name, &f, &null)
		say("row", id, name, f, null, err)
	}
	say("end", rows.Err(), rows.Close())

	var name string
	say("none", db.QueryRowContext(ctx, "select name from things where id = "+first, 99).Scan(&name))
	_, err = db.ExecContext(ctx, insert, 1, "again")
	say("twice", err)
	_, err = db.ExecContext(ctx, "no statement")
	say("syntax", err)
	_, err = db.QueryContext(ctx, "select name from absent")
	say("no table", err)
	_, err = db.PrepareContext(ctx, "select name from absent where a = "+first)
	say("prepare no table", err)
	err = db.QueryRowContext(ctx, "select name from things where id = "+strings.Replace(first, "?", "@id", 1), sql.Named("id", 1)).Scan(&name)
	say("named", name, err)
	_, err = db.ExecContext(ctx, insert, 7)
	say("too few", err)
	_, err = db.ExecContext(ctx, insert, struct{}{}, nil)
	say("no type", err)

	stmt, err := db.PrepareContext(ctx, "select id, name from things where id = "+first)
	check(t, err)
	for id := range 3 {
		var got int
		err := stmt.QueryRowContext(ctx, id).Scan(&got, &name)
		say("prepared", got, name, err)
		if err != nil {
			break
		}
	}
	_, err = stmt.QueryContext(ctx)
	say("prepared, too few", err)

	tx, err := db.BeginTx(ctx, nil)
	check(t, err)
	_, err = tx.ExecContext(ctx, insert, 3, "three")
	say("in a transaction", err)
	var got int
	say("its own row", tx.StmtContext(ctx, stmt).QueryRowContext(ctx, 3).Scan(&got, &name), got, name)
	say("commit", tx.Commit(), tx.Commit())
	say("committed", ask(t, db, "select max(id) from things"))
	tx, err = db.BeginTx(ctx, nil)
	check(t, err)
	_, err = tx.ExecContext(ctx, insert, 4, "four")
	say("in another", err)
	say("rollback", tx.Rollback(), tx.Rollback())
	say("rolled back", ask(t, db, "select max(id) from things"))
	say("prepared, closed", stmt.Close())

	for _, level := range []sql.IsolationLevel{sql.LevelSerializable, sql.LevelSnapshot, sql.LevelLinearizable} {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: true})
		say("isolation", level, err)
		if err == nil {
			_, err := tx.ExecContext(ctx, insert, 5, "five")
			say("read-only", err, tx.Rollback())
		}
	}

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = db.ExecContext(ended, insert, 6, "six")
	say("its ctx has ended", err, errors.Is(err, context.Canceled))
	say("ping", db.PingContext(ctx))
	say("at last", ask(t, db, "select count(*) from things"))
	return log
}
