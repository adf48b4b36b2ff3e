//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

// statements are those that are prepared on a connection, by their text. One that is
// in use is nobody else's: some drivers keep the place of its rows in it.
type statements struct {
	most    int
	byQuery map[string]*kept
	order   list.List // of the ones that are not in use; the last used is the first
}

type kept struct {
	query  string
	raw    driver.Stmt
	place  *list.Element // in order; nil: it is in use
	again  bool          // it was used before
	failed bool          // it goes when it is closed
}

func prepare(ctx context.Context, raw driver.Conn, query string) (driver.Stmt, error) {
	if c, ok := raw.(driver.ConnPrepareContext); ok {
		return c.PrepareContext(ctx, query)
	}
	s, err := raw.Prepare(query)
	if err == nil && ctx.Err() != nil {
		s.Close()
		return nil, ctx.Err()
	}
	return s, err
}

// take returns a statement for one use.
func (s *statements) take(ctx context.Context, raw driver.Conn, query string) (*kept, error) {
	if k := s.byQuery[query]; k != nil && k.place != nil {
		s.order.Remove(k.place)
		k.place, k.again = nil, true
		return k, nil
	}
	own, err := prepare(ctx, raw, query)
	if err != nil {
		return nil, err
	}
	return &kept{query: query, raw: own}, nil
}

// give takes it back, and closes those that are too many.
func (s *statements) give(k *kept) error {
	if other := s.byQuery[k.query]; k.failed || s.most < 0 || other != nil && other != k {
		if other == k {
			delete(s.byQuery, k.query)
		}
		return k.raw.Close()
	}
	if s.byQuery == nil {
		s.byQuery = map[string]*kept{}
	}
	s.byQuery[k.query] = k
	k.place = s.order.PushFront(k)
	if s.order.Len() <= s.most {
		return nil
	}
	oldest := s.order.Remove(s.order.Back()).(*kept)
	delete(s.byQuery, oldest.query)
	return oldest.raw.Close()
}

// stmt is a statement as a *sql.DB has it, from PrepareContext to Close.
type stmt struct {
	l *lease
	k *kept
}

// convertingStmt is for drivers whose statements convert their arguments: with
// another converter than theirs, database/sql would answer otherwise.
type convertingStmt struct{ stmt }

func (s *convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.k.raw.(driver.ColumnConverter).ColumnConverter(i)
}

// CheckNamedValue asks the statement, or else the connection.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if c, ok := s.k.raw.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(v)
	}
	return s.l.CheckNamedValue(v)
}

func (s *stmt) NumInput() int { return s.k.raw.NumInput() }

func (s *stmt) Close() error {
	err := s.l.p.statements.give(s.k)
	s.l.note(err)
	return err
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func named(args []driver.Value) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = s.run(ctx, func() error {
		result, err = execStmt(ctx, s.k.raw, args)
		return err
	})
	return result, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.run(ctx, func() error {
		rows, err = queryStmt(ctx, s.k.raw, args)
		return err
	})
	return rows, err
}

// run runs a statement, and once more, prepared anew, if the server has forgotten it
// since an earlier use.
func (s *stmt) run(ctx context.Context, do func() error) error {
	err := do()
	if err != nil && s.k.again && forgotten(err) {
		_ = s.k.raw.Close()
		own, prepareErr := prepare(ctx, s.l.p.raw, s.k.query)
		if prepareErr == nil {
			s.k.raw, s.k.again = own, false
			err = do()
		}
	}
	s.l.note(err)
	if err != nil {
		s.k.failed = true
		s.l.p.failed(s.k.query)
	} else {
		s.l.p.ran(s.k.query)
	}
	return err
}

// forgotten reports whether a server does not know a prepared statement, or no longer as
// it was, so that nothing was run or all was undone: PostgreSQL's SQLSTATE 26000 and
// 0A000 ("cached plan must not change result type"), MySQL's and MariaDB's error 1243.
func forgotten(err error) bool {
	state, ok := sqlState(err)
	return ok && (state == "26000" || state == "0A000") || strings.HasPrefix(err.Error(), "Error 1243")
}

func sqlState(err error) (state string, ok bool) {
	e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	if ok {
		state = e.SQLState()
	}
	return state, ok
}

func execStmt(ctx context.Context, s driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	if c, ok := s.(driver.StmtExecContext); ok {
		return c.ExecContext(ctx, args)
	}
	values, err := unnamed(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Exec(values)
}

func queryStmt(ctx context.Context, s driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	if c, ok := s.(driver.StmtQueryContext); ok {
		return c.QueryContext(ctx, args)
	}
	values, err := unnamed(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Query(values)
}
