//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// core is a connection of a driver that writes down what it is asked. Its parts below
// have one method each, so that a driver of any shape can be put together.
type core struct {
	mu    sync.Mutex
	log   []string
	shape *shape
	bad   bool

	unprepared *error // what Prepare says
	unreset    *error // what ResetSession says
}

func (c *core) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

// answer is the error of a statement, by its text.
func (c *core) answer(query string) error {
	switch {
	case strings.Contains(query, "skip"):
		return driver.ErrSkip
	case strings.Contains(query, "fails"):
		return errors.New("it fails")
	case strings.Contains(query, "times out"):
		return os.ErrDeadlineExceeded
	case strings.Contains(query, "bad"):
		c.bad = true
		return driver.ErrBadConn
	}
	return nil
}

type (
	base           struct{ *core }
	prepareContext struct{ *core }
	beginTx        struct{ *core }
	execer         struct{ *core }
	execerContext  struct{ *core }
	queryer        struct{ *core }
	queryerContext struct{ *core }
	pinger         struct{ *core }
	resetter       struct{ *core }
	validator      struct{ *core }
	checker        struct{ *core }
)

func (c base) Prepare(query string) (driver.Stmt, error) {
	c.say("prepare %s", query)
	if strings.Contains(query, "unprepared") {
		return nil, c.answer(query)
	}
	if c.unprepared != nil && *c.unprepared != nil {
		return nil, *c.unprepared
	}
	return c.shape.stmt(&coreStmt{c.core, query}), nil
}
func (c base) Close() error {
	c.say("close")
	return nil
}
func (c base) Begin() (driver.Tx, error) {
	c.say("begin")
	return coreTx(c), nil
}
func (c prepareContext) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	c.say("prepare, ctx")
	return base(c).Prepare(query)
}
func (c beginTx) BeginTx(_ context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.say("begin %v %v", o.Isolation, o.ReadOnly)
	return coreTx(c), nil
}
func (c execer) Exec(query string, args []driver.Value) (driver.Result, error) {
	c.say("exec %s %v", query, args)
	return driver.RowsAffected(1), c.answer(query)
}
func (c execerContext) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if strings.Contains(query, "looks at its ctx") && ctx.Err() != nil {
		return nil, driver.ErrBadConn
	}
	c.say("exec, ctx %s %v", query, args)
	return driver.RowsAffected(2), c.answer(query)
}
func (c queryer) Query(query string, args []driver.Value) (driver.Rows, error) {
	c.say("query %s %v", query, args)
	return &rows{c.core}, c.answer(query)
}
func (c queryerContext) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.say("query, ctx %s %v", query, args)
	return &rows{c.core}, c.answer(query)
}
func (c pinger) Ping(context.Context) error {
	c.say("ping")
	return nil
}
func (c resetter) ResetSession(context.Context) error {
	c.say("reset")
	if c.unreset != nil {
		return *c.unreset
	}
	return nil
}
func (c validator) IsValid() bool {
	c.say("valid")
	return !c.bad
}
func (c checker) CheckNamedValue(v *driver.NamedValue) error {
	c.say("check %v", v.Value)
	return check(v)
}

// special is a value that only a checker takes.
type special struct{ text string }

func check(v *driver.NamedValue) error {
	switch value := v.Value.(type) {
	case special:
		v.Value = "special " + value.text
		return nil
	case time.Duration:
		return driver.ErrRemoveArgument
	}
	return driver.ErrSkip
}

type coreStmt struct {
	*core
	query string
}

type (
	baseStmt    struct{ *coreStmt }
	execCtx     struct{ *coreStmt }
	queryCtx    struct{ *coreStmt }
	converter   struct{ *coreStmt }
	stmtChecker struct{ *coreStmt }
)

func (s baseStmt) Close() error {
	s.say("close %s", s.query)
	return nil
}
func (s baseStmt) NumInput() int { return strings.Count(s.query, "?") }
func (s baseStmt) Exec(args []driver.Value) (driver.Result, error) {
	s.say("stmt exec %s %v", s.query, args)
	return driver.RowsAffected(3), s.stmtAnswer()
}
func (s baseStmt) Query(args []driver.Value) (driver.Rows, error) {
	s.say("stmt query %s %v", s.query, args)
	return &rows{s.core}, s.stmtAnswer()
}
func (s execCtx) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.say("stmt exec, ctx %s %v", s.query, args)
	return driver.RowsAffected(4), s.stmtAnswer()
}
func (s queryCtx) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.say("stmt query, ctx %s %v", s.query, args)
	return &rows{s.core}, s.stmtAnswer()
}
func (s converter) ColumnConverter(i int) driver.ValueConverter {
	s.say("convert %d", i)
	return driver.String
}
func (s stmtChecker) CheckNamedValue(v *driver.NamedValue) error {
	s.say("stmt check %v", v.Value)
	return check(v)
}

func (s *coreStmt) stmtAnswer() error {
	if err := s.answer(s.query); err != driver.ErrSkip {
		return err
	}
	return nil
}

type coreTx struct{ *core }

