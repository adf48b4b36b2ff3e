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
//   - Open connects and logs in. It passes over a hot standby, unless the
//     pool is [Options].Replica. Several addresses share the pool's OpenTimeout
//     equally where connect_timeout is not set, so that one that answers nothing
//     leaves time for the next. After AfterConnect it cleans the connection once,
//     as Reset does: a server that refuses the cleaning is an error at once. That
//     costs a round trip an open, and with the Cleaning Everything a second one;
//     with Rollback none.
//   - Broken looks at the connection more than at the error: it must go when
//     pgx has closed it, when a query, its rows or a copy are not finished, and
//     when a ctx ended in the middle of a query. pgx may have sent a cancel
//     request then, and PostgreSQL may carry it out late, against the query of
//     the next user; nobody can know that it will not. For the same reason it
//     goes after a query_canceled. Which other errors break it, the table below
//     says; the rest leaves it as good as before.
//   - Unfinished reports a transaction that was left open.
//   - Reset rolls back such a transaction, and then does what
//     [Options].Cleaning says, in one round trip. Then RuntimeParams are set again
//     if the server reports that they are different: a PgBouncer has them from the
//     client's login, and the server's session, which is cleaned, does not. That
//     costs another round trip, and only there. It can be so for application_name,
//     client_encoding, DateStyle, IntervalStyle, standard_conforming_strings and
//     TimeZone; a PgBouncer refuses others, or ignores them.
//   - Check asks for current_user, which fails when the role was dropped, and
//     notices that the server has become read-only.
//     A server that has vanished without a word the system finds out late: let
//     the config's DialFunc be that of a netconn.Dialer(30*time.Second).
//   - Peek sees without a round trip that the server has ended the session, or has
//     sent anything else: a notification too, if the Cleaning Rollback leaves a
//     LISTEN. See [pools.Connector] for when it is asked. A connection that was used
//     within the last second or two is lent without it.
//   - Abort closes the connection below pgx, and below TLS.
//   - Close takes leave and waits until the server has closed, and until pgx
//     has closed in the background what was given up, so that the server does
//     not count a connection that the pool has forgotten; but not beyond the
//     end of its ctx.
//
// A connection that its user has hijacked (pgconn's Hijack) is not lent again, and
// Close does not touch it. Nothing tells it from one that pgx is still closing in
// the background, so its slot is free a second later. Detach it from the pool
// first, and the slot is free at once.
//
// # What PostgreSQL's errors mean
//
// Seen with PostgreSQL 15.18 and pgx 5.13.0, by a test for each. When a connection
// breaks, the pool suspects its siblings: each is checked before it is lent again.
//
//	code  when                            the connection   an Open that gets it
//	25006 a write where none is allowed   breaks (below)   -
//	26000 a prepared statement is gone    breaks           -
//	57014 a query was cancelled           breaks           -
//	57P01 an administrator ended it, also is over          -
//	      by DROP DATABASE WITH (FORCE)
//	57P02 another session crashed         is over (below)  -
//	57P03 the server starts or stops      -                is tried again
//	57P04 on a standby: its database was  is over          -; later ones get 3D000
//	      dropped
//	57P05 idle_session_timeout            is over          -
//	53300 too many connections            -                is tried again
//	28P01 a wrong password                -                permanent, except with
//	28000 no such role, or not from here  -                BeforeConnect
//	3D000 no such database                -                permanent
//	55000 the database is being dropped   -                is tried again
//	42501 no right to connect             -                permanent
//	22023 a wrong value in RuntimeParams  -                permanent
//	42704 a parameter that is unknown     -                permanent
//
// Permanent is [pools.Permanent]. An idle connection that 57P01 or 57P05 ended
// shows it at the next check or use. With BeforeConnect the next open may have
// another password, so 28P01 and 28000 are tried again. 57P02 comes in a notice,
// if at all, and not in an error: who was using the connection gets an error without a code. While
// a server waits for its last sessions to end (a smart shutdown) these go on, and new
// ones get 57P03.
//
// # Failover
//
// A pool is for writing, unless Options.Replica is true. After a failover some
// connections may lead to a server that takes no writes any more. The first
// 25006 closes its connection and has the others checked; the check closes those
// to a server that is in recovery, or whose default_transaction_read_only was
// turned on after they were opened. So each connection fails at most the one
// use that it is lent to at that time. A 25006 in a transaction that asked for
// READ ONLY itself is that user's own, and closes nothing. A user that SETs
// default_transaction_read_only loses the connection with the 25006.
//
// PostgreSQL 15.18 reports both states (in_hot_standby and
// default_transaction_read_only) without a query; releases before 14 do not
// (documented: libpq, PQparameterStatus). For those, and behind a proxy that passes
// no reports on, Reset asks the server after a 25006, while Open and Check do not
// notice.
//
// With several hosts in the URL, Open goes on to the next one when it meets a hot
// standby, as with target_session_attrs=primary. What target_session_attrs says
// takes precedence: read-write also passes over servers whose
// default_transaction_read_only is on; standby, prefer-standby and read-only need
// Replica as well.
//
// # PgBouncer
//
// Seen with PgBouncer 1.18.0. In session mode a user finds no more of another one's
// session than without it. What differs: PgBouncer's own errors all have the code
// 08P01 (an unknown database, a parameter that it does not take, max_client_conn,
// query_wait_timeout), so none of them is permanent. Version 1.18.0 can crash under
// clients that cancel queries; take 1.19.1 or later, whose changelog has it as fixed.
//
// In transaction mode each transaction may have another session of PostgreSQL: what
// a user SETs stays in one of them, and Reset cleans another one, so it reaches
// other users. Take the Cleaning Rollback there, and have nobody use SET, LISTEN,
// advisory locks of the session, temporary tables and SQL's PREPARE. Set
// DefaultQueryExecMode to QueryExecModeExec or QueryExecModeSimpleProtocol: version
// 1.18.0 does not follow prepared statements, and later ones do from 1.21.0 on if
// max_prepared_statements is not 0 (documented in its changelog).
//
// With another Cleaning pgxconn finds out, if the login shows that a proxy is in
// between: each connection leaves a mark in its session (the parameter
// pgxconn.connection), and Reset looks whether it is in the session of Open
// (pg_backend_pid) and finds no mark of another connection. If not, all connections
// close as they come back, and for a minute Open returns a permanent error that
// says what to do. That is when two connections have used one session, mostly with
// the first uses; what was SET before may have reached others. In session mode it
// never happens, because there a connection ends with its session. Behind a proxy it
// costs a round trip an open, and with Everything two after each use.
//
// RuntimeParams hold in both modes.
package pgxconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
)

