package main

import (
	"context"
	"runtime"

	"github.com/utopia-go/pools/internal/engine"
)

// connections is the Size of each pool, and what a server grants beside it for the
// tests' own.
const connections = 80

// suite is the tests of one package.
type suite struct {
	name   string
	module string // with its version; none: the standard library's database/sql
	folder string // of the package in the module
	server func(ctx context.Context, limit int) (*engine.Engine, error)
	env    func(ctx context.Context, e *engine.Engine) ([]string, error)
	args   []string        // of the test binary
	own    map[string]edit // by the file
	skip   []string        // tests that do not run in either run
	cannot reasons
}

func (s suite) what() string {
	if s.module == "" {
		return runtime.Version()
	}
	return s.module
}

// variables returns one variable for the server's address.
func variables(f func(address string) []string) func(context.Context, *engine.Engine) ([]string, error) {
	return func(_ context.Context, e *engine.Engine) ([]string, error) {
		if e == nil {
			return f(""), nil
		}
		return f(e.Address), nil
	}
}

func mariaDSN(address, options string) string { return "root@tcp(" + address + ")/app" + options }

func postgresDSN(address string) string { return engine.PostgresURL("postgres", address) }

var all = []suite{
	{name: "sql", own: map[string]edit{"sql_test.go": {`\*fakeConn|\*ctxOnlyConn`, "Own"}}, cannot: internals},
	{name: "mysql", module: "github.com/go-sql-driver/mysql@v1.10.1", server: engine.MariaDB,
		own: map[string]edit{"driver_test.go": {`\*mysqlConn|driver\.Execer|driver\.Queryer`, "sql.Own"}},
		env: variables(func(address string) []string {
			return []string{"MYSQL_TEST_ADDR=" + address, "MYSQL_TEST_USER=root", "MYSQL_TEST_DBNAME=app", "MYSQL_TEST_CONCURRENT=1"}
		}),
		skip: []string{"TestConnectorReturnsTimeout"}, // dials an address elsewhere
		cannot: reasons{
			"TestConcurrent":                   sometimes + otherError,
			"TestConnectorObeysDialTimeouts":   callersCtx,
			"TestConnectorTimeoutsDuringOpen":  callersCtx,
			"TestConnectorTimeoutsWatchCancel": callersCtx,
			"TestExecMultipleResults":          leftOpen,
			"TestQueryMultipleResults":         leftOpen,
			"TestDialNonRetryableNetErr":       otherError,
			"TestDialTemporaryNetErr":          otherError,
			"TestDialUnknownError":             otherError,
		}},
	{name: "pgx", module: "github.com/jackc/pgx/v5@v5.13.0", folder: "stdlib", server: engine.Postgres,
		own: map[string]edit{"sql_test.go": {`\*stdlib\.Conn`, "sql.Own"}},
		env: variables(func(address string) []string { return []string{"PGX_TEST_DATABASE=" + postgresDSN(address)} }),
		cannot: reasons{
			"TestCheckIdleConn":                       counts,
			"TestConnMultiplePrepareAndDeallocate":    prepared,
			"TestConnQueryDifferentScanPlansIssue781": leftOpen,
			"TestOptionBeforeAfterConnect":            counts,
			"TestRowsColumnTypeLength":                leftOpen,
			"TestConnRaw":                             leftOpen,
			"TestStmtExec":                            leftOpen,
			"TestRowsColumnTypes":                     leftOpen,
		}},
	{name: "sqlx-mariadb", module: "github.com/jmoiron/sqlx@v1.4.0", server: engine.MariaDB,
		env: variables(func(address string) []string {
			return []string{"SQLX_SQLITE_DSN=:memory:", "SQLX_POSTGRES_DSN=skip", "SQLX_MYSQL_DSN=" + mariaDSN(address, "?parseTime=true")}
		})},
	{name: "sqlx-postgres", module: "github.com/jmoiron/sqlx@v1.4.0", server: engine.Postgres,
		env: variables(func(address string) []string {
			return []string{"SQLX_SQLITE_DSN=skip", "SQLX_MYSQL_DSN=skip", "SQLX_POSTGRES_DSN=" + postgresDSN(address)}
		})},
	{name: "gorm-mariadb", module: "gorm.io/datatypes@v1.2.7", server: engine.MariaDB,
		env: variables(func(address string) []string {
			return []string{"GORM_DIALECT=mysql", "GORM_DSN=" + mariaDSN(address, "?charset=utf8&parseTime=True&loc=UTC")}
		})},
	{name: "gorm-postgres", module: "gorm.io/datatypes@v1.2.7", server: engine.Postgres,
		env: variables(func(address string) []string {
			return []string{"GORM_DIALECT=postgres", "GORM_DSN=" + postgresDSN(address)}
		})},
	{name: "gorm-sqlite", module: "gorm.io/datatypes@v1.2.7"},
	{name: "ent", module: "entgo.io/ent@v0.14.5", folder: "dialect/sql"},
	{name: "ent-schema", module: "entgo.io/ent@v0.14.5", folder: "dialect/sql/schema"},
	{name: "ent-graph", module: "entgo.io/ent@v0.14.5", folder: "dialect/sql/sqlgraph"},
}

// Why tests of database/sql itself cannot pass.
const (
	free     = "it asks a free connection of database/sql how often the driver has prepared something; with a pool these hold none of the driver's"
	counts   = "it counts database/sql's connections and those that it closes; with a pool its limits and lifetimes are the pool's"
	prepared = "it expects that each use prepares its statement, or closes it; the pool keeps statements"
	tooLong  = hanging + "it waits for database/sql to close connections, and with a pool their lifetimes are the pool's"
)

var internals = reasons{
	"TestConnIsValid":                 "it keeps the driver's connection beyond its use",
	"TestConnMaxLifetime":             tooLong,
	"TestDriverPanic":                 prepared,
	"TestErrBadConnReconnect":         prepared,
	"TestIssue6081":                   "each connection says driver.ErrBadConn at its first use; the pool says so, and opens fewer",
	"TestManyErrBadConn":              counts,
	"TestMaxIdleTime":                 counts,
	"TestMaxOpenConns":                counts,
	"TestMaxOpenConnsOnBusy":          counts,
	"TestMultiResultSetQuery":         free,
	"TestOpenConnector":               "it looks at the connector of the *sql.DB, which is the pool's",
	"TestParentStmtOutlivesTxStmt":    free,
	"TestPendingConnsAfterErr":        "it compares the error of an open with ==; the pool's wraps it",
	"TestQuery":                       free,
	"TestQueryContext":                free,
	"TestQueryContextWait":            free,
	"TestQueryNamedArg":               free,
	"TestQueryRowClosingStmt":         free,
	"TestStatsMaxIdleClosedTen":       counts,
	"TestStmtCloseDeps":               tooLong,
	"TestTxCannotCommitAfterRollback": "it looks into the driver's transaction, which is wrapped",
	"TestTxStmtClosedRePrepares":      free,
	"TestTxStmtFromTxStmtRePrepares":  free,
	"TestTxStmtPreparedOnce":          free,
}

// Why tests of drivers cannot pass.
const (
	callersCtx = "it expects the caller's ctx in Connect; the pool opens with its own, and may open for another caller"
	otherError = "it compares the error of an open with == or by its type; the pool's wraps it"
)

const leftOpen = hanging + "it leaves Rows or a Conn open, for which Close of the *sql.DB waits 30 s"
