//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/utopia-go/pools"
)

// lease is a connection as a *sql.DB has it, from Connect to Close. It has every
// optional interface of database/sql/driver but those that database/sql would not
// fall back from (below), and answers for those that the driver lacks as database/sql
// would.
type lease struct {
	conn  pools.Conn[driver.Conn]
	p     *physical
	err   error // the latest
	asked bool  // IsValid was, which is the last before Close
}

// A driver without ExecerContext has its statements prepared, with other conversions
// of their arguments, and the same goes for QueryerContext. So there are four types.
type (
	execLease  struct{ lease }
	queryLease struct{ lease }
	bothLease  struct{ lease }
)

func lend(p *physical, conn pools.Conn[driver.Conn]) driver.Conn {
	l := lease{conn: conn, p: p}
	switch {
	case p.execs && p.asks:
		return &bothLease{l}
	case p.execs:
		return &execLease{l}
	case p.asks:
		return &queryLease{l}
	}
	return &l
}

func (l *execLease) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return l.exec(ctx, query, args)
}

func (l *queryLease) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return l.query(ctx, query, args)
}

func (l *bothLease) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return l.exec(ctx, query, args)
}

func (l *bothLease) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return l.query(ctx, query, args)
}

func (l *lease) below() driver.Conn { return l.p.raw }

// note keeps what a method of the driver has returned. After driver.ErrBadConn
// database/sql only closes.
func (l *lease) note(err error) {
	if err == driver.ErrSkip { // database/sql compares so, too
		return
	}
	l.err = err
	if errors.Is(err, driver.ErrBadConn) {
		l.p.bad = true
	}
}

// noteRun is note for a statement that was run.
func (l *lease) noteRun(query string, err error) {
	l.note(err)
	switch err {
	case nil:
		l.p.ran(query)
	case driver.ErrSkip: // nothing was run
	default:
		l.p.failed(query)
	}
}

// IsValid is asked when a use has ended, and never before another: database/sql
// neither keeps a connection that is not valid nor hands it to a waiter.
func (l *lease) IsValid() bool {
	l.asked = true
	return false
}

// ResetSession is never called, because IsValid is false. Without it database/sql
// would give up each connection whose transaction ended with its ctx.
func (l *lease) ResetSession(context.Context) error { return nil }

// Close gives the connection back.
func (l *lease) Close() error {
	if !l.asked { // given up: a method or a function of Raw said driver.ErrBadConn, or panicked
		l.p.bad = true
	}
	if l.p.bad && !pools.Breaks(l.err) {
		l.err = driver.ErrBadConn
	}
	return l.conn.PushErr(l.err)
}

func (l *lease) Ping(ctx context.Context) error {
	pinger, ok := l.p.raw.(driver.Pinger)
	if !ok {
		return nil
	}
	err := pinger.Ping(ctx)
	l.note(err)
	return err
}

// CheckNamedValue is asked for arguments of Exec and Query; those of statements ask
// the statement.
func (l *lease) CheckNamedValue(v *driver.NamedValue) error {
	if c, ok := l.p.raw.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (l *lease) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	var result driver.Result
	var err error
	if c, ok := l.p.raw.(driver.ExecerContext); ok {
		result, err = c.ExecContext(ctx, query, args)
	} else {
		var values []driver.Value
		if values, err = unnamed(ctx, args); err != nil {
			return nil, err
		}
		result, err = l.p.raw.(driver.Execer).Exec(query, values)
	}
	l.noteRun(query, err)
	return result, err
}

func (l *lease) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var rows driver.Rows
	var err error
	if c, ok := l.p.raw.(driver.QueryerContext); ok {
		rows, err = c.QueryContext(ctx, query, args)
	} else {
		var values []driver.Value
		if values, err = unnamed(ctx, args); err != nil {
			return nil, err
		}
		rows, err = l.p.raw.(driver.Queryer).Query(query, values)
	}
	l.noteRun(query, err)
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
func (l *lease) Begin() (driver.Tx, error) {
	return l.BeginTx(context.Background(), driver.TxOptions{})
}

func (l *lease) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := begin(ctx, l.p.raw, o)
	l.note(err)
	if err != nil {
		return nil, err
	}
	return &transaction{l, tx, ctx}, nil
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
	l   *lease
	tx  driver.Tx
	ctx context.Context
}

func (t *transaction) Commit() error {
	err := t.tx.Commit()
	t.l.p.ended(err)
	t.l.note(err)
	return err
}

// Rollback is also called when the transaction's ctx has ended. database/sql keeps the
// connection then only if the driver can reset and validate it.
func (t *transaction) Rollback() error {
	err := t.tx.Rollback()
	t.l.p.ended(err)
	t.l.note(err)
	if ended := t.ctx.Err(); ended != nil && !t.l.p.keepsRollback {
		t.l.p.bad, t.l.err = true, ended
	}
	return err
}

func (l *lease) Prepare(query string) (driver.Stmt, error) {
	return l.PrepareContext(context.Background(), query)
}

func (l *lease) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	k, err := l.p.statements.take(ctx, l.p.raw, query)
	l.note(err)
	if err != nil {
		return nil, err
	}
	s := stmt{l, k}
	if _, ok := k.raw.(driver.ColumnConverter); ok {
		return &convertingStmt{s}, nil
	}
	return &s, nil
}
