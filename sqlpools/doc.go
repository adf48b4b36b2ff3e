// Package sqlpools puts a [pools.Pool] under a [sql.DB]: one line more, and
// everything that uses the *sql.DB, an ORM too, waits in FIFO order and with a
// timeout, is served by a pool that survives overload and outages, and can be
// looked into, refreshed, paused and drained.
//
//	db, pool, err := sqlpools.OpenDB("orders", connector, pools.Settings{Size: 10}, sqlpools.Options{})
//	db, pool, err := sqlpools.Open("orders", "mysql", dsn, pools.Settings{Size: 10}, sqlpools.Options{})
//
// # How it works
//
// The *sql.DB gets a [driver.Connector] whose connections are logical ones: each takes
// a connection of the pool when a use begins (Connect, ResetSession), and gives it back
// when the use has ended (IsValid). What database/sql keeps between two uses holds
// nothing. Callers wait in the pool's queue, with their own ctx.
//
//   - A connection whose driver says [driver.ErrBadConn], or that it is not valid
//     ([driver.Validator]), is closed and the other idle ones are checked before they
//     are lent again. A driver without a Validator cannot say so: its connections are
//     closed after the errors of [pools.Breaks], too.
//   - The driver's ResetSession is called before a connection is used again, as
//     database/sql does. It may cost a round trip; that is the driver's choice.
//   - An idle connection is checked by the driver's Ping after Settings.CheckAfter.
//   - Errors of Connect are [pools.PopError]s. database/sql does not try again after
//     them, even if the server's own error was a driver.ErrBadConn. They wrap the
//     driver's: compare them by errors.Is and errors.As, not by == or a type assertion.
//   - If a wait was in vain (WaitTimeout, the end of ctx), [sql.DB.Conn] may return no
//     error; then the first method of the [sql.Conn] returns it. All other methods of the
//     *sql.DB return it themselves.
//   - The pool opens connections with its own ctx, within Settings.OpenTimeout, and
//     may lend one to another caller than the one for whom it opened it. Values and the
//     deadline of the caller's ctx do not reach the driver's Connect or its dialer.
//   - db.Close closes the pool, and waits for holders up to 30 s; use the pool's Close
//     first if you want another deadline.
//
// # Transactions
//
// A transaction that was begun by a statement (BEGIN, START TRANSACTION) and not ended
// by one (COMMIT, ROLLBACK, END) is rolled back before the next user gets the
// connection; database/sql alone hands it on. It is logged, counted in
// Stats().Unfinished and told as [pools.EventUnfinished]. Statements are recognised by their first word, so a
// transaction that begins otherwise (autocommit off) needs Options.Clean. A *sql.Tx
// holds its connection until it ends, and Close of its *sql.Conn waits for that: one
// that is forgotten is a leak ([pools.Settings].LeakAfter).
//
// When the ctx of a *sql.Tx ends, database/sql rolls it back. MySQL's driver keeps the
// connection if no statement was running; pgx does not, and lib/pq mostly does not.
//
// # What one user leaves for the next
//
// "left": the next user of the connection finds it. With [CleanMariaDB] or
// [CleanPostgres] as Options.Clean, which take one round trip each in the background:
//
//	MariaDB 10.11.19, go-sql-driver/mysql v1.10.1   without   with Clean
//	BEGIN, START TRANSACTION                        ended     ended
//	autocommit = 0, and an open transaction by it   left      ended
//	user variables, GET_LOCK, LOCK TABLES           left      ended
//	temporary tables, PREPARE, USE                  left      left
//	SET of sql_mode, time_zone, isolation level     left      left
//
//	PostgreSQL 15.18, pgx v5.13.0 or lib/pq v1.12.3
//	BEGIN, START TRANSACTION, also after an error   ended     ended
//	SET (search_path too), SET ROLE                 left      ended
//	temporary tables, WITH HOLD, lastval            left      ended
//	advisory locks, LISTEN                          left      ended
//	PREPARE                                         left      left
//
//	SQLite, modernc.org/sqlite v1.62.0
//	BEGIN                                           ended
//	SAVEPOINT outside of a transaction              left
//	PRAGMA, temporary tables, ATTACH                left
//
// # Prepared statements
//
// Each connection keeps the statements that were prepared on it (Options.Statements),
// the least recently used ones go. That serves db.Prepare, whose statements belong to
// logical connections, and also queries with arguments of drivers that prepare each of
// them, such as MySQL's. After an error a statement is not kept. When the server has
// forgotten a statement (SQLSTATE 26000, MySQL's error 1243), or its columns have
// changed (SQLSTATE 0A000), it is prepared and run once more. PostgreSQL refuses that
// in a transaction, so a statement of tx.Prepare is always a new one.
//
// A prepared statement keeps the database and the sql_mode of its time (MariaDB
// 10.11.19). After USE, SET, PRAGMA, ATTACH, EXECUTE or Raw, texts are prepared anew on
// this connection; not after SET LOCAL, SET TRANSACTION, SET ROLE, SET search_path and
// SET @name, after which a text means what it did, or the server prepares it anew by
// itself. A procedure that changes such things unseen needs Options.Statements -1.
//
// # Connections that the server has ended
//
// MySQL's driver looks at the socket before each use, so nobody gets an error when the
// server has ended idle connections. pgx pings only what was idle for a second, and
// lib/pq does not look: the users that meet such a connection at the same moment get an
// error, and then the other idle connections are checked. (Without this package each
// of pgx's connections costs an error.) Settings.CheckAfter Always
// avoids these errors, at one round trip for each use.
//
// When a connection ends while an answer is awaited, lib/pq says [driver.ErrBadConn], and
// database/sql runs the statement again, with and without this package: an INSERT
// outside of a transaction may be carried out twice. pgx and MySQL's driver return an
// error instead.
//
// # Interrupting
//
// [pools.Pool.RevokeAll] ends statements that run if Options.Abort closes the network
// connection below the driver's. pgx leads to it:
//
//	conn.(*stdlib.Conn).Conn().PgConn().Conn().Close()
//
// For other drivers, wrap the connector: its Connect passes a ctx with a place for the
// network connection, and your dialer (mysql.Config.DialFunc, pq.Connector.Dialer)
// fills it. The server may go on with the statement.
//
// lib/pq does not give up when a ctx ends and the server is silent: it asks the server to
// cancel, and waits. Its users then wait for the network or for Abort. Its opens take a
// connect_timeout; checks and cleanings that hang are left behind (Stats().Hung).
//
// # SQLite
//
// Each connection to ":memory:" is a database of its own, which ends with it: set Size
// to 1, and MaxLifetime and IdleTimeout to [pools.Never]. A Refresh ends it, too.
//
// A file has one writer at a time; a second one gets SQLITE_BUSY at once. Set Size to 1,
// so that users wait in the pool, or let them wait in SQLite with
// "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate". Without
// _txlock=immediate a transaction that reads and then writes still gets SQLITE_BUSY
// when another one wrote in between.
//
// # What to set, and what not
//
// The pool has Size, lifetimes and waiting. Of the *sql.DB's own settings,
// SetMaxIdleConns, SetConnMaxIdleTime and SetConnMaxLifetime concern logical
// connections, which cost some hundred bytes and hold nothing: OpenDB has Size of them
// kept, and with fewer a use costs up to 3 µs more. SetMaxOpenConns makes callers wait
// in database/sql before they wait here, in random order and without WaitTimeout. After
// an error one goroutine of database/sql opens for all of them, one after the other and
// without their ctx, so that one that waits for the pool holds up all others, for up to
// Settings.WaitTimeout; and no logical connection is kept, which costs up to 3 µs a use.
// Leave it at 0, and set Size.
//
// db.Stats counts logical connections: InUse is how many callers have a connection or
// wait for one, Idle and OpenConnections are no connections of the server's, and
// WaitCount, WaitDuration and the closed ones mean nothing. Use the pool's Stats.
//
// # The driver's own connection
//
// What [sql.Conn.Raw] passes to its function is this package's. [Raw] and [Unwrap]
// reach the driver's.
//
// A [sql.Result] is asked outside of the lock of the connection that it came from, which
// may have its next user by then. That is right for drivers whose results are values, as
// those of the drivers above are.
//
// # Cost
//
// An Exec costs some 0.4 µs and no allocation more than on a *sql.DB without a pool
// below (BenchmarkExec, 2 cores). One that has waited costs three allocations more. A
// crowd is served in order, and not the goroutine that happens to run: 64 goroutines on
// 10 connections, which leave the processors no pause, get 0.84 to 0.97 of the queries a
// second, and their p99 is 0.6 to 0.8 of database/sql's (go run ./bench -only sql). The
// functions of this package are safe for concurrent use.
package sqlpools
