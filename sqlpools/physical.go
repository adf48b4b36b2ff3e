//lint:file-ignore SA1019 drivers of before Go 1.8 have only these methods

package sqlpools

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/utopia-go/pools"
)

// physical is a connection of the pool: the driver's, and what is known of it. It is
// used by one goroutine at a time, as the driver's is.
type physical struct {
	raw           driver.Conn
	execs, asks   bool // raw can do so without a prepared statement
	validates     bool
	keepsRollback bool // database/sql keeps such a connection when a ctx ends its transaction
	statements    statements

	used    bool
	changed bool // in this use, what a text means
	bad     bool // it said driver.ErrBadConn, or database/sql gave it up
	begun   bool // a transaction, by a statement, and nobody has ended it
	// A Commit that failed may have left the transaction open, and a text of several
	// statements that failed may have begun one.
	unsure bool
}

func (p *physical) below() driver.Conn {
	p.changes() // nobody knows what is done with it
	return p.raw
}

// It is a driver.Conn for users of the pool without a *sql.DB.
func (p *physical) Prepare(query string) (driver.Stmt, error) {
	return (&logical{p: p}).Prepare(query)
}
func (p *physical) Close() error { return p.close(context.Background()) }

// close closes the statements first, as database/sql does: some drivers would leak
// them. It leaves the rest to the driver after the first that fails.
func (p *physical) close(ctx context.Context) error {
	err := p.statements.close(ctx)
	return errors.Join(err, p.raw.Close())
}

func (p *physical) Begin() (driver.Tx, error) {
	tx, err := (&logical{p: p}).Begin()
	p.begun = p.begun || err == nil // a *sql.Tx would end it
	return tx, err
}

// ended notes the end of a transaction by the driver's method.
func (p *physical) ended(err error) {
	p.unsure = err != nil
	p.begun = p.begun && err != nil
}

var errLeftOpen = errors.New("sqlpools: a transaction was left open; commit it or roll it back before the connection is closed")

// below makes the pool's connector.
func below(c driver.Connector, o Options) pools.Connector[driver.Conn] {
	connector := pools.Connector[driver.Conn]{
		Open: func(ctx context.Context) (driver.Conn, error) {
			raw, err := c.Connect(ctx)
			if err != nil {
				return nil, err
			}
			return newPhysical(raw, o), nil
		},
		Close: func(ctx context.Context, conn driver.Conn) error { return conn.(*physical).close(ctx) },
		Check: func(ctx context.Context, conn driver.Conn) error { return conn.(*physical).check(ctx) },
		Peek: func(conn driver.Conn) error {
			if !conn.(*physical).valid() {
				return driver.ErrBadConn
			}
			return nil
		},
		Broken: func(conn driver.Conn, err error) bool {
			p := conn.(*physical)
			return p.bad || over(err) || !p.valid() || !p.validates && pools.Breaks(err)
		},
		Unfinished: func(conn driver.Conn) error {
			if conn.(*physical).begun {
				return errLeftOpen
			}
			return nil
		},
		Dirty: func(conn driver.Conn) bool {
			p := conn.(*physical)
			return o.Clean != nil || p.begun || p.unsure
		},
		Reset: func(ctx context.Context, conn driver.Conn) error { return conn.(*physical).clean(ctx, o.Clean) },
	}
	if o.Abort != nil {
		connector.Abort = func(conn driver.Conn) { o.Abort(conn.(*physical).raw) }
	}
	return connector
}

func newPhysical(raw driver.Conn, o Options) *physical {
	p := &physical{raw: raw, statements: statements{most: o.Statements}}
	_, execs := raw.(driver.ExecerContext)
	_, execsOld := raw.(driver.Execer)
	_, asks := raw.(driver.QueryerContext)
	_, asksOld := raw.(driver.Queryer)
	_, resets := raw.(driver.SessionResetter)
	_, p.validates = raw.(driver.Validator)
	p.execs, p.asks, p.keepsRollback = execs || execsOld, asks || asksOld, resets && p.validates
	return p
}

func (p *physical) valid() bool {
	v, ok := p.raw.(driver.Validator)
	return !ok || v.IsValid()
}

func (p *physical) check(ctx context.Context) error {
	if pinger, ok := p.raw.(driver.Pinger); ok {
		return pinger.Ping(ctx)
	}
	return nil
}

// resetSession calls the driver's before a connection is used again. If it says
// driver.ErrBadConn the connection goes; other errors mean nothing to database/sql.
func (p *physical) resetSession(ctx context.Context, conn pools.Conn[driver.Conn]) (good bool) {
	r, ok := p.raw.(driver.SessionResetter)
	if !ok || !p.used {
		p.used = true
		return true
	}
	p.bad = true // unless it returns
	defer func() {
		if p.bad {
			_ = conn.PushErr(driver.ErrBadConn)
		}
	}()
	p.bad = errors.Is(r.ResetSession(ctx), driver.ErrBadConn)
	return !p.bad
}

// clean ends what the last user has left.
func (p *physical) clean(ctx context.Context, further func(context.Context, driver.Conn) error) error {
	switch {
	case p.begun:
		if err := p.rollback(ctx); err != nil {
			return err
		}
	case p.unsure: // mostly there is no transaction, which some servers call an error
		if err := Exec(ctx, p.raw, "ROLLBACK"); errors.Is(err, driver.ErrBadConn) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	p.begun, p.unsure = false, false
	if further == nil {
		return nil
	}
	if err := further(ctx, p.raw); err != nil {
		return err
	}
	return ctx.Err() // some drivers succeed late, with a connection that they have given up
}

// rollback ends the transaction that was begun. If that fails there may be none: SQLite
// rolls back by itself after some errors. Then another one can be begun.
func (p *physical) rollback(ctx context.Context) error {
	err := Exec(ctx, p.raw, "ROLLBACK")
	if err == nil || errors.Is(err, driver.ErrBadConn) || ctx.Err() != nil {
		return err
	}
	if Exec(ctx, p.raw, "BEGIN") != nil {
		return err
	}
	return Exec(ctx, p.raw, "ROLLBACK")
}

// over reports whether an error says that the session has ended: driver.ErrBadConn, or an
// SQLSTATE of PostgreSQL after which the server closes (the connection failed; the server
// shuts down; the session was idle for too long). Not every driver has a Validator.
func over(err error) bool {
	if err == nil || errors.Is(err, driver.ErrBadConn) {
		return err != nil
	}
	state, ok := sqlState(err)
	return ok && (strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P0") || state == "25P03")
}
