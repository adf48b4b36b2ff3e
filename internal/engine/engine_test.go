package engine_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools/internal/engine"
)

// Every engine can be killed and comes back, hangs and goes on, counts its
// clients and ends them.
func TestEngines(t *testing.T) {
	for name, start := range map[string]struct {
		engine func(context.Context, int) (*engine.Engine, error)
		dial   func(ctx context.Context, address string) (ask func() error, err error)
	}{
		"redis": {engine.Redis, func(ctx context.Context, address string) (func() error, error) {
			conn, err := redis.DialContext(ctx, "tcp", address)
			return func() error { _, err := conn.Do("PING"); return err }, err
		}},
		"postgres": {engine.Postgres, func(ctx context.Context, address string) (func() error, error) {
			conn, err := pgx.Connect(ctx, engine.PostgresURL(engine.PostgresUser, address))
			return func() error { return conn.Ping(ctx) }, err
		}},
		"mariadb": {engine.MariaDB, func(ctx context.Context, address string) (func() error, error) {
			connector, err := mysql.NewConnector(engine.MariaDBConfig(engine.MariaDBUser, address))
			if err != nil {
				return nil, err
			}
			conn, err := connector.Connect(ctx)
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { conn.Close() })
			return func() error { return conn.(driver.Pinger).Ping(ctx) }, nil
		}},
		"rabbitmq": {func(ctx context.Context, _ int) (*engine.Engine, error) { return engine.RabbitMQ(ctx) }, func(_ context.Context, address string) (func() error, error) {
			conn, err := amqp.Dial("amqp://guest:guest@" + address)
			if err != nil {
				return nil, err
			}
			ch, err := conn.Channel()
			return func() error { return ch.ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil) }, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e, err := start.engine(ctx, 5)
			engine.Need(t, e, err)
			dial := func() func() error {
				ask, err := start.dial(ctx, e.Address)
				if err != nil {
					t.Fatal(err)
				}
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				return ask
			}
			must := func(err error) {
				if err != nil {
					t.Helper()
					t.Fatal(err)
				}
			}
			has := func(want int) {
				t.Helper()
				must(engine.Eventually(ctx, func() error {
					if n, err := e.Connections(ctx); err != nil || n != want {
						return fmt.Errorf("%d clients, want %d: %v", n, want, err)
					}
					return nil
				}))
			}

			a, b := dial(), dial()
			has(2)
			must(e.Terminate(ctx, 1))
			has(1)
			if errA, errB := a(), b(); (errA == nil) == (errB == nil) {
				t.Fatalf("one of two is to be ended: %v, %v", errA, errB)
			}

			must(e.Kill())
			if a() == nil || b() == nil {
				t.Fatal("it answers, and was killed")
			}
			must(e.Start(ctx))
			has(0)

			c := dial()
			must(e.Stop())
			answered := make(chan error, 1)
			go func() { answered <- c() }()
			select {
			case err := <-answered:
				t.Fatalf("it answers, and was stopped: %v", err)
			case <-time.After(50 * time.Millisecond): // nothing to wait for: it is to be silent
			}
			must(e.Continue())
			must(<-answered)
			has(1)
		})
	}
}

// A server counts what it did, beside us.
func TestTotals(t *testing.T) {
	for name, start := range map[string]func(context.Context, int) (*engine.Engine, error){"redis": engine.Redis, "postgres": engine.Postgres} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e, err := start(ctx, 5)
			engine.Need(t, e, err)
			before, err := e.Totals(ctx)
			if err != nil {
				t.Fatal(err)
			}
			const asked = 100
			if name == "redis" {
				conn, err := redis.DialContext(ctx, "tcp", e.Address)
				if err != nil {
					t.Fatal(err)
				}
				for range asked {
					if _, err := conn.Do("PING"); err != nil {
						t.Fatal(err)
					}
				}
				conn.Close()
			} else {
				conn, err := pgx.Connect(ctx, engine.PostgresURL(engine.PostgresUser, e.Address))
				if err != nil {
					t.Fatal(err)
				}
				for range asked {
					if err := conn.Ping(ctx); err != nil {
						t.Fatal(err)
					}
				}
				conn.Close(ctx)
			}
			if err := engine.Eventually(ctx, func() error {
				after, err := e.Totals(ctx)
				if err != nil {
					return err
				}
				// How often this asks is in there, too.
				if n := after.Sessions - before.Sessions; n != 1 || after.Served-before.Served < asked {
					return fmt.Errorf("%d sessions and %d served, want 1 and at least %d", n, after.Served-before.Served, asked)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
