package servers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
	"github.com/utopia-go/pools/pgxconn"
	"github.com/utopia-go/pools/redisconn"
)

// redisBy asks by redisconn, with TLS if it is not nil.
func redisBy(config *tls.Config) load.Kind[*redisconn.Conn] {
	ask := func(ctx context.Context, conn *redisconn.Conn, number int64) (int64, error) {
		return redis.Int64(conn.DoContext(ctx, "ECHO", number))
	}
	return load.Kind[*redisconn.Conn]{
		Connector: func(address string) pools.Connector[*redisconn.Conn] {
			return redisconn.New(redisconn.Options{Address: address, TLS: config})
		},
		Ask: ask,
		Work: func(ctx context.Context, conn *redisconn.Conn, number int64, takes time.Duration) (int64, error) {
			if _, err := conn.DoContext(ctx, "BLPOP", "nothing", takes.Seconds()); err != nil && !errors.Is(err, redis.ErrNil) {
				return 0, err
			}
			return ask(ctx, conn, number)
		},
	}
}

// A proxy before the server ends connections that are idle for longer than it
// likes. Each test logs lines of figures, which docs/TESTING.md quotes:
//
//	go test -count=1 -v -run '^TestIdle' ./internal/servers | grep figures
const (
	proxyIdle  = time.Second // Debian's HAProxy has 50 s, and CheckAfter is 5 s by default: here both are shorter
	checkAfter = proxyIdle / 10
	idlePause  = 3 * time.Second // two looks of the keeper, after which Peek is asked, and some
)

func TestIdleHAProxyPostgres(t *testing.T) {
	t.Parallel()
	e, err := engine.Postgres(t.Context(), 3*size)
	engine.Need(t, e, err)
	p, err := engine.HAProxy(t.Context(), e.Address, proxyIdle)
	idle(t, engine.Need(t, p, err), "PostgreSQL", load.Postgres)
}

func TestIdleHAProxyRedis(t *testing.T) {
	t.Parallel()
	e, err := engine.Redis(t.Context(), 3*size)
	engine.Need(t, e, err)
	p, err := engine.HAProxy(t.Context(), e.Address, proxyIdle)
	idle(t, engine.Need(t, p, err), "Redis", redisBy(nil))
}

func TestIdleStunnelRedis(t *testing.T) {
	t.Parallel()
	e, err := engine.Redis(t.Context(), 3*size)
	engine.Need(t, e, err)
	_, roots, cert, key := engine.SelfSigned(t, "stunnel")
	p, err := engine.Stunnel(t.Context(), e.Address, cert, key, proxyIdle)
	idle(t, engine.Need(t, p, err), "Redis", redisBy(&tls.Config{RootCAs: roots}))
}

// idle has users come in bursts, between which the proxy ends every connection.
func idle[T comparable](t *testing.T, p *engine.Engine, server string, kind load.Kind[T]) {
	for _, test := range []struct {
		name     string
		settings pools.Settings
		most     int // users that fail
	}{
		{"without checks", pools.Settings{CheckAfter: pools.Never}, size}, // the keeper may be late once
		{"with CheckAfter", pools.Settings{CheckAfter: checkAfter}, 0},
		{"with KeepAlive", pools.Settings{CheckAfter: checkAfter, KeepAlive: proxyIdle / 3}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.settings.Size = size
			a := newAsking(t, p.Address, kind, test.settings)
			burst := func() (failed int) {
				var all sync.WaitGroup
				var mu sync.Mutex
				for range size {
					all.Go(func() {
						if !a.ask(20*time.Second, proxyIdle/20) {
							mu.Lock()
							failed++
							mu.Unlock()
						}
					})
				}
				all.Wait()
				return failed
			}
			for range 3 { // opens all
				if n := burst(); n > 0 {
					t.Fatalf("nothing is wrong yet, and %d fail: %v", n, a.lastError())
				}
			}
			idleRounds := 5
			if testing.Short() {
				idleRounds = 2
			}
			opened, failed := a.pool.Stats().Opened, 0
			for range idleRounds {
				time.Sleep(idlePause)
				failed += burst()
			}
			t.Logf("figures: %s before %s, which ends what is idle for %v, %s: %d of %d users got an error, %d connections were opened meanwhile",
				p.Name, server, proxyIdle, test.name, failed, idleRounds*size, a.pool.Stats().Opened-opened)
			if failed > test.most {
				t.Errorf("%d of %d users got an error, at most %d may: %v", failed, idleRounds*size, test.most, a.lastError())
			}
		})
	}
}

// A PgBouncer is killed under load and started again. Each test logs a line of
// figures, which docs/TESTING.md quotes:
//
//	go test -count=1 -v -run '^TestPgBouncer' ./internal/servers | grep figures
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			server, err := engine.Postgres(ctx, 5*size)
			engine.Need(t, server, err)
			if _, err := server.Connections(ctx); err != nil { // makes the role
				t.Fatal(err)
			}
			b, err := engine.PgBouncer(ctx, server.Address, mode)
			engine.Need(t, b, err)
			kind := load.Postgres
			if mode == "transaction" {
				kind.Connector = func(address string) pools.Connector[*pgx.Conn] {
					config, err := pgx.ParseConfig(engine.PostgresURL(engine.PostgresUser, address))
					if err != nil {
						t.Fatal(err)
					}
					config.DefaultQueryExecMode = pgx.QueryExecModeExec
					return pgxconn.New(pgxconn.Options{Config: config, Cleaning: pgxconn.Rollback})
				}
			}
			l, err := load.New(b.Name, b.Address, kind, settings, 2*time.Second, func(what string) { t.Error(what) })
			if err != nil {
				t.Fatal(err)
			}
			const some = 500
			answers := func(what string) (took time.Duration, faults int64) {
				t.Helper()
				began, want, failed := time.Now(), l.Answers.Load()+some, l.Errors.Load()
				if err := engine.Eventually(ctx, func() error {
					if got := l.Answers.Load(); got < want {
						return fmt.Errorf("%d answers are missing, %v", want-got, l.Last())
					}
					return nil
				}); err != nil {
					t.Errorf("%s: %v; %+v", what, err, l.Pool.Stats())
				}
				return time.Since(began), l.Errors.Load() - failed
			}
			l.Start(askers)
			usual, failed := answers("before")
			if failed > 0 {
				t.Errorf("nothing is wrong yet, and %d fail: %v", failed, l.Last())
			}
			failures, refused := l.Errors.Load(), l.Refused.Load()
			if err := b.Kill(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-time.After(500 * time.Millisecond): // the load goes on meanwhile
			case <-ctx.Done():
			}
			if err := b.Start(ctx); err != nil {
				t.Fatal(err)
			}
			again, _ := answers("after")
			failures, refused = l.Errors.Load()-failures, l.Refused.Load()-refused
			_, rest := answers("in the end")
			l.Stop()
			t.Logf("figures: PgBouncer in %s mode, killed and restarted half a second later: %d answers took %v before and %v after; %d users lost a connection, %d got none, %d of the next %d failed",
				mode, some, usual.Round(time.Millisecond), again.Round(time.Millisecond), failures-refused, refused, rest, some)
			if n := failures - refused; n > size {
				t.Errorf("%d users lost a connection of %d: %v", n, size, l.Last())
			}
			if rest > 0 {
				t.Errorf("all is well again, and %d fail: %v", rest, l.Last())
			}
			if err := load.AtRest(ctx, l.Pool); err != nil {
				t.Error(err)
			}
			if err := l.Pool.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
