package pools_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

type (
	resource = *poolstest.Resource
	popper   = poolstest.Popper[resource]
)

var errRefused = errors.New("connection refused")

// scenario runs f in a bubble, on a new pool.
func scenario(t *testing.T, settings pools.Settings, f func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server), options ...poolstest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, settings, options...)
		f(t, pool, server)
		synctest.Wait()
		poolstest.Check(t, pool, server)
		if !pools.GateOpen(pool) {
			t.Error("nobody waits, but the gate is not open")
		}
		if err := pools.AtRest(pool); err != nil {
			t.Error(err)
		}
	})
}

func use(t *testing.T, pool *pools.Pool[resource]) {
	t.Helper()
	if err := pool.Use(t.Context(), func(r resource) error { return r.Do(nil) }); err != nil {
		t.Errorf("use: %v", err)
	}
}

// useAtOnce has n goroutines use the pool, once each, and returns a function
// that waits for them.
func useAtOnce(t *testing.T, pool *pools.Pool[resource], n int, fn func(r resource) error) (wait func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := pool.Use(t.Context(), fn); err != nil {
				t.Error(err)
			}
		})
	}
	return all.Wait
}

// holdFor is a use of that length.
func holdFor(d time.Duration) func(r resource) error {
	return func(r resource) error { return r.Do(func() { time.Sleep(d) }) }
}

// faultPoint returns where the connector's function of that name can be made to
// fail, or nil.
func faultPoint(server *poolstest.Server, name string) *poolstest.Point {
	return map[string]*poolstest.Point{
		"Open": &server.Open, "Close": &server.Close, "Check": &server.Check, "Reset": &server.Reset,
	}[name]
}

// W1
func TestPushBetweenLookAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 1})
		a := poolstest.Pop(t, pool)
		a.Has()

		looked, queue := make(chan struct{}), make(chan struct{})
		defer pools.SetPause(func(before string) {
			if before == "announce" {
				close(looked)
				<-queue
			}
		})()
		b := poolstest.Pop(t, pool)
		<-looked // B has found nothing and is not queued
		a.Push()
		close(queue)
		b.Has()
		b.Push()
	})
}

// W4: the chosen one is not even told yet when it cancels.
func TestCancelledBeforeItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 1})
		held := poolstest.Pop(t, pool).Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		c := poolstest.Pop(t, pool)
		c.Waits()

		tell := make(chan struct{})
		var told atomic.Bool
		defer pools.SetPause(func(before string) {
			if before == "token" && !told.Swap(true) {
				<-tell
			}
		})()
		go func() { _ = held.Push() }() // wakes B to race
		b.Waits()
		b.Cancel()
		c.Has() // though B's token is still on its way
		close(tell)
		b.Fails(context.Canceled)
		c.Push()
	})
}

// Strict order begins when the oldest has waited for a millisecond, and ends
// when the oldest has not.
func TestStrictOrderEnds(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(2 * time.Millisecond)
		c := poolstest.Pop(t, pool)
		c.Waits()
		a.Push()
		b.Has()
		if pools.Starving(pool) {
			t.Error("the oldest has just come, and the order is strict")
		}
		b.Push()
		c.Has()
		c.Push()
	})
}

// W2
func TestDestroyServesWaiterByOpening(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		first := a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		if err := first.Destroy(); err != nil {
			t.Fatal(err)
		}
		if second := b.Has(); second.ID() == first.ID() {
			t.Error("b has the destroyed connection")
		}
		b.Push()
		if server.Opened() != 2 {
			t.Errorf("opened %d, want 2", server.Opened())
		}
	})
}

// W2, by Detach.
func TestDetachServesWaiterByOpening(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		first := poolstest.Pop(t, pool).Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		first.Resource().Keep() // before the waiter's open can be counted
		r, err := first.Detach()
		if err != nil {
			t.Fatal(err)
		}
		if b.Has().Resource() == r {
			t.Error("b has the detached connection")
		}
		b.Push()
	})
}

// W3
func TestOpenAlwaysFails(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		var waiters []*popper
		for range 10 {
			waiters = append(waiters, poolstest.Pop(t, pool))
		}
		time.Sleep(10 * time.Second)
		for _, w := range waiters {
			err := w.Fails(pools.ErrOpenFailed)
			if !errors.Is(err, errRefused) {
				t.Errorf("the open error that happened during the wait is not wrapped: %v", err)
			}
		}
		// While the server is down nobody hangs: the error comes at once,
		// and as a text, since it happened before. Only the first one after a
		// while has the server tried.
		poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
		time.Sleep(time.Nanosecond)
		began := time.Now()
		w := poolstest.Pop(t, pool)
		err := w.Fails(pools.ErrOpenFailed)
		if errors.Is(err, errRefused) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		server.Open.Always(nil)
		time.Sleep(2 * time.Second) // the prober's longest pause
		use(t, pool)
	})
}

