package load

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
)

// Postgres is a PostgreSQL asked by pgx.
var Postgres = Kind[*pgx.Conn]{
	Connector: func(address string) pools.Connector[*pgx.Conn] {
		return pools.Connector[*pgx.Conn]{
			Open: func(ctx context.Context) (*pgx.Conn, error) {
				return pgx.Connect(ctx, "postgres://"+engine.PostgresUser+"@"+address+"/postgres?sslmode=disable")
			},
			// A connection that was given up closes itself in the
			// background, and takes its time; until then the server counts it.
			Close: func(ctx context.Context, conn *pgx.Conn) error {
				err := conn.Close(ctx)
				select {
				case <-conn.PgConn().CleanupDone():
				case <-ctx.Done():
					conn.PgConn().Conn().Close()
				}
				return err
			},
			Check: func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) },
			Broken: func(conn *pgx.Conn, err error) bool {
				return conn.IsClosed() || conn.PgConn().IsBusy() || err != nil
			},
			Abort: func(conn *pgx.Conn) { conn.PgConn().Conn().Close() },
		}
	},
	Ask: func(ctx context.Context, conn *pgx.Conn, number int64) (answer int64, err error) {
		err = conn.QueryRow(ctx, "select $1::bigint", number).Scan(&answer)
		return answer, err
	},
}
