// Package sqls tests sqlpools on real databases: MariaDB, PostgreSQL and SQLite, by
// the drivers that most programs use.
package sqls