// W5
func TestFailedAndPanickingOpenServeWaiter(t *testing.T) {
	for name, fault := range map[string]poolstest.Fault{
		"error": poolstest.Fail(errRefused), "panic": poolstest.Panic("boom"), "Goexit": poolstest.Goexit(),
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(fault)
				w := poolstest.Pop(t, pool)
				err := w.Fails(pools.ErrOpenFailed)
				if p, ok := errors.AsType[*pools.PanicError](err); (name == "panic") != ok {
					t.Errorf("%v", err)
				} else if ok && (p.Value != "boom" || len(p.Stack) == 0) {
					t.Errorf("%+v", p)
				}
				time.Sleep(2 * time.Second)
				use(t, pool)
			})
			// With another connection alive the waiter waits on, and is
			// served by it.
			scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(nil, fault)
				a := poolstest.Pop(t, pool)
				a.Has()
				b := poolstest.Pop(t, pool)
				b.Waits()
				a.Push()
				b.Has()
				b.Push()
			})
		})
	}
}

// W6
func TestEveryPushBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 5)
		server.IsBroken = func(resource, error) bool { return true }
		pool := poolstest.Make(t, server, pools.Settings{Size: 5})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 20 {
					use(t, pool)
				}
			})
		}
		wg.Wait()
		if server.Opened() != 200 {
			t.Errorf("opened %d, want one a use, 200", server.Opened())
		}
	})
}

// W7
func TestBusyReleaserDoesNotHoldUpWaiter(t *testing.T) {
	pool, _ := poolstest.New(t, pools.Settings{Size: 1})
	for range 200 {
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var served atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			use(t, pool)
			served.Store(true)
		})
		for pool.Stats().Waiting == 0 {
			runtime.Gosched()
		}
		if err := conn.Push(); err != nil {
			t.Fatal(err)
		}
		// From here the releaser keeps its processor and never blocks.
		for began := time.Now(); !served.Load(); {
			if time.Since(began) > 10*time.Second {
				t.Fatal("the waiter sits beside an idle connection")
			}
		}
		wg.Wait()
	}
}

// W4: the chosen one cancels before it takes what it was woken for.
func TestChosenWaiterCancels(t *testing.T) {
	for range 200 {
		scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a := poolstest.Pop(t, pool)
			a.Has()
			b := poolstest.Pop(t, pool)
			b.Waits()
			c := poolstest.Pop(t, pool)
			c.Waits()
			if rand.N(2) == 0 {
				time.Sleep(2 * time.Millisecond) // the push hands on directly
			}
			a.Push() // chooses b
			b.Cancel()
			synctest.Wait()
			select {
			case <-b.Done():
				if b.Err() == nil {
					b.Push() // it was faster than its ctx
				}
			default:
				t.Fatal("a cancelled pop hangs")
			}
			c.Has()
			c.Push()
		})
	}
}

// C1
func TestCancelAtTheInstantOfHandOn(t *testing.T) {
	rounds := 100_000
	if testing.Short() {
		rounds = 10_000
	}
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var wg sync.WaitGroup
		var served, cancelled atomic.Int64
		const users = 8
		for range users {
			wg.Go(func() {
				for range rounds / users {
					// Deadlines and pushes fall on the same instants.
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.N(6))*time.Millisecond)
					conn, err := pool.Pop(ctx)
					if err == nil {
						served.Add(1)
						_ = conn.Resource().Do(func() { time.Sleep(time.Duration(rand.N(4)) * time.Millisecond) })
						if err := conn.Push(); err != nil {
							t.Error(err)
						}
					} else {
						cancelled.Add(1)
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
						time.Sleep(time.Millisecond)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if served.Load() == 0 || cancelled.Load() == 0 {
			t.Errorf("%d served, %d cancelled: this tests nothing", served.Load(), cancelled.Load())
		}
		if st := pool.Stats(); st.Idle+st.Vacant != 2 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// C2
func TestTenThousandCancelledWaiters(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		ctx, cancel := context.WithCancel(context.Background())
		var dead []*popper
		for range 10_000 {
			dead = append(dead, poolstest.PopContext(ctx, t, pool))
		}
		synctest.Wait()
		live := poolstest.Pop(t, pool)
		live.Waits()
		cancel()
		a.Push()
		live.Has()
		live.Push()
		for _, d := range dead {
			d.Fails(context.Canceled)
		}
	})
}

// C5
func TestEndedContext(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		why := errors.New("the user left")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(why)
		_, err := pool.Pop(ctx)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Errorf("ended at Pop: %v", err)
		}
		if server.Opened() != 0 {
			t.Error("a finished ctx opened a connection")
		}
		use(t, pool)
		if _, err := pool.Pop(ctx); err == nil {
			t.Error("an idle connection went to a finished ctx")
		}

		a := poolstest.Pop(t, pool)
		a.Has()
		ctx, cancel = context.WithCancelCause(context.Background())
		defer pools.SetPause(func(string) { cancel(nil) })() // between looking and queueing
		_, err = pool.Pop(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		a.Push()
	})
}

