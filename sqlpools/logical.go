//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"

	"github.com/utopia-go/pools"
)

// logical is a connection as a *sql.DB has it. It has every optional interface of
// database/sql/driver but those that database/sql would not fall back from (below),
// and answers for those that the driver lacks as database/sql would.
//
// It holds a connection of the pool from Connect to IsValid, and then from each
// ResetSession to the next IsValid: database/sql calls the one when it takes a
// connection from its free ones and the other when a use has ended. Making a logical
// connection costs more than a Pop, so database/sql keeps some that hold nothing.
type logical struct {
	c   *connector
	ctx context.Context // of the use

	conn    pools.Conn[driver.Conn]
	p       *physical // nil: it holds none
	fault   error     // why it holds none, though it was asked to
	err     error     // the latest of this use
	touched bool      // something was asked of the driver in this use
	spare   bool      // this is its first use, and perhaps nobody waits for it
	uses    int       // that have ended
	waited  bool      // for conn
	result  bool      // there may be a sql.Result of this use, or of an earlier one
	inTx    bool      // of a *sql.Tx
	skipped string    // what the driver has just refused to run without preparing it
	taken   []*kept   // statements that are in use
}

// A driver without ExecerContext has its statements prepared, with other conversions
// of their arguments, and the same goes for QueryerContext. So there are four types.
type (
	execLogical  struct{ logical }
	queryLogical struct{ logical }
	bothLogical  struct{ logical }
)

func newLogical(l logical) driver.Conn {
	p := l.p
	switch {
	case p.execs && p.asks:
		return &bothLogical{l}
	case p.execs:
		return &execLogical{l}
	case p.asks:
		return &queryLogical{l}
	}
	return &l
}

func (l *execLogical) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return l.exec(ctx, query, args)
}

func (l *queryLogical) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return l.query(ctx, query, args)
}

func (l *bothLogical) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return l.exec(ctx, query, args)
}

func (l *bothLogical) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return l.query(ctx, query, args)
}

// use returns the connection that it holds.
func (l *logical) use() (*physical, error) {
	if l.p == nil {
		return nil, cmp.Or(l.fault, driver.ErrBadConn) // the latter: database/sql takes another one
	}
	l.touched = true
	return l.p, nil
}

func (l *logical) below() driver.Conn {
	p, err := l.use()
	if err != nil {
		return nil
	}
	return p.below()
}

// ResetSession begins a use. Its caller has locked this connection, as a method of an
// earlier use's sql.Result would: while there may be one, it does not wait.
//
// After driver.ErrBadConn database/sql comes to Connect, which waits, or returns the
// pool's error. But that would wait once more for those that have waited in vain, and
// with SetMaxOpenConns database/sql may return the driver.ErrBadConn: then the first
// method of the use tells the error.
func (l *logical) ResetSession(ctx context.Context) error {
	if l.p != nil {
		return nil
	}
	l.ctx, l.fault = ctx, nil
	p, conn, ok := l.c.tryTake(ctx)
	if l.waited = !ok; l.waited {
		limited := l.c.isLimited()
		if l.result && !limited {
			return driver.ErrBadConn
		}
		if p, conn, l.fault = l.c.take(ctx); l.fault != nil && ctx.Err() == nil && !errors.Is(l.fault, pools.ErrWaitTimeout) && !limited {
			return driver.ErrBadConn
		}
	}
	l.p, l.conn = p, conn
	return nil
}

// IsValid ends a use: database/sql asks when it puts a connection back, and keeps what
// is valid, or hands it to somebody who waits. It calls ResetSession then, but not if
// nobody has used the connection yet.
//
// A use that has waited and has a sql.Result ends this connection: others wait, too, and
// they could not do so here.
func (l *logical) IsValid() bool {
	keep := !(l.spare && !l.touched) && !(l.waited && l.result)
	if l.p != nil {
		_ = l.end()
	}
	return keep
}

// Close is called without IsValid when a connection is given up: a method or a
// function of Raw said driver.ErrBadConn, or panicked. With SetMaxOpenConns, it may
// also have been opened for somebody who has left.
func (l *logical) Close() error {
	if l.p == nil {
		return nil
	}
	if l.spare && !l.touched {
		// database/sql is locked here, and an Observer may ask its Stats.
		go l.end()
		return nil
	}
	l.p.bad = true
	return l.end()
}

// end gives the connection back.
func (l *logical) end() error {
	p, conn := l.p, l.conn
	for _, k := range l.taken {
		l.noteClosed(p, p.statements.give(k))
	}
	err := l.err
	if p.bad && !pools.Breaks(err) {
		err = driver.ErrBadConn
	}
	if p.changed { // Options.Clean may change it back
		p.changes()
		p.changed = false
	}
	clear(l.taken)
	l.inTx, l.skipped = false, ""
	l.taken, l.uses = l.taken[:0], l.uses+1
	l.conn, l.p, l.err, l.ctx, l.touched, l.spare = pools.Conn[driver.Conn]{}, nil, nil, nil, false, false
	return conn.PushErr(err)
}

