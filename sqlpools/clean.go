package sqlpools

import (
	"context"
	"database/sql/driver"
)

// CleanPostgres is an Options.Clean for PostgreSQL. It takes one round trip, and about
// 50 µs more than a SELECT 1 over loopback (PostgreSQL 15.18, pgx v5.13.0, lib/pq
// v1.12.3; two shared cores).
//
// It ends LISTEN, advisory locks of the session, cursors, temporary tables, the values
// of lastval and currval, and what SET, SET ROLE and SET SESSION AUTHORIZATION have set:
// what the connection string sets holds again.
//
// It leaves prepared statements: this package's, the driver's, and those of SQL's
// PREPARE. A parameter with a name of your own (SET app.tenant) is empty afterwards
// instead of unknown. The seed of setseed stays. A connection
// that has written in a transaction which is still open is closed; this package has
// rolled back the transactions that it knows of.
func CleanPostgres(ctx context.Context, conn driver.Conn) error {
	return Exec(ctx, conn, cleanPostgres)
}

// A simple query, which is how drivers send a text without arguments, may have several
// statements. The transaction is not serializable, read-only and deferrable even if
// that is the default, because a select would then wait for others.
const cleanPostgres = "begin isolation level read committed; set session authorization default; reset all; " +
	nothingWritten + "close all; unlisten *; select pg_advisory_unlock_all(); discard temp; discard sequences; commit"

// The commit must not commit what a user has left, so a division by zero comes before.
const nothingWritten = "select 1 / (txid_current_if_assigned() is null)::int; "

// CleanMariaDB is an Options.Clean for MariaDB. It takes one round trip, and about
// 170 µs more than a SELECT 1 over loopback (MariaDB 10.11.19, go-sql-driver/mysql
// v1.10.1; two shared cores). It needs no privilege. Do not use it with MySQL, which has no BEGIN NOT
// ATOMIC: each use would cost a connection.
//
// It rolls back, sets autocommit to 1, and ends LOCK TABLES, the locks of GET_LOCK, and
// user variables.
//
// It leaves temporary tables, what PREPARE has prepared, the database of USE, and
// session variables that were SET, such as sql_mode, time_zone, foreign_key_checks and
// the isolation level of the session: SQL can end these only by their names. (The
// protocol's COM_RESET_CONNECTION could end all but USE, but the driver has no call for
// it.) If your program uses some of them, end them in a function of your own:
//
//	func(ctx context.Context, conn driver.Conn) error {
//		if err := sqlpools.CleanMariaDB(ctx, conn); err != nil {
//			return err
//		}
//		return sqlpools.Exec(ctx, conn, "set foreign_key_checks = default, time_zone = default")
//	}
//
// A connection whose user has SET sql_mode to ORACLE is closed, because compound
// statements have another syntax then.
func CleanMariaDB(ctx context.Context, conn driver.Conn) error {
	return Exec(ctx, conn, cleanMariaDB)
}

// UNLOCK TABLES is not allowed in there; START TRANSACTION does it. FLUSH
// USER_VARIABLES would need the privilege RELOAD. The quotes mean the same in every
// sql_mode.
const cleanMariaDB = "begin not atomic " +
	"rollback; set session autocommit = 1; start transaction; rollback; do release_all_locks(); " +
	"for v in (select variable_name n from information_schema.user_variables where variable_value is not null) do " +
	"execute immediate concat('set @`', replace(v.n, '`', '``'), '` = null'); " +
	"end for; end"
