package pools_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// C3
func TestOpenSlowerThanItsCallers(t *testing.T) {
	scenario(t, pools.Settings{Size: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(200 * time.Millisecond))
		failed := 0
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			conn, err := pool.Pop(ctx)
			cancel()
			if err == nil {
				_ = conn.Push()
				break
			}
			if failed++; failed > 10 {
				t.Fatal("callers come and go, and no connection is ever pooled")
			}
		}
		if failed != 3 && failed != 4 {
			t.Errorf("%d callers of 50 ms failed, of an open of 200 ms", failed)
		}
	})
}

// C4
func TestOpenOfACallerThatGaveUpServesAnother(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a := poolstest.Pop(t, pool)
		a.Waits()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(500 * time.Millisecond)
		a.Cancel()
		a.Fails(context.Canceled)
		time.Sleep(500 * time.Millisecond)
		b.Has()
		b.Push()
		if st := pool.Stats(); st.Opened != 1 || st.Idle != 1 || st.Vacant != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// C5
func TestOpenReturnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, err := pools.New("nothing", pools.OpenFunc(func(context.Context) (net.Conn, error) { return nil, nil }),
			pools.Settings{Size: 1, ReconnectAttempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
			t.Error(err)
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// C7
func TestConnectionOutlivesTheRequestItWasOpenedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var opened context.Context
		server := poolstest.NewServer(t, 1)
		connector := server.Connector()
		open := connector.Open
		connector.Open = func(ctx context.Context) (resource, error) {
			opened = ctx
			return open(ctx)
		}
		connector.Values = func(ctx context.Context) context.Context { return ctx }
		pool, err := pools.New("request", connector, pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close(context.Background())
		server.Open.Next(poolstest.InOrder(poolstest.Delay(time.Second), func(ctx context.Context) error { return ctx.Err() }))
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "trace"), time.Millisecond)
		defer cancel()
		if _, err := pool.Pop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if conn, ok := pool.TryPop(); !ok {
			t.Error("the open died with its request")
		} else if conn.Push(); opened.Value(key{}) != "trace" {
			t.Error("Open's ctx does not carry the values of the first waiter's")
		}
	})
}

// O12
func TestOneSequentialUserOpensOne(t *testing.T) {
	for name, c := range map[string]struct {
		reset   time.Duration
		options []poolstest.Option
	}{
		"plain":             {0, nil},
		"with Reset":        {10 * time.Millisecond, []poolstest.Option{poolstest.WithReset}},
		"with a slow Reset": {500 * time.Millisecond, []poolstest.Option{poolstest.WithReset}},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Reset.Always(poolstest.Delay(c.reset))
				server.Open.Always(poolstest.Delay(100 * time.Millisecond))
				for range 50 {
					use(t, pool)
				}
				if server.Opened() != 1 {
					t.Errorf("opened %d", server.Opened())
				}
			}, c.options...)
		})
	}
}

func TestOpensOfUnevenLengthAreNotDoubled(t *testing.T) {
	for short, long := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 140 * time.Millisecond,
		time.Millisecond:       15 * time.Millisecond, // what a busy machine does
	} {
		t.Run(short.String(), func(t *testing.T) {
			scenario(t, pools.Settings{Size: 20}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				for i := range 5 {
					server.Open.Always(poolstest.Delay([]time.Duration{short, long}[i%2]))
					conn, err := pool.Pop(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Push()
				}
				time.Sleep(time.Second)
				if n := server.Opened(); n != 5 {
					t.Errorf("5 users, one after the other, opened %d", n)
				}
			})
		})
	}
}

// P1
func TestSpike(t *testing.T) {
	scenario(t, pools.Settings{Size: 50}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(150 * time.Millisecond))
		if err := pool.Fill(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		if server.Opened() != 5 {
			t.Fatalf("filled %d", server.Opened())
		}
		began := time.Now()
		useAtOnce(t, pool, 50, holdFor(2*time.Millisecond))()
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v, want 20ms", took)
		}
		time.Sleep(time.Second)
		if server.Opened() > 7 {
			t.Errorf("opened %d more, want at most 2", server.Opened()-5)
		}
	})
}

