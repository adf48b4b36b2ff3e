// Package pgxconn makes pools of PostgreSQL connections. They are pgx's
// (github.com/jackc/pgx/v5), the driver written for PostgreSQL alone.
//
//	config, err := pgx.ParseConfig("postgres://app@db/shop")
//	...
//	pool, err := pools.New("db", pgxconn.New(pgxconn.Options{Config: config}), pools.Settings{Size: 10})
//	...
//	err = pool.Use(ctx, func(conn *pgx.Conn) error {
//		return conn.QueryRow(ctx, "select name from users where id = $1", id).Scan(&name)
//	})
//
// For a program that only needs PostgreSQL, pgxpool does the same with less
// cleaning. What the functions of the connector do, and why:
//
//   - Open connects and logs in.
//   - Broken looks at the connection more than at the error: it must go when
//     pgx has closed it, when a query, its rows or a copy are not finished, and
//     when a ctx ended in the middle of a query. pgx may have sent a cancel
//     request then, and PostgreSQL may carry it out late, against the query of
//     the next user; nobody can know that it will not. For the same reason it
//     goes after a query_canceled. Other errors of PostgreSQL leave it as good
//     as before.
//   - Reset rolls back a transaction that was left open, and then does what
//     [Options].Cleaning says, in one round trip.
//   - Check is pgx's Ping.
//   - Abort closes the connection below pgx, and below TLS.
//   - Close takes leave and waits until the server has closed, and until pgx
//     has closed in the background what was given up, so that the server does
//     not count a connection that the pool has forgotten; but not beyond the
//     end of its ctx.
package pgxconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/utopia-go/pools"
)

// Options say how connections are made and cleaned.
type Options struct {
	// Config is what [pgx.ParseConfig] returned; required. Each Open takes a
	// copy. Put into its RuntimeParams what SET is to say for every user:
	// what AfterConnect sets, Cleaning undoes.
	Config *pgx.ConnConfig

	// BeforeConnect, if not nil, may change the copy: it is the place for
	// passwords that change. After a change Pool.Refresh replaces the
	// connections of before.
	BeforeConnect func(ctx context.Context, config *pgx.ConnConfig) error

	// AfterConnect, if not nil, prepares a new connection: types, statements.
	// It must finish what it begins: with a transaction left open, or rows left
	// unread, Open fails.
	AfterConnect func(ctx context.Context, conn *pgx.Conn) error

	// Cleaning is what Reset does beside the rollback; default: Session.
	Cleaning Cleaning
}

// Cleaning is how much of one user's session the next one finds.
type Cleaning int

const (
	// Session leaves nothing of SET, SET ROLE, LISTEN, advisory locks,
	// cursors, temporary tables and the sequences' last values. Prepared
	// statements stay, pgx's own and those that a user gave a name. That is
	// safe where a text means the same to all users, and a name the same text:
	// not where users have different search_paths, take one name for two
	// texts, or give one name to temporary tables with different columns: the
	// next user's first query of such a table may fail with 0A000, "cached plan
	// must not change result type". These need Everything. It takes a round
	// trip after each use, in the background.
	//
	// Whatever the Cleaning, what a user registered in the connection's TypeMap
	// stays: register types in AfterConnect, the same for all.
	Session Cleaning = iota

	// Everything is DISCARD ALL: prepared statements go, too, and each user
	// pays for preparing its own.
	Everything

	// Rollback only rolls back, and costs nothing when nothing is open. It is
	// for programs that leave nothing else behind, or only what is the same
	// for all, as pgxpool's do.
	Rollback
)

// The parts of DISCARD ALL, but for DEALLOCATE ALL and DISCARD PLANS.
const session = "close all; set session authorization default; reset all; unlisten *; " +
	"select pg_advisory_unlock_all(); discard temp; discard sequences"

var errNoConfig = errors.New("pgxconn: Options.Config is nil; give what pgx.ParseConfig returned")

// New makes a connector. It opens nothing; what is wrong with the options is
// the error of the first Open.
func New(o Options) pools.Connector[*pgx.Conn] {
	c := pools.Connector[*pgx.Conn]{
		Open:   o.open,
		Close:  leave,
		Check:  func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) },
		Reset:  o.reset,
		Broken: broken,
		Abort:  func(conn *pgx.Conn) { lowest(conn).Close() },
	}
	if o.Cleaning == Rollback {
		c.Dirty = func(conn *pgx.Conn) bool { return conn.PgConn().TxStatus() != outside }
	}
	return c
}