func (t coreTx) Commit() error   { t.say("commit"); return nil }
func (t coreTx) Rollback() error { t.say("rollback"); return nil }

type rows struct{ *core }

func (r *rows) Columns() []string         { return []string{"a"} }
func (r *rows) Next([]driver.Value) error { return io.EOF }
func (r *rows) Close() error              { r.say("rows close"); return nil }

// shape is a driver's.
type shape struct {
	name string
	conn func(c *core) driver.Conn
	stmt func(s *coreStmt) driver.Stmt
}

func plainStmt(s *coreStmt) driver.Stmt { return baseStmt{s} }

func shapes() []*shape {
	conns := map[string]func(c *core) driver.Conn{
		"nothing": func(c *core) driver.Conn { return base{c} },
		"old": func(c *core) driver.Conn {
			return struct {
				base
				execer
				queryer
			}{base{c}, execer{c}, queryer{c}}
		},
		"all": func(c *core) driver.Conn {
			return struct {
				base
				prepareContext
				beginTx
				execerContext
				queryerContext
				pinger
				resetter
				validator
				checker
			}{base{c}, prepareContext{c}, beginTx{c}, execerContext{c}, queryerContext{c}, pinger{c}, resetter{c}, validator{c}, checker{c}}
		},
		"exec only": func(c *core) driver.Conn {
			return struct {
				base
				execerContext
				checker
			}{base{c}, execerContext{c}, checker{c}}
		},
		"query only": func(c *core) driver.Conn {
			return struct {
				base
				queryer
				resetter
			}{base{c}, queryer{c}, resetter{c}}
		},
		"both ways": func(c *core) driver.Conn {
			return struct {
				base
				execer
				execerContext
				queryerContext
				validator
			}{base{c}, execer{c}, execerContext{c}, queryerContext{c}, validator{c}}
		},
		"ctx": func(c *core) driver.Conn {
			return struct {
				base
				prepareContext
				beginTx
				checker
				resetter
				validator
			}{base{c}, prepareContext{c}, beginTx{c}, checker{c}, resetter{c}, validator{c}}
		},
	}
	stmts := map[string]func(s *coreStmt) driver.Stmt{
		"nothing": plainStmt,
		"all": func(s *coreStmt) driver.Stmt {
			return struct {
				baseStmt
				execCtx
				queryCtx
				stmtChecker
				converter
			}{baseStmt{s}, execCtx{s}, queryCtx{s}, stmtChecker{s}, converter{s}}
		},
		"converter": func(s *coreStmt) driver.Stmt {
			return struct {
				baseStmt
				converter
			}{baseStmt{s}, converter{s}}
		},
		"checker": func(s *coreStmt) driver.Stmt {
			return struct {
				baseStmt
				stmtChecker
				queryCtx
			}{baseStmt{s}, stmtChecker{s}, queryCtx{s}}
		},
	}
	var all []*shape
	for c, conn := range conns {
		for s, stmt := range stmts {
			all = append(all, &shape{fmt.Sprintf("conn with %s, stmt with %s", c, s), conn, stmt})
		}
	}
	slices.SortFunc(all, func(a, b *shape) int { return strings.Compare(a.name, b.name) })
	return all
}

// fake is a driver.Connector that makes connections of a shape.
type fake struct {
	shape *shape
	mu    sync.Mutex
	made  []*core
	fail  error

	unprepared error // what Prepare says
	unreset    error // what ResetSession says
}

func (f *fake) Connect(context.Context) (driver.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	c := &core{shape: f.shape, unprepared: &f.unprepared, unreset: &f.unreset}
	f.made = append(f.made, c)
	return f.shape.conn(c), nil
}
func (f *fake) Driver() driver.Driver { return fakeDriver{f} }
func (f *fake) logs() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, c := range f.made {
		c.mu.Lock()
		for _, line := range c.log {
			all = append(all, fmt.Sprintf("%d: %s", i, line))
		}
		c.mu.Unlock()
	}
	return all
}

type fakeDriver struct{ f *fake }

func (d fakeDriver) Open(string) (driver.Conn, error) { return d.f.Connect(context.Background()) }

