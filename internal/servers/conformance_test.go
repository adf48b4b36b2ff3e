package servers

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
	"github.com/utopia-go/pools/internal/proxy"
	"github.com/utopia-go/pools/poolstest"
)

// The connectors that the load is made of keep what they promise, with the
// real servers.
func TestRedisConnector(t *testing.T)    { conforms(t, engine.Redis, load.Redis, nil) }
func TestPostgresConnector(t *testing.T) { conforms(t, engine.Postgres, load.Postgres, sleeps) }

func conforms[T comparable](t *testing.T, start func(context.Context, int) (*engine.Engine, error), kind load.Kind[T], block func(T) error) {
	e, err := start(t.Context(), clients)
	engine.Need(t, e, err)
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[T] {
		p, err := proxy.Start(e.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return poolstest.Subject[T]{
			Connector: kind.Connector(p.Address),
			Use:       func(ctx context.Context, conn T) error { _, err := kind.Ask(ctx, conn, 1); return err },
			Kill: func(T) {
				if err := e.Terminate(t.Context(), clients); err != nil {
					t.Error(err)
				}
			},
			IsOpen: func() int {
				n, err := e.Connections(t.Context())
				if err != nil {
					t.Error(err)
				}
				return n
			},
			Silence: func() func() { p.Stall(); return p.Resume },
			Block:   block,
		}
	})
}

// sleeps is a query that takes long.
func sleeps(conn *pgx.Conn) error {
	_, err := conn.Exec(context.Background(), "select pg_sleep(60)")
	return err
}