// P7, P8: order is first come, first served, once somebody has waited.
func TestWaitersAreServedInOrder(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		holder := poolstest.Pop(t, pool)
		holder.Has()
		var waiters []*popper
		for range 50 {
			waiters = append(waiters, poolstest.Pop(t, pool))
			synctest.Wait()
			time.Sleep(2 * time.Millisecond)
		}
		for i, w := range waiters {
			// A robber that comes at the last moment is not served first.
			robber := poolstest.Pop(t, pool)
			robber.Waits()
			holder.Push()
			w.Has()
			robber.Waits()
			robber.Cancel()
			for _, later := range waiters[i+1:] {
				later.Waits()
			}
			holder = w
		}
		holder.Push()
	})
}

// P7, with real time: nobody waits much longer than a fair share.
func TestTightLoopsAreFair(t *testing.T) {
	pool, _ := poolstest.New(t, pools.Settings{Size: 10})
	const users = 100
	deadline := time.Now().Add(300 * time.Millisecond)
	counts := make([]int, users)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			for time.Now().Before(deadline) {
				if err := pool.Use(t.Context(), func(r resource) error {
					return r.Do(runtime.Gosched)
				}); err != nil {
					t.Error(err)
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	for i, n := range counts {
		if n < total/users/20 {
			t.Errorf("goroutine %d had %d uses, the mean is %d", i, n, total/users)
		}
	}
}

// P9: one deadline, over any number of wake-ups.
func TestExhaustionEndsAtWaitTimeout(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, WaitTimeout: 3 * time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		a.Has()
		b.Has()
		began := time.Now()
		_, err := pool.Pop(context.Background())
		if !errors.Is(err, pools.ErrWaitTimeout) || errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		e, ok := errors.AsType[*pools.PopError](err)
		if !ok || e.Held != 2 || e.Size != 2 || e.Waited != 3*time.Second || e.Waiting != 0 {
			t.Errorf("%+v", e)
		}
		// A connection released in mid-wait reaches its waiter at once.
		began = time.Now()
		c := poolstest.Pop(t, pool)
		c.Waits()
		time.Sleep(200 * time.Millisecond)
		a.Push()
		c.Has()
		if time.Since(began) != 200*time.Millisecond {
			t.Errorf("served after %v", time.Since(began))
		}
		// The second of two waiters has its own deadline.
		d := poolstest.Pop(t, pool)
		d.Waits()
		time.Sleep(time.Second)
		e2 := poolstest.Pop(t, pool)
		e2.Waits()
		time.Sleep(2 * time.Second)
		d.Fails(pools.ErrWaitTimeout)
		e2.Waits()
		time.Sleep(time.Second)
		e2.Fails(pools.ErrWaitTimeout)
		// The caller's own deadline, when it is nearer.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := pool.Pop(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		b.Push()
		c.Push()
	})
}

// P13
func TestPushRunsNobodysWork(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		wait := useAtOnce(t, pool, 5, holdFor(100*time.Millisecond))
		synctest.Wait()
		began := time.Now()
		a.Push()
		if took := time.Since(began); took != 0 {
			t.Errorf("push took %v", took)
		}
		wait()
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("five uses of 100 ms took %v", took)
		}
	})
}

// uncomparable is a ctx that panics when it is compared.
type uncomparable struct {
	context.Context
	_ map[string]string
}

// Rule 10: failed waits are waits, however they end; rule 5: whatever the ctx
// is.
func TestFailedWaitsCount(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		before := pool.Stats().Waits // a waited for its open
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := pool.Pop(uncomparable{Context: ctx}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := pool.Pop(uncomparable{Context: t.Context()}); !errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		st := pool.Stats()
		if st.Waits != before+2 || st.WaitsFailed != 2 || st.TimedOut != 2 || st.Wait.Count != st.Waits || st.Wait.Max != time.Second || st.Wait.Sum != time.Second+time.Millisecond {
			t.Errorf("%+v", st)
		}
		a.Push()
	})
}