// P2: a cold start with long uses does not crawl, and opens in steps.
func TestColdStart(t *testing.T) {
	scenario(t, pools.Settings{Size: 50}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(150 * time.Millisecond))
		began := time.Now()
		var latest atomic.Int64
		wait := useAtOnce(t, pool, 50, func(r resource) error {
			latest.Store(int64(time.Since(began)))
			return holdFor(time.Second)(r)
		})
		synctest.Wait()
		if st := pool.Stats(); st.Opening != 2 {
			t.Errorf("%d opens at once to begin with", st.Opening)
		}
		wait()
		if last := time.Duration(latest.Load()); last > 450*time.Millisecond {
			t.Errorf("the last use began after %v, want at most 450ms", last)
		}
	})
}

// P5
func TestOneHungOpenDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0) // the hung one comes back in the end
		pool := poolstest.Make(t, server, pools.Settings{Size: 5, OpenTimeout: time.Minute})
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		server.Open.Next(server.Hang())
		var all []*popper
		for range 4 {
			all = append(all, poolstest.Pop(t, pool))
		}
		time.Sleep(300 * time.Millisecond)
		for _, p := range all {
			p.Has()
		}
		for _, p := range all {
			p.Push()
		}
	})
}

// P5, when all that slow start allows hangs: the window widens with the wait.
func TestHungOpensWidenTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 5, OpenTimeout: time.Minute})
		server.Open.Next(server.Hang(), server.Hang())
		a := poolstest.Pop(t, pool)
		b := poolstest.Pop(t, pool)
		c := poolstest.Pop(t, pool)
		a.Waits()
		b.Waits()
		c.Waits()
		time.Sleep(4 * time.Second)
		for _, p := range []*popper{a, b, c} {
			p.Has()
			p.Push()
		}
	})
}

func TestTriesAndPausesWithinOpenTimeout(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, OpenTimeout: 5 * time.Second, ReconnectAttempts: pools.NoLimit, ReconnectSleep: 100 * time.Millisecond},
		func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Always(poolstest.Fail(errRefused))
			began := time.Now()
			_, err := pool.Pop(t.Context())
			if took := time.Since(began); !errors.Is(err, errRefused) || took > 5*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			if n := server.Open.Calls(); n < 3 || n > 100 {
				t.Errorf("%d tries in 5 s, with pauses that double from 100 ms", n)
			}
		})
}

func TestRetriesSucceed(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Fail(errRefused), poolstest.Fail(errRefused))
		use(t, pool)
		if st := pool.Stats(); st.OpenErrors != 0 || server.Open.Calls() != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// An open error never passes for the caller's own deadline.
func TestOpenTimeoutIsNotTheCallersDeadline(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, OpenTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Hour))
		_, err := pool.Pop(t.Context())
		if !errors.Is(err, pools.ErrOpenFailed) || !errors.Is(err, pools.ErrOpenTimeout) || errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// The server is down while one connection lives: waiters are served by it,
// and the prober keeps the tries apart.
func TestDownWithALiveConnection(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		server.Open.Always(poolstest.Fail(errRefused))
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(20 * time.Second)
		b.Waits()
		if n := server.Open.Calls() - 1; n < 10 || n > 22 {
			t.Errorf("%d tries in 20 s", n)
		}
		a.Push()
		b.Has()
		b.Push()
	})
}

