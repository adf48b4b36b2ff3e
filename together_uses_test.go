package pools_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Suspect turns suspected connections into stale ones: the budget.
func TestSuspectForgetsBudget(t *testing.T) {
	for _, again := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 20, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			_ = pool.Fill(t.Context(), 20)
			server.Check.Always(poolstest.Delay(time.Hour))
			server.Open.Always(nil)
			pool.Suspect()
			stop := make(chan struct{})
			if again {
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(300 * time.Millisecond):
							pool.Suspect()
						}
					}
				}()
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			defer cancel()
			err := pool.Use(ctx, func(resource) error { return nil })
			t.Logf("again %v: after %v: %v", again, time.Since(began), err)
			close(stop)
			server.Check.Clear()
		}, poolstest.WithCheck)
	}
}

// A full server, one break at first use, then a first use of an old connection that ends well.
func TestUpWhileRefused(t *testing.T) {
	d := new(diary)
	scenario(t, pools.Settings{Size: 4, ReconnectAttempts: 1, Observer: &pools.Observer{Event: d.note}}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		_ = pool.Fill(t.Context(), 3) // three, never used
		a, b, c := poolstest.Pop(t, pool).Has(), poolstest.Pop(t, pool).Has(), poolstest.Pop(t, pool).Has()
		time.Sleep(time.Second)
		breakPool(t, pool, 1)
		server.Open.Always(poolstest.Fail(errRefused))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, _ = pool.Pop(ctx)
		if !pool.Stats().Down {
			t.Fatal("not down")
		}
		_ = a.PushErr(errors.New("no such row"))
		if !pool.Stats().Down || len(d.of(pools.EventUp)) > 0 {
			t.Error("up, though the server refuses each open")
		}
		_, _ = b.Push(), c.Push()
	})
}

// Waiters granted at the instant at which their ctx ends use up the first use.
func TestProofLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := pools.New("together", pools.OpenFunc(func(context.Context) (*served, error) { time.Sleep(10 * time.Millisecond); return new(served), nil }), pools.Settings{Size: 1})
		for range 3 {
			c, err := pool.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.PushErr(io.EOF)
			synctest.Wait()
		}
		if !pool.Stats().Down {
			t.Fatal("not down")
		}
		time.Sleep(10 * time.Second)
		var n atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		end := pools.SetPause(func(before string) {
			if before == "woken" && n.Add(1) == 1 {
				cancel()
			}
		})
		_, err := pool.Pop(ctx)
		end()
		t.Log(err)
		time.Sleep(time.Second)
		for range 600 {
			if err := pool.Use(t.Context(), func(*served) error { return nil }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if st := pool.Stats(); st.Down {
			t.Errorf("after 600 good uses the server is down: opened %d", st.Opened)
		}
		_ = pool.Close(context.Background())
	})
}

// A mixed crowd on a pool of full size with resting connections, WaitTimeouts and Suspect.
func TestNoQueueSequential(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MaxWaiting: pools.NoQueue}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Check.Always(poolstest.Delay(5 * time.Millisecond))
		var bad, ok atomic.Int32
		var all sync.WaitGroup
		for range 2 { // as many users as connections
			all.Go(func() {
				for i := range 200 {
					if err := pool.Use(t.Context(), holdFor(time.Millisecond)); err != nil {
						bad.Add(1)
						if bad.Load() == 1 {
							t.Log(err)
						}
					} else {
						ok.Add(1)
					}
					if i%20 == 0 {
						pool.Suspect()
					}
					time.Sleep(time.Duration(i%7) * time.Millisecond)
				}
			})
		}
		all.Wait()
		t.Log(ok.Load(), bad.Load())
		if bad.Load() > 0 {
			t.Error("two users, two connections, and refused")
		}
	})
}