// Options say how connections are made and cleaned.
type Options struct {
	// Config is what [pgx.ParseConfig] returned; required. Each Open takes a
	// copy. Put into its RuntimeParams what SET is to say for every user:
	// what AfterConnect sets, Cleaning undoes before the first user comes.
	Config *pgx.ConnConfig

	// BeforeConnect, if not nil, may change the copy: it is the place for
	// passwords that change. After a change Pool.Refresh replaces the
	// connections of before.
	BeforeConnect func(ctx context.Context, config *pgx.ConnConfig) error

	// AfterConnect, if not nil, prepares a new connection: types, and statements,
	// which the Cleaning Everything undoes.
	// It must finish what it begins: with a transaction left open, or rows left
	// unread, Open fails. So it does with a SET that the Cleaning would undo; to
	// find these costs two round trips an open, except with Rollback. LISTEN, SET
	// ROLE, locks and temporary tables are undone without an error.
	AfterConnect func(ctx context.Context, conn *pgx.Conn) error

	// Cleaning is what Reset does beside the rollback; default: Session.
	Cleaning Cleaning

	// Replica says that the pool may read from a hot standby, or from a server
	// that takes no writes: Open accepts one, and a refused write (25006) closes
	// nothing. Default: false, the pool is for writing; then Open returns an error
	// at a hot standby. Neither costs a round trip, except the first reset after a
	// refused write.
	Replica bool

	shared *sharing // of the connector
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
	// stays: register types in AfterConnect, the same for all. So do setseed's
	// seed and dblink's named connections, and a parameter of one's own that was
	// SET (app.tenant) is empty instead of NULL afterwards (PostgreSQL 15.18).
	Session Cleaning = iota

	// Everything is DISCARD ALL: prepared statements go, too, and each user
	// pays for preparing its own.
	Everything

	// Rollback only rolls back, and costs nothing when nothing is open. It is
	// for programs that leave nothing else behind, or only what is the same
	// for all, as pgxpool's do, and for PgBouncer in transaction mode.
	Rollback
)

// The parts of DISCARD ALL, but for DEALLOCATE ALL and DISCARD PLANS. A select in a
// transaction that is serializable, read-only and deferrable by default waits for
// others; this one is not. That of current_user fails when the role was dropped.
const (
	beginning = "begin isolation level read committed; "
	session   = "close all; set session authorization default; reset all; unlisten *; " +
		"select pg_advisory_unlock_all(), current_user, pg_backend_pid(); discard temp; discard sequences; "
)

var errNoConfig = errors.New("pgxconn: Options.Config is nil; give what pgx.ParseConfig returned")

