package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// L1: with opens in flight by Pop, by Fill and by the prober.
func TestCloseWithOpensInFlight(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprint("deaf ", deaf), func(t *testing.T) {
			slow := poolstest.Delay(3 * time.Second)
			if deaf {
				slow = poolstest.Deaf(3 * time.Second)
			}
			scenario(t, pools.Settings{Size: 5, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(poolstest.Fail(errRefused))
				poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
				server.Open.Always(slow)
				time.Sleep(time.Nanosecond)
				poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed) // it asks
				time.Sleep(1001 * time.Millisecond)               // the prober is at work
				if st := pool.Stats(); st.Opening != 1 {
					t.Fatalf("%+v", st)
				}
				var filled error
				done := make(chan struct{})
				go func() { filled = pool.Fill(context.Background(), 3); close(done) }()
				w := poolstest.Pop(t, pool)
				synctest.Wait()
				if err := pool.Close(t.Context()); err != nil {
					t.Error(err)
				}
				<-done
				if !errors.Is(filled, pools.ErrClosed) {
					t.Error(filled)
				}
				w.Fails(nil)
				if st := pool.Stats(); st.Vacant != 5 || server.IsOpen() != 0 {
					t.Errorf("%d open, %+v", server.IsOpen(), st)
				}
			})
			scenario(t, pools.Settings{Size: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Always(slow)
				w := poolstest.Pop(t, pool)
				w.Waits()
				if err := pool.Close(t.Context()); err != nil {
					t.Error(err)
				}
				w.Fails(pools.ErrClosed)
				calls := server.Open.Calls()
				time.Sleep(time.Hour)
				if server.Open.Calls() != calls || server.IsOpen() != 0 {
					t.Error("an open started after Close returned")
				}
			})
		})
	}
}

// L2
func TestCloseEndsWaits(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b, c := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		b.Waits()
		c.Waits()
		closed := make(chan error, 1)
		began := time.Now()
		go func() { closed <- pool.Close(context.Background()) }()
		b.Fails(pools.ErrClosed)
		c.Fails(pools.ErrClosed)
		poolstest.Pop(t, pool).Fails(pools.ErrClosed)
		if _, ok := pool.TryPop(); ok || time.Since(began) != 0 || pool.Available() != 0 {
			t.Error("a closed pool lends")
		}
		a.Push()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// stillOut reports whether Close returned before everything had come back.
func stillOut(err error) bool {
	_, ok := errors.AsType[*pools.CloseError](err)
	return ok
}

// L3
func TestCloseDoesNotWaitForEver(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, TrackHolders: true, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		held := a.Has()
		use(t, pool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := pool.Close(ctx)
		e, ok := errors.AsType[*pools.CloseError](err)
		if !ok || !stillOut(err) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if len(e.Held) != 1 || e.Held[0].ID != held.ID() || e.Held[0].Stack == "" || e.Held[0].State != "held" || e.Held[0].Uses != 1 {
			t.Errorf("%+v", e)
		}
		if synctest.Wait(); server.Abort.Calls() != 1 {
			t.Error("the holder was not interrupted")
		}
		if err := held.Push(); !errors.Is(err, pools.ErrRevoked) { // late: closes
			t.Errorf("push: %v", err)
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error("the second Close:", err)
		}
		if server.IsOpen() != 0 {
			t.Error("the late push did not close")
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error("the third Close:", err)
		}
	}, poolstest.WithAbort)
}

// Close makes no hung Open last longer: the sooner of its own bound and Close's
// holds.
func TestCloseOfHungOpens(t *testing.T) {
	for _, c := range []struct{ open, close, at, want time.Duration }{
		{time.Second, 5 * time.Second, 900 * time.Millisecond, 1100 * time.Millisecond},
		{time.Minute, 5 * time.Second, time.Second, 6 * time.Second},
	} {
		settings := pools.Settings{Size: 1, OpenTimeout: c.open, CloseTimeout: c.close}
		scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			release := make(chan struct{})
			server.Open.Always(poolstest.Hang(release))
			began := time.Now()
			w := poolstest.Pop(t, pool)
			w.Waits()
			time.Sleep(c.at)
			if err := pool.Close(t.Context()); !errors.Is(err, pools.ErrAbandoned) || time.Since(began) != c.want {
				t.Errorf("%+v: after %v: %v", c, time.Since(began), err)
			}
			w.Fails(pools.ErrClosed)
			close(release)
		})
	}
}

// L10
func TestCloseInsideUse(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		began := time.Now()
		err := pool.Use(t.Context(), func(resource) error { return pool.Close(context.Background()) })
		if !stillOut(err) || errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// O7, for Close: a hung one is abandoned, counted and named.
func TestCloseWithHungClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 2, CloseTimeout: time.Second})
		use(t, pool)
		server.Close.Next(server.Hang())
		began := time.Now()
		err := pool.Close(t.Context())
		e, ok := errors.AsType[*pools.CloseError](err)
		if !ok || !errors.Is(err, pools.ErrAbandoned) || len(e.Abandoned) != 1 || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// L8: each callback calls everything.
func TestCallbacksUseThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool *pools.Pool[resource]
		var called sync.Map
		depth := atomic.Int32{}
		all := func(name string) poolstest.Fault {
			return poolstest.Call(func() {
				called.Store(name, true)
				if pool == nil || depth.Add(1) > 3 {
					return
				}
				defer depth.Add(-1)
				pool.Stats()
				pool.Available()
				for range pool.Connections() {
				}
				if err := pool.Configure(func(s *pools.Settings) { s.Size = 3 }); err != nil && !errors.Is(err, pools.ErrClosed) {
					t.Error(err)
				}
				pool.Pause()
				pool.Resume()
				pool.RevokeAll()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				if conn, err := pool.Pop(ctx); err == nil {
					_ = conn.Push()
					_ = conn.Push() // misused: logs
				}
				if name == "late" {
					_ = pool.Close(ctx)
				}
			})
		}
		server := poolstest.NewServer(t, 0)
		server.Open.Always(all("Open"))
		server.Close.Always(all("Close"))
		server.Check.Always(all("Check"))
		server.Reset.Always(all("Reset"))
		server.Abort.Always(all("Abort"))
		server.IsBroken = func(resource, error) bool { _ = all("Broken")(context.Background()); return false }
		logger := slog.New(handler(func(slog.Record) { _ = all("Logger")(context.Background()) }))
		pool = poolstest.Make(t, server, pools.Settings{Size: 3, CheckAfter: pools.Always, Logger: logger},
			poolstest.WithCheck, poolstest.WithReset, poolstest.WithAbort)
		for range 3 {
			depth.Store(0)
			use(t, pool)
			time.Sleep(time.Minute)
		}
		held, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = all("late")(context.Background())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pool.Close(ctx); !stillOut(err) {
			t.Error(err)
		}
		_ = held.Push()
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"Open", "Close", "Check", "Reset", "Abort", "Broken", "Logger"} {
			if _, ok := called.Load(name); !ok {
				t.Errorf("%s was never called", name)
			}
		}
	})
}

// L8, Close from within each callback.
func TestCallbacksCloseThePool(t *testing.T) {
	for _, point := range []string{"Open", "Close", "Check", "Reset", "Broken", "Logger"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := poolstest.NewServer(t, 0)
				var pool *pools.Pool[resource]
				closing := poolstest.Call(func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					_ = pool.Close(ctx)
				})
				if p := faultPoint(server, point); p != nil {
					p.Next(closing)
				}
				if point == "Broken" {
					server.IsBroken = func(resource, error) bool { _ = closing(context.Background()); return false }
				}
				logger := slog.New(handler(func(slog.Record) {
					if point == "Logger" {
						_ = closing(context.Background())
					}
				}))
				pool = poolstest.Make(t, server, pools.Settings{Size: 2, CheckAfter: pools.Always, Logger: logger},
					poolstest.WithCheck, poolstest.WithReset)
				for range 3 {
					conn, err := pool.Pop(t.Context())
					if err != nil {
						if !errors.Is(err, pools.ErrClosed) {
							t.Error(err)
						}
						break
					}
					_ = conn.Push()
					_ = conn.Push() // logs
					time.Sleep(time.Second)
				}
				conn, err := pool.Pop(t.Context())
				if err == nil {
					_ = conn.Destroy()
				}
				time.Sleep(time.Minute)
				if err := pool.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// handler is an slog.Handler that is a function.
type handler func(slog.Record)

func (handler) Enabled(context.Context, slog.Level) bool        { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

// L11
func TestDroppedPoolsAreFreed(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(fmt.Sprint("closed ", closes), func(t *testing.T) {
			const many = 500
			var freed atomic.Int64
			goroutines := runtime.NumGoroutine()
			for range many {
				server := poolstest.NewServer(t, 0)
				pool, err := pools.New("dropped", server.Connector(), pools.Settings{Size: 10, MinIdle: 2, IdleTimeout: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				runtime.AddCleanup(pool, func(n *atomic.Int64) { n.Add(1) }, &freed)
				if err := pool.Fill(t.Context(), 2); err != nil {
					t.Fatal(err)
				}
				conn, err := pool.Pop(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Push()
				if closes {
					if err := pool.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			// Collections are real: wait for them in real time, bounded.
			deadline := time.Now().Add(30 * time.Second)
			for freed.Load() < many && time.Now().Before(deadline) {
				runtime.GC()
				runtime.Gosched()
			}
			if n := freed.Load(); n != many {
				t.Errorf("%d of %d dropped pools were freed", n, many)
			}
			for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines are left of %d pools", n-goroutines, many)
			}
		})
	}
}

// Rule 8, with Strict: a hung Close keeps its slot, and Close does not wait
// for it.
func TestStrictCloseWithHungClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 2, CloseTimeout: time.Second, Strict: true})
		use(t, pool)
		server.Close.Next(server.Hang())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := pool.Close(ctx); !errors.Is(err, pools.ErrAbandoned) || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// A keeper's look after Close does not put off what a Close in slices still has
// to do.
func TestCloseBesideTheKeeper(t *testing.T) {
	defer pools.SetBatch(2)()
	for i := range 20 {
		settings := pools.Settings{Size: 100, KeepLost: true, WaitTimeout: time.Hour}
		scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Close.Always(poolstest.Delay(time.Duration(i) * 100 * time.Millisecond))
			if err := pool.Fill(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
			next := time.Second - time.Since(time.Now().Truncate(time.Second))
			time.Sleep(next - time.Duration(i)) // about when the keeper looks
			if err := pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// An Observer may end its goroutine, also while bulk work lets others have the
// lock.
func TestObserverThatEndsItsGoroutine(t *testing.T) {
	defer pools.SetBatch(2)()
	observer := &pools.Observer{Event: func(e pools.Event) {
		if e.Kind == pools.EventLeaked {
			runtime.Goexit()
		}
	}}
	settings := pools.Settings{Size: 20, LeakAfter: time.Second, Observer: observer}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var all []pools.Conn[resource]
		for range 20 {
			conn, err := pool.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
		}
		time.Sleep(time.Minute)
		if st := pool.Stats(); st.Leaks != 20 {
			t.Errorf("%d leaks were found, and the keeper looks no more", st.Leaks)
		}
		for _, conn := range all {
			_ = conn.Push()
		}
	})
}