func TestAbandonedOpen(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprint("strict ", strict), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := 0
				if strict {
					limit = 2
				}
				server := poolstest.NewServer(t, limit)
				pool := poolstest.Make(t, server, pools.Settings{Size: 2, OpenTimeout: 500 * time.Millisecond, ReconnectAttempts: 1, Strict: strict})
				server.Open.Next(server.Hang())
				a := poolstest.Pop(t, pool)
				a.Waits()
				time.Sleep(600 * time.Millisecond)
				a.Fails(pools.ErrAbandoned)
				st := pool.Stats()
				if st.Abandoned != 1 || st.Hung != map[bool]int{true: 1}[strict] {
					t.Errorf("%+v", st)
				}
				time.Sleep(30 * time.Second) // the prober
				b := poolstest.Pop(t, pool)
				b.Has()
				c := poolstest.Pop(t, pool)
				if strict {
					c.Waits() // Size-1 can be had
				} else {
					c.Has()
				}
				server.Release() // the hung one comes back and is closed
				c.Has()
				synctest.Wait()
				if st := pool.Stats(); st.Abandoned != 0 || st.Hung != 0 || server.IsOpen() != 2 {
					t.Errorf("%d open, %+v", server.IsOpen(), st)
				}
				b.Push()
				c.Push()
			})
		})
	}
}

// Not more than Size calls are abandoned beside the slots.
func TestAbandonedAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 2, CloseTimeout: time.Second})
		server.Close.Always(server.Hang())
		for range 4 {
			conn, err := pool.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Destroy()
			time.Sleep(2 * time.Second)
		}
		if st := pool.Stats(); st.Abandoned != 4 || st.Hung != 2 || st.Vacant != 0 {
			t.Errorf("%+v", st)
		}
		w := poolstest.Pop(t, pool)
		w.Waits()
		server.Release()
		w.Has()
		w.Push()
	})
}

func TestFill(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Fail(errRefused))
		began := time.Now()
		if err := pool.Fill(t.Context(), 5); !errors.Is(err, errRefused) || time.Since(began) != 0 || server.Open.Calls() != 1 {
			t.Errorf("after %v and %d tries: %v", time.Since(began), server.Open.Calls(), err)
		}
		if err := pool.Fill(t.Context(), 10); err != nil || server.Opened() != 10 || pool.Stats().Idle != 10 {
			t.Errorf("%v: %+v", err, pool.Stats())
		}
		if err := pool.Fill(t.Context(), 11); err == nil {
			t.Error("more than Size")
		}
		if err := pool.Fill(t.Context(), 3); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pool.Fill(ctx, 3); err != nil {
			t.Error("there is nothing to wait for:", err)
		}
	})
	scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := pool.Fill(ctx, 4); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if st := pool.Stats(); st.Idle != 3 && st.Idle != 4 {
			t.Errorf("the opens under way go on: %+v", st)
		}
	})
}