func (o Options) open(ctx context.Context) (*pgx.Conn, error) {
	if o.Config == nil {
		return nil, errNoConfig
	}
	config := o.Config.Copy()
	if o.BeforeConnect != nil {
		if err := o.BeforeConnect(ctx, config); err != nil {
			return nil, err
		}
	}
	noteCancels(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if o.AfterConnect == nil {
		return conn, nil
	}
	prepared := false
	defer func() {
		if !prepared { // or it panics
			_ = leave(ctx, conn)
		}
	}()
	if err := o.AfterConnect(ctx, conn); err != nil {
		return nil, err
	}
	if err := unfinished(conn); err != nil {
		return nil, err
	}
	prepared = true
	return conn, nil
}

// unfinished returns what AfterConnect has left that the first user must not
// find.
func unfinished(conn *pgx.Conn) error {
	switch {
	case cancelled(conn):
		return errors.New("pgxconn: a ctx ended in the middle of a query of Options.AfterConnect; have it return the query's error, or give the query more time")
	case conn.IsClosed():
		return errors.New("pgxconn: Options.AfterConnect has left the connection closed; have it return the error that closed it")
	case conn.PgConn().IsBusy():
		return errors.New("pgxconn: Options.AfterConnect has left rows, a batch or a copy unfinished; have it close them before it returns")
	case conn.PgConn().TxStatus() != outside:
		return errors.New("pgxconn: Options.AfterConnect has left a transaction open; have it commit or roll back before it returns")
	}
	return nil
}

// outside is what pgx says of a connection that is in no transaction.
const outside = 'I'

func (o Options) reset(ctx context.Context, conn *pgx.Conn) error {
	sql := ""
	if conn.PgConn().TxStatus() != outside {
		sql = "rollback; "
	}
	switch o.Cleaning {
	case Session:
		sql += session
	case Everything: // alone: it may not be part of a transaction, as several statements in one message are
		if sql != "" {
			if err := run(ctx, conn, sql); err != nil {
				return err
			}
		}
		if err := conn.DeallocateAll(ctx); err != nil { // pgx forgets its own, too
			return err
		}
		sql = "discard all"
	}
	if sql != "" {
		if err := run(ctx, conn, sql); err != nil {
			return err
		}
	}
	// What was notified before UNLISTEN waits in pgx.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for {
		if n, _ := conn.WaitForNotification(ended); n == nil {
			return ctx.Err()
		}
	}
}

func run(ctx context.Context, conn *pgx.Conn, sql string) error {
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// broken reports whether a connection must go.
func broken(conn *pgx.Conn, err error) bool {
	if conn.IsClosed() || conn.PgConn().IsBusy() || cancelled(conn) {
		return true
	}
	const queryCanceled = "57014"
	e, is := errors.AsType[*pgconn.PgError](err)
	return is && e.Code == queryCanceled
}

// lowest returns the connection below pgx, and below TLS: that one would say
// goodbye when it is closed, and wait for it.
func lowest(conn *pgx.Conn) net.Conn {
	network := conn.PgConn().Conn()
	for {
		layer, ok := network.(interface{ NetConn() net.Conn })
		if !ok {
			return network
		}
		network = layer.NetConn()
	}
}

// leave closes a connection.
func leave(ctx context.Context, conn *pgx.Conn) error {
	network, below := conn.PgConn().Conn(), lowest(conn)
	defer context.AfterFunc(ctx, func() { below.Close() })()
	var faults []error
	if !conn.IsClosed() && !conn.PgConn().IsBusy() { // pgx does not wait for the server
		frontend := conn.PgConn().Frontend()
		frontend.Send(&pgproto3.Terminate{})
		faults = append(faults, network.SetDeadline(time.Time{}), frontend.Flush())
		_, err := io.Copy(io.Discard, network)
		faults = append(faults, err)
	}
	_ = conn.Close(ctx) // what it says to a server that has closed comes back as an error
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done(): // pgx dials to cancel a query, and may do so for long
	}
	return errors.Join(append(faults, context.Cause(ctx))...)
}

// Whether a ctx ended in the middle of a query, pgx tells only its watcher's
// handler. It is asked to note that with the connection.

const cancelledKey = "github.com/utopia-go/pools/pgxconn"

func noteCancels(config *pgx.ConnConfig) {
	build := config.BuildContextWatcherHandler
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		n := &noter{Handler: build(conn)}
		conn.CustomData()[cancelledKey] = &n.cancelled
		return n
	}
}

func cancelled(conn *pgx.Conn) bool {
	was, ok := conn.PgConn().CustomData()[cancelledKey].(*atomic.Bool)
	return ok && was.Load()
}

type noter struct {
	ctxwatch.Handler
	cancelled atomic.Bool // pgx calls HandleCancel in a goroutine of its own
}

func (n *noter) HandleCancel(ctx context.Context) {
	n.cancelled.Store(true)
	n.Handler.HandleCancel(ctx)
}