// calls are what a program does with a *sql.DB. Each returns what it got.
var calls = map[string]func(ctx context.Context, db *sql.DB) any{
	"ping":          func(ctx context.Context, db *sql.DB) any { return db.PingContext(ctx) },
	"exec":          func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", 1)) },
	"exec string":   func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ? ?", "a", 2.5)) },
	"exec special":  func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", special{"a"})) },
	"exec removed":  func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", 1, time.Second)) },
	"exec complex":  func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", complex(1, 2))) },
	"exec named":    func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", sql.Named("n", 1))) },
	"exec too many": func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "x ?", 1, 2)) },
	"exec skip":     func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "skip ?", special{"b"})) },
	"exec fails":    func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "fails")) },
	"exec bad":      func(ctx context.Context, db *sql.DB) any { return exec(db.ExecContext(ctx, "bad")) },
	"exec unprepared": func(ctx context.Context, db *sql.DB) any {
		return exec(db.ExecContext(ctx, "unprepared fails"))
	},
	"query":         func(ctx context.Context, db *sql.DB) any { return query(db.QueryContext(ctx, "x ?", 1)) },
	"query special": func(ctx context.Context, db *sql.DB) any { return query(db.QueryContext(ctx, "x ?", special{"a"})) },
	"query named": func(ctx context.Context, db *sql.DB) any {
		return query(db.QueryContext(ctx, "x ?", sql.Named("n", 1)))
	},
	"query skip":  func(ctx context.Context, db *sql.DB) any { return query(db.QueryContext(ctx, "skip ?", "a")) },
	"query fails": func(ctx context.Context, db *sql.DB) any { return query(db.QueryContext(ctx, "fails ?", "a")) },
	"query bad":   func(ctx context.Context, db *sql.DB) any { return query(db.QueryContext(ctx, "bad ?", "a")) },
	"ended": func(ctx context.Context, db *sql.DB) any {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return exec(db.ExecContext(ctx, "x"))
	},
	"stmt": func(ctx context.Context, db *sql.DB) any {
		s, err := db.PrepareContext(ctx, "x ?")
		if err != nil {
			return err
		}
		defer s.Close()
		return []any{exec(s.ExecContext(ctx, 1)), query(s.QueryContext(ctx, "a")), exec(s.ExecContext(ctx, special{"s"})), exec(s.ExecContext(ctx))}
	},
	"stmt fails": func(ctx context.Context, db *sql.DB) any {
		s, err := db.PrepareContext(ctx, "fails ?")
		if err != nil {
			return err
		}
		defer s.Close()
		return query(s.QueryContext(ctx, "a"))
	},
	"commit":   func(ctx context.Context, db *sql.DB) any { return transact(ctx, db, nil, (*sql.Tx).Commit) },
	"rollback": func(ctx context.Context, db *sql.DB) any { return transact(ctx, db, nil, (*sql.Tx).Rollback) },
	"read only": func(ctx context.Context, db *sql.DB) any {
		return transact(ctx, db, &sql.TxOptions{ReadOnly: true}, (*sql.Tx).Commit)
	},
	"isolation": func(ctx context.Context, db *sql.DB) any {
		return transact(ctx, db, &sql.TxOptions{Isolation: sql.LevelSerializable}, (*sql.Tx).Commit)
	},
	"conn": func(ctx context.Context, db *sql.DB) any {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		return []any{exec(conn.ExecContext(ctx, "x")), query(conn.QueryContext(ctx, "y ?", 1)), conn.PingContext(ctx), conn.Close(), conn.PingContext(ctx)}
	},
	"raw bad": func(ctx context.Context, db *sql.DB) any {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		return []any{conn.Raw(func(any) error { return driver.ErrBadConn }), conn.Close()}
	},
}

func exec(result sql.Result, err error) any {
	if err != nil {
		return err
	}
	n, _ := result.RowsAffected()
	return n
}

func query(rows *sql.Rows, err error) any {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func transact(ctx context.Context, db *sql.DB, o *sql.TxOptions, end func(*sql.Tx) error) any {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	return []any{exec(tx.ExecContext(ctx, "x ?", 1)), end(tx), end(tx)}
}

// Whatever a driver has and lacks, a program gets the same answers through a pool as
// without one, and the driver is asked the same, in the same order. Only statements of
// db.Prepare are kept, and closed later.
func TestShapes(t *testing.T) {
	var names []string
	for name := range calls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, shape := range shapes() {
		t.Run(shape.name, func(t *testing.T) {
			for _, name := range names {
				times, options := 2, sqlpools.Options{Statements: -1}
				if strings.Contains(name, "bad") {
					times = 1 // more on end, and the server is down
				}
				if strings.HasPrefix(name, "stmt") {
					times, options = 1, sqlpools.Options{} // the second time it is prepared already
				}
				run := func(db *sql.DB, f *fake) (answers string, asked []string) {
					all := []any{exec(db.ExecContext(t.Context(), "warm ?", 1))}
					for range times {
						all = append(all, calls[name](t.Context(), db))
					}
					if err := db.Close(); err != nil {
						t.Errorf("%s: Close: %v", name, err)
					}
					asked = f.logs()
					if options.Statements == 0 {
						asked = slices.DeleteFunc(asked, func(line string) bool { return strings.Contains(line, ": close ") })
					}
					return fmt.Sprint(all), asked
				}
				plain, pooled := &fake{shape: shape}, &fake{shape: shape}
				want, wantAsked := run(sql.OpenDB(plain), plain)
				db, _, err := sqlpools.OpenDB("db", pooled, pools.Settings{Size: 1}, options)
				if err != nil {
					t.Fatal(err)
				}
				got, gotAsked := run(db, pooled)
				if got != want {
					t.Errorf("%s: a program gets\n%s\nand without a pool\n%s", name, got, want)
				}
				if !slices.Equal(gotAsked, wantAsked) {
					t.Errorf("%s: the driver is asked\n%s\nand without a pool\n%s", name, strings.Join(gotAsked, "\n"), strings.Join(wantAsked, "\n"))
				}
			}
		})
	}
}