// Fill waits for a slot whose connection is just being closed.
func TestFillWhileClosing(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Close.Next(poolstest.Delay(time.Second))
		if err := poolstest.Pop(t, pool).Has().Destroy(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := pool.Fill(t.Context(), 1); err != nil || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// A deadline that Open panics with is not the caller's.
func TestOpenPanicsWithADeadline(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Panic(context.DeadlineExceeded))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) || errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// P2: 1,000 callers on a server that is down, and then back. Errors come at
// once, tries stay few, and the server that is back is not stormed.
func TestDownThenUpWithManyCallers(t *testing.T) {
	scenario(t, pools.Settings{Size: 100, ReconnectAttempts: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var mu sync.Mutex
		now, mostAtOnce := 0, 0
		var begun []time.Time
		watch := func(end poolstest.Fault) poolstest.Fault {
			return func(ctx context.Context) error {
				mu.Lock()
				now++
				mostAtOnce = max(mostAtOnce, now)
				begun = append(begun, time.Now())
				mu.Unlock()
				err := end(ctx)
				mu.Lock()
				now--
				mu.Unlock()
				return err
			}
		}
		server.Open.Always(watch(poolstest.InOrder(poolstest.Delay(50*time.Millisecond), poolstest.Fail(errRefused))))
		up := make(chan struct{})
		var served, failed, slow atomic.Int64
		var callers sync.WaitGroup
		for range 1000 {
			callers.Go(func() {
				first := true
				for {
					select {
					case <-up:
						return
					default:
					}
					began := time.Now()
					err := pool.Use(t.Context(), holdFor(10*time.Millisecond))
					switch took := time.Since(began); {
					case err == nil:
						served.Add(1)
					case !errors.Is(err, pools.ErrOpenFailed):
						t.Error(err)
					case !first && took > 100*time.Millisecond:
						slow.Add(1) // the first may wait for the tries and the pause between
						fallthrough
					default:
						failed.Add(1)
					}
					first = false
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		time.Sleep(20 * time.Second)
		mu.Lock()
		tries, at := len(begun), mostAtOnce
		mu.Unlock()
		if tries > 30 || at > 2 || slow.Load() > 0 || failed.Load() < 50_000 || served.Load() > 0 {
			t.Errorf("in 20 s: %d tries, %d at once, %d of %d errors came late", tries, at, slow.Load(), failed.Load())
		}

		var firstUp time.Time
		server.Open.Always(watch(func(ctx context.Context) error {
			mu.Lock()
			if firstUp.IsZero() {
				firstUp = time.Now()
			}
			mu.Unlock()
			return poolstest.Delay(50 * time.Millisecond)(ctx)
		}))
		wasDown := time.Now()
		for served.Load() == 0 && time.Since(wasDown) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(wasDown); took > 31*time.Second {
			t.Errorf("it took %v to see that the server is back", took)
		}
		time.Sleep(time.Second)
		before := served.Load()
		time.Sleep(time.Second)
		if n := served.Load() - before; n < 4_500 { // 1,000 callers, each every 210 ms
			t.Errorf("a second later %d were served in a second", n)
		}
		mu.Lock()
		defer mu.Unlock()
		// The prober, then two, then what doubling with each success allows,
		// and once more because the callers have waited for long.
		in := func(limit time.Duration) (n int) {
			for _, b := range begun {
				if since := b.Sub(firstUp); since >= 0 && since < limit {
					n++
				}
			}
			return n
		}
		for opens, most := range []int{1, 1 + 4, 1 + 4 + 16, 110, 110, 110} {
			if n := in(time.Duration(opens+1) * 50 * time.Millisecond); n > most {
				t.Errorf("%d opens in the time of %d opens", n, opens+1)
			}
		}
		close(up)
		callers.Wait()
	})
}

// P4: Open fails at once: tries follow the backoff.
func TestOpenThatFailsAtOnceIsNoHotLoop(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		var poppers []*popper
		for began := time.Now(); time.Since(began) < time.Second; {
			poppers = append(poppers, poolstest.Pop(t, pool))
			time.Sleep(time.Millisecond)
		}
		if n := server.Open.Calls(); n > 20 {
			t.Errorf("%d tries in a second", n)
		}
		time.Sleep(10 * time.Second)
		for _, p := range poppers {
			p.Fails(pools.ErrOpenFailed)
		}
	})
}

// Opens that fail together are one failure: the pause before the next try is
// not doubled for each, and the pool is back soon after its server.
func TestOpensThatFailTogether(t *testing.T) {
	settings := pools.Settings{Size: 8, ReconnectAttempts: 1, ReconnectSleep: 100 * time.Millisecond}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.InOrder(poolstest.Delay(50*time.Millisecond), poolstest.Fail(errRefused)))
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		time.Sleep(50 * time.Millisecond)
		a.Fails(pools.ErrOpenFailed)
		b.Fails(pools.ErrOpenFailed)
		if n := server.Open.Calls(); n != 2 {
			t.Fatalf("%d opens", n)
		}
		server.Open.Clear()
		time.Sleep(settings.ReconnectSleep)
		c := poolstest.Pop(t, pool)
		c.Has()
		c.Push()
	})
}

