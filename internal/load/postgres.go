package load

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/pgxconn"
)

// Postgres is a PostgreSQL asked by pgx.
var Postgres = Kind[*pgx.Conn]{
	Connector: func(address string) pools.Connector[*pgx.Conn] {
		config, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, address))
		if err != nil {
			panic(err) // the engine's address is none
		}
		return pgxconn.New(pgxconn.Options{Config: config})
	},
	Ask: func(ctx context.Context, conn *pgx.Conn, number int64) (answer int64, err error) {
		err = conn.QueryRow(ctx, "select $1::bigint", number).Scan(&answer)
		return answer, err
	},
	Work: func(ctx context.Context, conn *pgx.Conn, number int64, takes time.Duration) (answer int64, err error) {
		err = conn.QueryRow(ctx, "select $1::bigint from pg_sleep($2::float8)", number, takes.Seconds()).Scan(&answer)
		return answer, err
	},
}
