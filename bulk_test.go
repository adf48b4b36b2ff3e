package pools_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// crowd is a pool with many connections or waiters, and what an event needs.
type crowd struct {
	t      *testing.T
	pool   *pools.Pool[resource]
	server *poolstest.Server
	n      int
	held   []pools.Conn[resource]
}

// hold opens the connections, and holds all but so many of them.
func (c *crowd) hold(idle int) {
	if err := c.pool.Fill(c.t.Context(), c.n); err != nil {
		c.t.Fatal(err)
	}
	for range c.n - idle {
		conn, err := c.pool.Pop(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		c.held = append(c.held, conn)
	}
}

// wait has so many Pops wait.
func (c *crowd) wait(ctx context.Context, n int) {
	for range n {
		go func() {
			if conn, err := c.pool.Pop(ctx); err == nil {
				_ = conn.Push()
			}
		}()
	}
	synctest.Wait()
}

func (c *crowd) must(err error, allowed ...error) {
	for _, a := range allowed {
		if errors.Is(err, a) {
			return
		}
	}
	if err != nil {
		c.t.Helper()
		c.t.Error(err)
	}
}

// What one event visits under the lock does not grow with the number of slots,
// calls or waiters; bulk work goes in slices.
func TestVisits(t *testing.T) {
	const few, slice = 100, 128
	many := 16_000
	if testing.Short() || raceDetector {
		many = 1_000
	}
	events := []struct {
		name   string
		bulk   bool
		change func(n int, s *pools.Settings)
		before func(c *crowd)
		event  func(c *crowd)
	}{
		{"push after Close", false, nil,
			func(c *crowd) {
				c.hold(0)
				go c.pool.Close(context.Background())
				synctest.Wait()
			},
			func(c *crowd) { c.must(c.held[c.n/2].Push()) }},
		{"broken, the others held", false, nil, func(c *crowd) { c.hold(0) },
			func(c *crowd) { c.must(c.held[c.n/2].PushErr(io.EOF)) }},
		{"broken, the others idle", true, nil, func(c *crowd) { c.hold(c.n - 1) },
			func(c *crowd) { c.must(c.held[0].PushErr(io.EOF)) }},
		{"push, shrunk", false, nil,
			func(c *crowd) {
				c.hold(0)
				c.must(c.pool.Configure(func(s *pools.Settings) { s.Size = 1 }))
			},
			func(c *crowd) { c.must(c.held[c.n/2].Push()) }},
		{"ended ctx", false, nil, func(c *crowd) { c.hold(0) },
			func(c *crowd) {
				ctx, cancel := context.WithCancel(c.t.Context())
				cancel()
				_, err := c.pool.Pop(ctx)
				c.must(err, context.Canceled)
			}},
		{"refused, crowded", false,
			func(n int, s *pools.Settings) { s.MaxWaiting = n },
			func(c *crowd) { c.hold(0); c.wait(c.t.Context(), c.n) },
			func(c *crowd) {
				_, err := c.pool.Pop(c.t.Context())
				c.must(err, pools.ErrTooManyWaiting)
			}},
		{"cancelled wait", false, nil, func(c *crowd) { c.hold(0); c.wait(c.t.Context(), c.n) },
			func(c *crowd) {
				ctx, cancel := context.WithTimeout(c.t.Context(), time.Microsecond)
				defer cancel()
				_, err := c.pool.Pop(ctx)
				c.must(err, context.DeadlineExceeded)
			}},
		{"push past waiters whose ctx has ended", true, nil,
			func(c *crowd) {
				c.hold(0)
				ctx, cancel := context.WithCancel(c.t.Context())
				c.wait(ctx, c.n)
				c.wait(c.t.Context(), 1)
				out := make(chan struct{})
				c.t.Cleanup(pools.SetPause(func(before string) {
					if before == "cancelled" {
						<-out
					}
				}))
				cancel()
				synctest.Wait()
				time.AfterFunc(time.Second, func() { close(out) })
			},
			func(c *crowd) { c.must(c.held[0].Push()) }},
		{"an abandoned call", false, nil,
			func(c *crowd) {
				c.hold(0)
				release := make(chan struct{})
				time.AfterFunc(time.Hour, func() { close(release) })
				c.server.Close.Always(poolstest.Hang(release))
				for _, conn := range c.held[1:] {
					c.must(conn.Destroy())
				}
				time.Sleep(time.Minute)
				c.must(c.held[0].Destroy())
				synctest.Wait()
			},
			func(c *crowd) { time.Sleep(time.Minute) }},
		{"opens that hang", true, nil,
			func(c *crowd) {
				c.server.Open.Always(poolstest.Delay(time.Minute))
				c.wait(c.t.Context(), c.n)
			},
			func(c *crowd) { time.Sleep(2 * time.Minute) }},
		{"Configure of a smaller Size", true, nil, func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { c.must(c.pool.Configure(func(s *pools.Settings) { s.Size = 1 })) }},
		{"Configure of CheckAfter", true, nil, func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { c.must(c.pool.Configure(func(s *pools.Settings) { s.CheckAfter = pools.Always })) }},
		{"Close", true, nil, func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { c.must(c.pool.Close(c.t.Context())) }},
		{"Close with waiters", true, nil, func(c *crowd) { c.hold(0); c.wait(c.t.Context(), c.n) },
			func(c *crowd) {
				ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
				defer cancel()
				if err := c.pool.Close(ctx); !stillOut(err) {
					c.must(err)
				}
			}},
		{"Refresh", true, nil, func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { c.must(c.pool.Refresh(c.t.Context(), 0)) }},
		{"RevokeAll", true, nil, func(c *crowd) { c.hold(0) },
			func(c *crowd) {
				if n := c.pool.RevokeAll(); n != c.n {
					c.t.Errorf("%d were revoked", n)
				}
			}},
		{"Resume", true, nil,
			func(c *crowd) {
				c.hold(c.n)
				c.pool.Pause()
				c.wait(c.t.Context(), c.n)
			},
			func(c *crowd) { c.pool.Resume(); synctest.Wait() }},
		{"WaitTimeout of all", true, func(_ int, s *pools.Settings) { s.WaitTimeout = time.Minute },
			func(c *crowd) { c.hold(0); c.wait(c.t.Context(), c.n) },
			func(c *crowd) { time.Sleep(time.Minute) }},
		{"the keeper's look", true, nil, func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { time.Sleep(10 * time.Second) }},
		{"IdleTimeout of all", true, func(_ int, s *pools.Settings) { s.IdleTimeout = time.Minute },
			func(c *crowd) { c.hold(c.n) },
			func(c *crowd) { time.Sleep(5 * time.Minute) }},
	}
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			visits := func(n int) (most int) {
				settings := pools.Settings{Size: n, WaitTimeout: time.Hour, OpenTimeout: time.Hour, MaxLifetime: pools.Never}
				if e.change != nil {
					e.change(n, &settings)
				}
				synctest.Test(t, func(t *testing.T) {
					pool, server := poolstest.New(t, settings, poolstest.WithCheck)
					c := &crowd{t: t, pool: pool, server: server, n: n}
					e.before(c)
					pools.MostVisits(pool)
					e.event(c)
					synctest.Wait()
					most = pools.MostVisits(pool)
					for _, conn := range c.held {
						_ = conn.Push()
					}
					time.Sleep(2 * time.Hour)
				})
				return most
			}
			a, b := visits(few), visits(many)
			t.Logf("%d with %d, %d with %d", a, few, b, many)
			if limit := a + 8; !e.bulk && b > limit || b > slice+8 {
				t.Errorf("one holding of the lock visits %d with %d, %d with %d", a, few, b, many)
			}
		})
	}
}
