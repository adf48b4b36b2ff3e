//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
)

// statements are those that are prepared on a connection, by their text. One that is
// in use is nobody else's: some drivers keep the place of its rows in it.
type statements struct {
	most    int
	byQuery map[string]*kept
	order   list.List // of the ones that are not in use; the last used is the first
	state   int       // raised when a text may mean something else than before
}

type kept struct {
	query  string
	raw    driver.Stmt
	place  *list.Element // in order; nil: it is in use
	again  bool          // it was used before
	failed bool          // it goes when it is closed
	closed bool          // it is, and could not be prepared anew
	state  int           // of statements, when it was prepared
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

// take returns a statement for one use: one that is kept, or a new one.
func (s *statements) take(ctx context.Context, raw driver.Conn, query string) (*kept, error) {
	if k := s.byQuery[query]; k != nil && k.place != nil {
		s.order.Remove(k.place)
		k.place, k.again = nil, true
		if k.state == s.state {
			return k, nil
		}
		delete(s.byQuery, query)
		if err := k.raw.Close(); errors.Is(err, driver.ErrBadConn) {
			return nil, err
		}
	}
	own, err := prepare(ctx, raw, query)
	if err != nil {
		return nil, err
	}
	return &kept{query: query, raw: own, state: s.state}, nil
}

// drop forgets the one that is kept and not in use: the next is a new one.
func (s *statements) drop(query string) {
	if k := s.byQuery[query]; k != nil && k.place != nil {
		k.state = -1
	}
}

// give takes it back, and closes those that are too many.
func (s *statements) give(k *kept) error {
	if other := s.byQuery[k.query]; k.failed || k.state != s.state || s.most < 0 || other != nil && other != k {
		if other == k {
			delete(s.byQuery, k.query)
		}
		if k.closed {
			return nil
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

// close closes them all, until one cannot be closed or ctx has ended.
func (s *statements) close(ctx context.Context) error {
	for e := s.order.Front(); e != nil && ctx.Err() == nil; e = e.Next() {
		if err := e.Value.(*kept).raw.Close(); err != nil {
			return err
		}
	}
	return nil
}

// stmt is a statement as a *sql.DB has it, from PrepareContext to Close. One of a
// *sql.Stmt outlives the use in which it was prepared: in the next use of its logical
// connection, the connection that this then holds has one with the same text, or
// prepares it.
type stmt struct {
	l     *logical
	query string
	k     *kept // of the use
	use   int   // which
	fault error // why there is none in this use
}

// take takes a statement of the connection.
func (s *stmt) take(ctx context.Context, p *physical) error {
	s.use = s.l.uses
	s.k, s.fault = p.statements.take(ctx, p.raw, s.query)
	s.l.note(ctx, p, s.fault)
	if s.fault == nil {
		s.l.taken = append(s.l.taken, s.k)
	}
	return s.fault
}

// below returns the connection and its statement. The methods that have no ctx, which
// database/sql calls first, wait with that of the use.
func (s *stmt) below(ctx context.Context) (*physical, *kept, error) {
	p, err := s.l.use()
	if err != nil {
		return nil, nil, err
	}
	if s.use == s.l.uses {
		return p, s.k, s.fault
	}
	err = s.take(ctx, p)
	return p, s.k, err
}

// convertingStmt is for drivers whose statements convert their arguments: with
// another converter than theirs, database/sql would answer otherwise.
type convertingStmt struct{ stmt }

func (s *convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	if _, k, err := s.below(s.l.ctx); err == nil {
		if c, ok := k.raw.(driver.ColumnConverter); ok {
			return c.ColumnConverter(i)
		}
	}
	return driver.DefaultParameterConverter
}

// CheckNamedValue asks the statement, or else the connection.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if _, k, err := s.below(s.l.ctx); err == nil {
		if c, ok := k.raw.(driver.NamedValueChecker); ok {
			return c.CheckNamedValue(v)
		}
	}
	return s.l.CheckNamedValue(v)
}

// NumInput is -1, which means unknown, when there is no statement: then its use says
// why.
func (s *stmt) NumInput() int {
	_, k, err := s.below(s.l.ctx)
	if err != nil {
		return -1
	}
	return k.raw.NumInput()
}

// Close gives the statement back. After a use, that has been done.
func (s *stmt) Close() error {
	if s.use != s.l.uses || s.k == nil || s.l.p == nil {
		return nil
	}
	s.l.taken = slices.DeleteFunc(s.l.taken, func(k *kept) bool { return k == s.k })
	err := s.l.p.statements.give(s.k)
	s.k = nil
	s.l.noteClosed(s.l.p, err)
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
	s.l.result = true
	err = s.run(ctx, func(raw driver.Stmt) error {
		result, err = execStmt(ctx, raw, args)
		return err
	})
	return result, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.run(ctx, func(raw driver.Stmt) error {
		rows, err = queryStmt(ctx, raw, args)
		return err
	})
	return rows, err
}

// run runs a statement, and once more, prepared anew, if the server has forgotten it
// since an earlier use.
func (s *stmt) run(ctx context.Context, do func(raw driver.Stmt) error) error {
	p, k, err := s.below(ctx)
	if err != nil {
		return err
	}
	err = do(k.raw)
	if err != nil && k.again && forgotten(err) {
		_ = k.raw.Close() // first: pgx names a statement by its text
		own, prepareErr := prepare(ctx, p.raw, k.query)
		if k.closed = prepareErr != nil; !k.closed {
			k.raw, k.again = own, false
			err = do(own)
		}
		s.l.note(ctx, p, prepareErr)
	}
	s.l.note(ctx, p, err)
	if err != nil {
		k.failed = true
		p.failed(k.query)
	} else {
		p.ran(k.query)
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