// A waiter whose ctx has ended is none, even before it has noticed.
func TestEndedWaitersDoNotCount(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that the Pop below is first
	scenario(t, pools.Settings{Size: 10, MaxWaiting: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a := poolstest.Pop(t, pool)
		a.Waits()
		a.Cancel()
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatalf("refused because of a waiter that is gone: %v", err)
		}
		_ = conn.Push()
		a.Fails(context.Canceled)
		time.Sleep(10 * time.Second)
		if n := server.Opened(); n != 1 {
			t.Errorf("one waits at a time, and %d were opened", n)
		}
	})
}

func TestFinishedCtxGetsNothingAfterTheYield(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that the yield lets the other go first
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		held, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			cancel()
			_ = held.Push()
		}()
		if conn, err := pool.Pop(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
			_ = conn.Push()
		}
	})
}

// telltale is an error whose methods use the pool, as a logging one may.
type telltale struct{ use func() }

func (e telltale) Error() string { e.use(); return "telltale" }
func (e telltale) Is(error) bool { e.use(); return false }

// Rule 6: the methods of errors are user code.
func TestErrorsThatUseThePool(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		told := 0
		cause := telltale{func() { told++; pool.Stats() }}
		a := poolstest.Pop(t, pool)
		a.Has()
		ctx, cancel := context.WithCancelCause(t.Context())
		waits := make(chan error)
		go func() {
			_, err := pool.Pop(ctx)
			waits <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-waits; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := pool.Pop(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := pool.Fill(ctx, 1); err != nil {
			t.Error(err) // it is open
		}
		a.Push()
		if conn, err := pool.Pop(t.Context()); err == nil {
			_ = conn.PushErr(pools.Discard(nil))
		}
		synctest.Wait()
		server.Open.Next(poolstest.Fail(cause))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
			t.Error(err)
		}
		server.Open.Next(nil, poolstest.Fail(cause))
		time.Sleep(time.Minute)
		if err := pool.Fill(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 2 }); err != nil {
			t.Error(err)
		}
		server.Limit(2)
		_ = pool.Fill(t.Context(), 2) // down
		if err := pool.Refresh(ctx, time.Minute); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "telltale") {
			t.Error(err)
		}
		if told == 0 {
			t.Error("no method was called, so this test tests nothing")
		}
	})
}

func TestMaxWaiting(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, MaxWaiting: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		c := poolstest.Pop(t, pool)
		c.Waits()
		err := poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting)
		if e, _ := errors.AsType[*pools.PopError](err); e.Waiting != 2 || e.Held != 1 {
			t.Errorf("%+v", e)
		}
		a.Push()
		b.Has()
		b.Push()
		c.Has()
		c.Push()
	})
	// Who is refused opens nothing.
	scenario(t, pools.Settings{Size: 10, MaxWaiting: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a := poolstest.Pop(t, pool)
		a.Waits()
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting)
		if st := pool.Stats(); st.Opening != 1 || st.Waits != 0 {
			t.Errorf("%+v", st)
		}
		a.Push()
	})
}

// The ancestor's three.
func TestAncestor(t *testing.T) {
	for _, c := range []struct{ users, size int }{{10, 5}, {20, 3}} {
		scenario(t, pools.Settings{Size: c.size}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			useAtOnce(t, pool, c.users, holdFor(10*time.Millisecond))()
			if pool.Available() != c.size || server.Opened() != c.size {
				t.Errorf("available %d, opened %d, size %d", pool.Available(), server.Opened(), c.size)
			}
		})
	}
	scenario(t, pools.Settings{Size: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		seen := map[string]bool{}
		var all []*popper
		for range 5 {
			all = append(all, poolstest.Pop(t, pool))
		}
		for _, p := range all {
			seen[p.Has().ID()] = true
		}
		if len(seen) != 5 || server.Opened() != 5 {
			t.Errorf("%d different of %d", len(seen), server.Opened())
		}
		for _, p := range all {
			p.Push()
		}
		if pool.Available() != 5 {
			t.Errorf("available %d", pool.Available())
		}
	})
}

// A waiter that gives up at the instant it is granted a connection has not had
// one; but a count that somebody has seen does not fall.
func TestLeasesThatNobodyGot(t *testing.T) {
	for _, seen := range []bool{false, true} {
		leaseThatNobodyGot(t, seen)
	}
}