// An open that fails long after the others, in the middle of a later try, does
// not spare that one its pause.
func TestOpenThatFailsLate(t *testing.T) {
	settings := pools.Settings{Size: 8, ReconnectAttempts: 1, ReconnectSleep: time.Second}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fails := func(after time.Duration) poolstest.Fault {
			return poolstest.InOrder(poolstest.Delay(after), poolstest.Fail(errRefused))
		}
		server.Open.Next(fails(50*time.Millisecond), fails(2100*time.Millisecond))
		server.Open.Always(fails(3 * time.Second)) // the prober's, which begins within a second
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		calls := func(want int, when string) {
			t.Helper()
			if n := server.Open.Calls(); n != want {
				t.Errorf("%d opens %s, want %d", n, when, want)
			}
		}
		time.Sleep(2900 * time.Millisecond)
		calls(3, "while the prober tries")
		for pool.Stats().OpenErrors < 3 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(900 * time.Millisecond) // it pauses for a second at least
		calls(3, "in the prober's pause")
		a.Fails(pools.ErrOpenFailed)
		b.Fails(pools.ErrOpenFailed)
	})
}

// After a failure opening begins again with one at a time, though an open of
// before is under way still: a server that comes back is not stormed.
func TestSlowStartAfterAFailure(t *testing.T) {
	settings := pools.Settings{Size: 50, ReconnectAttempts: 1, ReconnectSleep: 100 * time.Millisecond, OpenTimeout: time.Minute}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Delay(10 * time.Second))
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		wait := useAtOnce(t, pool, 50, holdFor(20*time.Second))
		time.Sleep(120 * time.Millisecond)
		server.Open.Always(poolstest.InOrder(poolstest.Delay(60*time.Millisecond), poolstest.Fail(errRefused)))
		time.Sleep(85 * time.Millisecond)
		if st := pool.Stats(); st.Held != 4 || st.Opening < 8 {
			t.Fatalf("before the failure: %+v", st)
		}
		time.Sleep(65 * time.Millisecond)
		if st := pool.Stats(); st.OpenErrors < 7 || st.Waiting == 0 {
			t.Fatalf("after the failure: %+v", st)
		}
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		for began := time.Now(); pool.Stats().Held < 5 && time.Since(began) < 5*time.Second; { // the prober's
			time.Sleep(time.Millisecond)
		}
		if st := pool.Stats(); st.Opening != 2 {
			t.Errorf("after the first success: %+v", st)
		}
		wait()
	})
}

// The bound on opens per second holds for opens, retries and the prober.
func TestMaxOpensPerSecond(t *testing.T) {
	for _, fails := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 40, MaxOpensPerSecond: 10, ReconnectSleep: time.Millisecond}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			var mu sync.Mutex
			var begun []time.Time
			server.Open.Always(func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				begun = append(begun, time.Now())
				if fails {
					return errRefused
				}
				return nil
			})
			began := time.Now()
			if fails {
				for range 200 {
					_, _ = pool.Pop(t.Context())
					time.Sleep(time.Millisecond)
				}
			} else {
				if err := pool.Fill(t.Context(), 20); err != nil {
					t.Fatal(err)
				}
				useAtOnce(t, pool, 40, holdFor(10*time.Second))()
				if took := time.Since(began); took > 14500*time.Millisecond {
					t.Errorf("40 opens at 10 a second, and 10 s of use, took %v", took)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for i := 1; i < len(begun); i++ {
				if gap := begun[i].Sub(begun[i-1]); gap < 100*time.Millisecond {
					t.Fatalf("%v between two opens", gap)
				}
			}
			if len(begun) < 2 {
				t.Error("nothing to see")
			}
		})
	}
}

// O8: callers cancel in masses, on a server that closes slowly.
func TestMassCancellationWithSlowClose(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(20 * time.Millisecond))
		server.Close.Always(poolstest.Delay(2 * time.Second))
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() {
					_ = pool.Use(ctx, func(r resource) error {
						return r.Do(func() { <-ctx.Done() }) // and gives up in mid-reply
					})
					_ = pool.Use(ctx, func(r resource) error { return ctx.Err() })
				})
			}
			all.Wait()
			cancel()
		}
		if most := server.Most(); most > 10 { // the server itself says more
			t.Errorf("%d were open", most)
		}
		time.Sleep(5 * time.Second)
		use(t, pool)
	})
}