// note keeps what a method of the driver has returned. After driver.ErrBadConn
// database/sql only closes.
//
// Some drivers say so, too, when the method's ctx had ended before they did anything.
// That is not the server's fault.
func (l *logical) note(ctx context.Context, p *physical, err error) {
	if err == driver.ErrSkip { // database/sql compares so, too
		return
	}
	l.err = err
	if errors.Is(err, driver.ErrBadConn) {
		p.bad = true
		l.err = cmp.Or(ctx.Err(), err)
	}
}

// noteRun is note for a statement that was run.
func (l *logical) noteRun(ctx context.Context, p *physical, query string, err error) {
	l.note(ctx, p, err)
	switch err {
	case nil:
		p.ran(query)
	case driver.ErrSkip: // nothing was run
		l.skipped = query
	default:
		p.failed(query)
	}
}

// noteClosed is note for the end of a statement, which hides no error of its use.
func (l *logical) noteClosed(p *physical, err error) {
	if err != nil {
		l.note(context.Background(), p, err)
	}
}

func (l *logical) Ping(ctx context.Context) error {
	p, err := l.use()
	if err != nil {
		return err
	}
	pinger, ok := p.raw.(driver.Pinger)
	if !ok {
		return nil
	}
	err = pinger.Ping(ctx)
	l.note(ctx, p, err)
	return err
}

// CheckNamedValue is asked for arguments of Exec and Query; those of statements ask
// the statement.
func (l *logical) CheckNamedValue(v *driver.NamedValue) error {
	if l.p == nil {
		return nil // the statement says why
	}
	if c, ok := l.p.raw.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (l *logical) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	p, err := l.use()
	if err != nil {
		return nil, err
	}
	var result driver.Result
	switch c := p.raw.(type) {
	case driver.ExecerContext:
		result, err = c.ExecContext(ctx, query, args)
	case driver.Execer:
		values, unfit := unnamed(ctx, args)
		if unfit != nil {
			return nil, unfit
		}
		result, err = c.Exec(query, values)
	default:
		return nil, driver.ErrSkip // a driver whose connections differ
	}
	l.result = true
	l.noteRun(ctx, p, query, err)
	return result, err
}

func (l *logical) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	p, err := l.use()
	if err != nil {
		return nil, err
	}
	var rows driver.Rows
	switch c := p.raw.(type) {
	case driver.QueryerContext:
		rows, err = c.QueryContext(ctx, query, args)
	case driver.Queryer:
		values, unfit := unnamed(ctx, args)
		if unfit != nil {
			return nil, unfit
		}
		rows, err = c.Query(query, values)
	default:
		return nil, driver.ErrSkip // a driver whose connections differ
	}
	l.noteRun(ctx, p, query, err)
	return rows, err
}

// unnamed is for methods without a ctx and without names.
func unnamed(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters") // database/sql's words
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}

// Begin is BeginTx with the defaults, which database/sql prefers.
func (l *logical) Begin() (driver.Tx, error) {
	return l.BeginTx(context.Background(), driver.TxOptions{})
}

func (l *logical) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	p, err := l.use()
	if err != nil {
		return nil, err
	}
	l.ctx = ctx
	tx, err := begin(ctx, p.raw, o)
	l.note(ctx, p, err)
	if err != nil {
		return nil, err
	}
	l.inTx = true
	return &transaction{l, p, tx, ctx}, nil
}

func begin(ctx context.Context, raw driver.Conn, o driver.TxOptions) (driver.Tx, error) {
	if c, ok := raw.(driver.ConnBeginTx); ok {
		return c.BeginTx(ctx, o)
	}
	if o.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level") // database/sql's words
	}
	if o.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	tx, err := raw.Begin()
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

// transaction is one of the driver's whose end is noted.
type transaction struct {
	l   *logical
	p   *physical
	tx  driver.Tx
	ctx context.Context
}

func (t *transaction) Commit() error {
	err := t.tx.Commit()
	t.l.inTx = false
	t.p.ended(err)
	t.l.note(t.ctx, t.p, err)
	return err
}

// Rollback is also called when the transaction's ctx has ended. database/sql keeps the
// connection then only if the driver can reset and validate it.
func (t *transaction) Rollback() error {
	err := t.tx.Rollback()
	t.l.inTx = false
	t.p.ended(err)
	t.l.note(t.ctx, t.p, err)
	if ended := t.ctx.Err(); ended != nil && !t.p.keepsRollback {
		t.p.bad, t.l.err = true, ended
	}
	return err
}

func (l *logical) Prepare(query string) (driver.Stmt, error) {
	return l.PrepareContext(context.Background(), query)
}

func (l *logical) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	p, err := l.use()
	if err != nil {
		return nil, err
	}
	s := stmt{l: l, query: query}
	// A statement that no longer fits its tables cannot be prepared anew in a
	// transaction, which has failed then.
	if fresh := (l.inTx || p.begun) && query != l.skipped; fresh {
		p.statements.drop(query)
	}
	l.skipped = ""
	if err := s.take(ctx, p); err != nil {
		return nil, err
	}
	if _, ok := s.k.raw.(driver.ColumnConverter); ok {
		return &convertingStmt{s}, nil
	}
	return &s, nil
}