func leaseThatNobodyGot(t *testing.T, seen bool) {
	t.Helper()
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(2 * time.Millisecond) // strict order: b will be granted it
		wake := make(chan struct{})
		end := pools.SetPause(func(step string) {
			if step == "woken" {
				<-wake
			}
		})
		a.Push()
		granted := uint64(1)
		if seen {
			granted = pool.Stats().Leases // nobody knows yet
		}
		b.Cancel()
		close(wake)
		b.Fails(context.Canceled)
		end()
		if st := pool.Stats(); st.Leases != granted || st.Idle != 1 {
			t.Errorf("not %d were lent: %+v", granted, st)
		}
		use(t, pool)
		if st := pool.Stats(); st.Leases != 2 {
			t.Errorf("two were lent: %+v", st)
		}
	})
}

// Waiters whose ctx has ended do not count, wherever they stand in the queue.
func TestMaxWaitingCountsTheLiving(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, MaxWaiting: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool)
		held.Has()
		first := poolstest.Pop(t, pool)
		first.Waits()
		ctx, cancel := context.WithCancel(t.Context())
		var gone sync.WaitGroup
		for range 2 {
			gone.Go(func() {
				if _, err := pool.Pop(ctx); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		// They are held up on their way out.
		out := make(chan struct{})
		end := pools.SetPause(func(before string) {
			if before == "cancelled" {
				<-out
			}
		})
		cancel()
		synctest.Wait()
		last := poolstest.Pop(t, pool)
		last.Waits()
		close(out)
		gone.Wait()
		end()
		held.Push()
		first.Has()
		first.Push()
		last.Has()
		last.Push()
	})
}

// userCtx is a context of a user's own, whose methods do what methods may do.
type userCtx struct {
	context.Context
	before func(method string)
}

func (c *userCtx) Done() <-chan struct{}       { c.before("Done"); return c.Context.Done() }
func (c *userCtx) Err() error                  { c.before("Err"); return c.Context.Err() }
func (c *userCtx) Value(key any) any           { c.before("Value"); return c.Context.Value(key) }
func (c *userCtx) Deadline() (time.Time, bool) { c.before("Deadline"); return c.Context.Deadline() }

// The methods of a ctx are user code: none runs under the lock, so they may use
// the pool.
func TestContextsThatUseThePool(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		asked := map[string]int{}
		var mu sync.Mutex
		mine := func(parent context.Context) context.Context {
			return &userCtx{parent, func(method string) {
				mu.Lock()
				asked[method]++
				mu.Unlock()
				_, _ = pool.Stats(), pool.Available()
			}}
		}
		held := poolstest.Pop(t, pool)
		held.Has()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for _, ctx := range []context.Context{mine(t.Context()), mine(short), mine(t.Context())} {
			all.Go(func() {
				err := pool.Use(ctx, func(r resource) error { return r.Do(nil) })
				if (err != nil) != (ctx.(*userCtx).Context == short) {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		if err := pool.Fill(mine(t.Context()), 1); err != nil {
			t.Error(err)
		}
		held.Push()
		all.Wait()
		if err := pool.Refresh(mine(t.Context()), 0); err != nil {
			t.Error(err)
		}
		if err := pool.Close(mine(t.Context())); err != nil {
			t.Error(err)
		}
		if asked["Done"] == 0 || asked["Err"] == 0 {
			t.Errorf("a ctx was not asked: %v", asked)
		}
	})
}

// A ctx whose methods panic, as those of a recycled request do, is its
// caller's: no other is hurt, and nothing is lost.
func TestContextsThatPanic(t *testing.T) {
	for _, method := range []string{"Done", "Err", "Value"} {
		scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			held := poolstest.Pop(t, pool)
			held.Has()
			var over atomic.Bool
			parent, cancel := context.WithCancel(t.Context())
			ctx := &userCtx{parent, func(asked string) {
				if asked == method && over.Load() {
					panic("the request is over")
				}
			}}
			panicked := make(chan any)
			pop := func() {
				defer func() { panicked <- recover() }()
				_, _ = pool.Pop(ctx)
			}
			over.Store(method == "Done") // which is asked before it waits
			go pop()
			synctest.Wait()
			next := poolstest.Pop(t, pool)
			next.Waits()
			if method != "Done" {
				over.Store(true)
				cancel()
			}
			if v := <-panicked; v == nil {
				t.Errorf("%s: nothing panicked", method)
			}
			if n := pool.Stats().Waiting; n != 1 {
				t.Errorf("%s: %d wait", method, n)
			}
			held.Push()
			next.Has()
			next.Push()
			cancel()
		})
	}
}