// MaxOpensPerSecond with an OpenTimeout that is shorter than its gaps: no turn
// is wasted, and no open fails that was not tried.
func TestTurnsDoNotRunAway(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MaxOpensPerSecond: 1, OpenTimeout: 500 * time.Millisecond, ReconnectSleep: time.Millisecond},
		func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Next(poolstest.Fail(errRefused))
			began := time.Now()
			for pool.Use(t.Context(), holdFor(0)) != nil && time.Since(began) < time.Minute {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took > 2100*time.Millisecond || pool.Stats().OpenErrors != 1 {
				t.Errorf("after %v: %+v", took, pool.Stats())
			}
		})
}

func TestMaxOpensPerSecondLifted(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MaxOpensPerSecond: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		if err := pool.Configure(func(s *pools.Settings) { s.MaxOpensPerSecond = pools.NoLimit }); err != nil {
			t.Fatal(err)
		}
		b.Has()
		a.Push()
		b.Push()
	})
}

// The server allows no further connection, and the operator lowers Size to
// what is open: nothing is to be opened, so nothing is down.
func TestNotDownWhenAllAreOpen(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		conn := poolstest.Pop(t, pool).Has()
		server.Open.Always(poolstest.Fail(errRefused))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := pool.Pop(ctx); err == nil {
			t.Fatal("the server takes one")
		}
		if !pool.Stats().Down {
			t.Error("an open has failed, and the server counts as up")
		}
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 1 }); err != nil {
			t.Fatal(err)
		}
		server.Open.Clear()
		if pool.Stats().Down {
			t.Error("all is open, and the server counts as down")
		}
		if events := pool.Events(); events[len(events)-1].Kind != pools.EventUp {
			t.Errorf("the last event is %+v", events[len(events)-1])
		}
		if err := conn.Destroy(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		use(t, pool) // and not the error of then
	})
}

// Nobody looks any more whether the server of a closed pool is back.
func TestNotDownWhenClosed(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
			t.Fatal(err)
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if pool.Stats().Down {
			t.Error("a closed pool is down")
		}
	})
}

// A dial that OpenTimeout ended says so, also when the dialer's own timer for
// that instant fires before the ctx's.
func TestOpenTimeoutOfADialer(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, OpenTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(func(ctx context.Context) error {
			end, _ := ctx.Deadline()
			time.Sleep(time.Until(end))
			return os.ErrDeadlineExceeded
		})
		for range 50 {
			_, err := pool.Pop(t.Context())
			if e, ok := errors.AsType[*pools.PopError](err); !ok || !errors.Is(e.OpenErr, pools.ErrOpenTimeout) {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the prober has tried again, and its try has ended
		}
	})
}

// The grace of a call begins when its ctx has ended. When a process was stopped
// for a while and goes on, all timers are due at once.
func TestGraceBeginsWithTheEnd(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, OpenTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		defer pools.SetPauses(func(before string, _ uint64) {
			if before == "call" {
				time.Sleep(time.Hour)
			}
		})()
		server.Open.Always(poolstest.Deaf(1050 * time.Millisecond)) // ends within the grace
		w := poolstest.Pop(t, pool)
		w.Waits()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if err := pool.Fill(ctx, 1); err != nil {
			t.Error(err)
		}
		if st := pool.Stats(); st.Abandonments != 0 || st.Opened != 1 {
			t.Errorf("%+v", st)
		}
		w.Fails(pools.ErrWaitTimeout)
	})
}

// The keeper of an empty pool leaves the alarm that a Fill waits for.
func TestFillBesideTheKeeper(t *testing.T) {
	settings := pools.Settings{Size: 4, MaxOpensPerSecond: 1, IdleTimeout: time.Second}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		filled := make(chan error, 1)
		go func() { filled <- pool.Fill(t.Context(), 2) }()
		time.Sleep(100 * time.Millisecond)
		conn, ok := pool.TryPop()
		if !ok {
			t.Fatal("nothing is idle")
		}
		if err := conn.Destroy(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-filled:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("Fill hangs: %+v", pool.Stats())
		}
	})
}