// New makes a connector. It opens nothing; what is wrong with the options is
// the error of the first Open.
func New(o Options) pools.Connector[*pgx.Conn] {
	o.shared = new(sharing)
	c := pools.Connector[*pgx.Conn]{
		Open:   o.open,
		Close:  leave,
		Check:  o.check,
		Peek:   peek,
		Reset:  o.reset,
		Broken: o.broken,
		Abort:  func(conn *pgx.Conn) { lowest(conn).Close() },

		Unfinished: leftOpen,
	}
	if o.Cleaning == Rollback {
		c.Dirty = func(conn *pgx.Conn) bool {
			return conn.PgConn().TxStatus() != outside || lifeOf(conn).doubted
		}
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
	noteLives(config)
	if !o.Replica && config.ValidateConnect == nil {
		config.ValidateConnect = notStandby // pgx goes on to the next host
	}
	shareTime(ctx, config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, o.refused(err)
	}
	lifeOf(conn).reported = o.reports(conn)
	lifeOf(conn).readOnly = conn.PgConn().ParameterStatus(defaultReadOnly)
	prepared := false
	defer func() {
		if !prepared { // or it panics
			_ = leave(ctx, conn)
		}
	}()
	if err := o.writable(conn); err != nil {
		return nil, err
	}
	if o.AfterConnect != nil {
		if err := o.prepare(ctx, conn); err != nil {
			return nil, err
		}
	}
	if err := o.reset(ctx, conn); err != nil {
		return nil, o.uncleaned(err)
	}
	prepared = true
	return conn, nil
}

// prepare calls AfterConnect, and returns an error if it has left what the first
// user must not find, or would not find.
func (o Options) prepare(ctx context.Context, conn *pgx.Conn) error {
	before := settings(ctx, conn, o.Cleaning)
	if err := o.AfterConnect(ctx, conn); err != nil {
		return err
	}
	if err := unfinished(conn); err != nil {
		return err
	}
	if lost := lost(before, settings(ctx, conn, o.Cleaning)); len(lost) > 0 {
		return fmt.Errorf("pgxconn: the cleaning would undo what Options.AfterConnect has SET (%s); put it into Config.RuntimeParams, or set Options.Cleaning to Rollback", strings.Join(lost, ", "))
	}
	return nil
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

// What pgx says of a connection that is in no transaction, and in a failed one.
const (
	outside = 'I'
	failed  = 'E'
)

var (
	errLeftOpen   = errors.New("pgxconn: a transaction was left open, and is rolled back; commit it, or defer its Rollback")
	errLeftFailed = errors.New("pgxconn: a transaction in which a statement had failed was left open, and is rolled back; defer its Rollback")
)

// leftOpen returns an error if a user has left a transaction open.
func leftOpen(conn *pgx.Conn) error {
	switch conn.PgConn().TxStatus() {
	case outside:
		return nil
	case failed:
		return errLeftFailed
	}
	return errLeftOpen
}

func (o Options) reset(ctx context.Context, conn *pgx.Conn) error {
	if err := o.clean(ctx, conn); err != nil {
		return err
	}
	if err := o.stillWritable(ctx, conn); err != nil {
		return err
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

func (o Options) clean(ctx context.Context, conn *pgx.Conn) error {
	l := lifeOf(conn)
	sql := ""
	if conn.PgConn().TxStatus() != outside {
		sql = "rollback; "
	}
	var found []string
	ask := func(sql string) error {
		results, err := query(ctx, conn, sql)
		found = append(found, answered(results)...)
		return err
	}
	switch o.Cleaning {
	case Rollback:
		if sql == "" {
			return nil
		}
		return run(ctx, conn, sql)
	case Everything: // alone: it may not be part of a transaction, as several statements in one message are
		if l.mark != "" {
			sql += beginning + theMark + "commit"
		}
		if sql != "" {
			if err := ask(sql); err != nil {
				return err
			}
		}
		if err := conn.DeallocateAll(ctx); err != nil { // pgx forgets its own, too
			return err
		}
		if err := run(ctx, conn, "discard all"); err != nil {
			return err
		}
		if !l.direct {
			if err := ask(beginning + theSession + l.marks() + "commit"); err != nil {
				return err
			}
		}
	default:
		if err := ask(sql + beginning + l.marked() + session + l.marks() + "commit"); err != nil {
			return err
		}
	}
	if err := o.sameSession(ctx, conn, found); err != nil {
		return err
	}
	return setAgain(ctx, conn)
}

func run(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := query(ctx, conn, sql)
	return err
}

func query(ctx context.Context, conn *pgx.Conn, sql string) ([]*pgconn.Result, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return results, nil
}

// peek returns an error if the server has closed the connection, or has sent what
// nobody asked for.
func peek(conn *pgx.Conn) error {
	if err := netconn.Check(lowest(conn)); err != nil {
		return fmt.Errorf("pgxconn: the server has ended an idle session, or sent something there: %w", err)
	}
	return nil
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

// hijackedAfter is how long pgx may take to close in the background a connection
// that no ctx has cut off, before it counts as hijacked: nothing tells the two
// apart.
const hijackedAfter = time.Second

// leave closes a connection. The network connection of one that is closed already
// is pgx's, or, after pgconn's Hijack, its user's.
func leave(ctx context.Context, conn *pgx.Conn) error {
	if conn.IsClosed() && !cancelled(conn) {
		hijacked := time.NewTimer(hijackedAfter)
		defer hijacked.Stop()
		select {
		case <-conn.PgConn().CleanupDone():
		case <-hijacked.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	}
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
