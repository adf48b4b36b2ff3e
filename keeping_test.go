package pools_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// forget pops and loses the Conn.
//
//go:noinline
func forget(t *testing.T, pool *pools.Pool[resource]) {
	if _, err := pool.Pop(t.Context()); err != nil {
		t.Error(err)
	}
}

// realTime is how long the tests have run. A bubble's clock is as fast as its
// goroutines, but the collector's cleanups run outside of it, and a busy machine
// may be slow to begin one.
var realTime atomic.Int64

func init() {
	began := time.Now()
	go func() {
		for {
			time.Sleep(10 * time.Millisecond)
			realTime.Store(int64(time.Since(began)))
		}
	}()
}

// patience returns a function that is true for 20 s of real time.
func patience() func() bool {
	end := realTime.Load() + int64(20*time.Second)
	return func() bool { return realTime.Load() < end }
}

// eventually collects until done, letting virtual time pass in between.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for lasts := patience(); lasts(); {
		if done() {
			return
		}
		runtime.GC()
		time.Sleep(time.Second)
	}
	t.Fatalf("never: %s", what)
}

// O11
func TestForgottenConnComesBack(t *testing.T) {
	var logged bytes.Buffer
	scenario(t, pools.Settings{Size: 1, TrackHolders: true, TrackGoroutines: true, Logger: slog.New(slog.NewTextHandler(&logged, nil))},
		func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			forget(t, pool)
			eventually(t, "the lost connection is closed", func() bool {
				synctest.Wait()
				return pool.Stats().Lost == 1 && server.IsOpen() == 0
			})
			use(t, pool)
			if text := logged.String(); !strings.Contains(text, "forgotten without Push") || !strings.Contains(text, "keeping_test.go") {
				t.Errorf("logged: %s", text)
			}
		})
}

// O11: never while it is reachable.
func TestReachableConnIsNotLost(t *testing.T) {
	scenario(t, pools.Settings{Size: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		conn := poolstest.Pop(t, pool).Has()
		used := make(chan struct{})
		done := make(chan error)
		go func() {
			done <- pool.Use(t.Context(), func(r resource) error {
				<-used // the function itself holds the resource only
				return r.Do(nil)
			})
		}()
		deferred := make(chan struct{})
		go func() {
			c, err := pool.Pop(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Push()
			r := c.Resource()
			<-used
			_ = r.Do(nil)
			close(deferred)
		}()
		for range 20 {
			runtime.GC()
			time.Sleep(time.Second)
		}
		if st := pool.Stats(); st.Lost != 0 || st.Held != 3 {
			t.Errorf("%+v", st)
		}
		close(used)
		<-deferred
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := conn.Push(); err != nil {
			t.Error(err)
		}
		// They came back whole: the slots have their handles again.
		for range 3 {
			use(t, pool)
		}
		for range 20 {
			runtime.GC()
			time.Sleep(time.Second)
		}
		if st := pool.Stats(); st.Lost != 0 || st.Idle != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// O11: never a later connection in the same slot.
func TestLostLeaseDoesNotHurtTheNextConnection(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 5 {
			lost := pool.Stats().Lost
			forget(t, pool)
			eventually(t, "lost", func() bool { return pool.Stats().Lost == lost+1 })
			conn := poolstest.Pop(t, pool).Has()
			for range 5 {
				runtime.GC()
				time.Sleep(time.Second)
			}
			if err := conn.Resource().Do(nil); err != nil {
				t.Error(err)
			}
			if err := conn.Destroy(); err != nil {
				t.Error(err)
			}
		}
	})
}

// O11: when everything is blocked no collection comes by itself.
func TestForgottenConnInABlockedProgram(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		forget(t, pool)
		use(t, pool) // blocks; the keeper has to collect
		if st := pool.Stats(); st.Lost != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// And Close waits in vain for a lease that nobody can push, in a program in
// which nothing else makes the collector run.
func TestForgottenConnWhileClosing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 2)
		pool, err := pools.New("closing", server.Connector(), pools.Settings{Size: 2})
		if err != nil {
			t.Fatal(err)
		}
		forget(t, pool)
		closes := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			return pool.Close(ctx)
		}
		err = closes()
		for lasts := patience(); err != nil && lasts(); err = closes() {
			runtime.Gosched()
		}
		if err != nil {
			t.Error(err)
		}
		if st := pool.Stats(); st.Lost != 1 || server.IsOpen() != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A Close that waits has the collector run, though it ran for a waiter a
// moment ago; when Close has returned nobody waits any more.
func TestCollectionsForClose(t *testing.T) {
	collected := 0
	defer pools.SetPauseLocked("collect", func() { collected++ })()
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		time.Sleep(5 * time.Second)
		b.Waits()
		if collected != 1 {
			t.Errorf("%d for a waiter", collected)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if pool.Close(ctx) == nil {
			t.Error("closed, and one is out")
		}
		b.Fails(pools.ErrClosed)
		if collected != 2 {
			t.Errorf("%d for a waiter and a Close", collected)
		}
		time.Sleep(time.Hour)
		a.Push()
		if collected != 2 {
			t.Errorf("%d though nobody waits", collected)
		}
	})
}

func TestKeepLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 1)
		pool, err := pools.New("report", server.Connector(), pools.Settings{Size: 1, KeepLost: true})
		if err != nil {
			t.Fatal(err)
		}
		forget(t, pool)
		eventually(t, "reported", func() bool { return pool.Stats().Lost == 1 })
		time.Sleep(10 * time.Second)
		if st := pool.Stats(); st.Lost != 1 || st.Held != 1 || server.IsOpen() != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// An idle pool runs no timer once nothing is open, and Close leaves none.
func TestEmptyPoolCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 1)
		pool, err := pools.New("empty", server.Connector(), pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := pool.Use(t.Context(), func(resource) error { return pools.Discard(nil) }); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if pools.KeeperRuns(pool) {
			t.Error("the keeper runs for an empty pool")
		}
		use(t, pool)
		if !pools.KeeperRuns(pool) {
			t.Error("the keeper sleeps beside a connection")
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if pools.KeeperRuns(pool) {
			t.Error("the keeper runs after Close")
		}
	})
}

// P6: what was opened together goes in turn, over the jitter, below a second
// too, and never late by more than the keeper's precision.
func TestLifetimesAreSpread(t *testing.T) {
	for _, life := range []time.Duration{200 * time.Millisecond, 30 * time.Second, time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			scenario(t, pools.Settings{Size: 200, MaxLifetime: life, IdleTimeout: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				if err := pool.Fill(t.Context(), 200); err != nil {
					t.Fatal(err)
				}
				look := max(life/400, time.Millisecond)
				time.Sleep(life - life/10 - look)
				synctest.Wait()
				if n := server.IsOpen(); n != 200 {
					t.Fatalf("%d of 200 are open before anything may expire", n)
				}
				// In tenths of the jitter: a tenth of them each, give or take
				// one look, and one that is at the same instant as this one.
				for tenth := range 9 {
					time.Sleep(life / 100)
					synctest.Wait()
					if n, want := server.IsOpen(), 200-20*(tenth+1); n < want-10 || n > want+30 {
						t.Errorf("%d tenths on, %d are open, expected %d", tenth+1, n, want)
					}
				}
				time.Sleep(life/100 + 10*time.Second)
				synctest.Wait()
				if n := server.IsOpen(); n != 0 {
					t.Errorf("%d are still open", n)
				}
				if st := pool.Stats(); st.ClosedBy[pools.ReasonLifetime] != 200 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestLifetimeDoesNotInterruptAHolder(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, MaxLifetime: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		old := a.Has()
		if err := holdFor(time.Minute)(old.Resource()); err != nil {
			t.Error(err)
		}
		old.Resource() // still held
		a.Push()
		synctest.Wait()
		if server.IsOpen() != 0 {
			t.Error("it was kept")
		}
		use(t, pool)
	})
}

// Use after use, without a pause: it still expires.
func TestLifetimeOfABusyConnection(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, MaxLifetime: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 1000 {
			if err := pool.Use(t.Context(), holdFor(10*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		if n := server.Opened(); n < 10 || n > 12 {
			t.Errorf("%d connections in 10 s", n)
		}
	})
}

func TestMaxUses(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, MaxUses: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for i := range 9 {
			if err := pool.Use(t.Context(), func(r resource) error {
				if r.Number != i/3+1 {
					t.Errorf("use %d is of connection %d", i, r.Number)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		// With a waiter too.
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		a.Push()
		b.Push()
		if st := pool.Stats(); st.ClosedBy[pools.ReasonUses] != 3 || server.Opened() != 4 {
			t.Errorf("%d opened, %+v", server.Opened(), st)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	scenario(t, pools.Settings{Size: 8, MinIdle: 2, IdleTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		for range 59 { // one is used again and again
			time.Sleep(time.Second)
			if n := server.IsOpen(); n != 8 {
				t.Fatalf("%d are open before their time", n)
			}
			use(t, pool)
		}
		time.Sleep(1100 * time.Millisecond) // half of them at a look
		if n := server.IsOpen(); n != 4 {
			t.Errorf("%d are open", n)
		}
		time.Sleep(time.Hour)
		if st := pool.Stats(); server.IsOpen() != 2 || st.ClosedBy[pools.ReasonIdle] != 6 || st.ClosedBy[pools.ReasonLifetime] == 0 {
			t.Errorf("%d open, %+v", server.IsOpen(), st)
		}
	})
}

// The time during which a connection is checked in the background does not
// count as use.
func TestIdleTimeoutDespiteKeepAlive(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, KeepAlive: 10 * time.Second, IdleTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Check.Always(poolstest.Delay(500 * time.Millisecond))
		use(t, pool)
		time.Sleep(55 * time.Second)
		if n := server.Check.Calls(); n != 5 {
			t.Errorf("%d checks in 55 s", n)
		}
		time.Sleep(10 * time.Second)
		if server.IsOpen() != 0 {
			t.Error("kept alive for ever")
		}
	}, poolstest.WithCheck)
}

// P12: a spike after a lull still finds half of the connections within a
// second of the moment when all of them are due.
func TestSpikeAfterALull(t *testing.T) {
	for _, busy := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 50, IdleTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Always(poolstest.Delay(150 * time.Millisecond))
			if err := pool.Fill(t.Context(), 50); err != nil { // some opens later than others
				t.Fatal(err)
			}
			if busy {
				useAtOnce(t, pool, 50, holdFor(2*time.Millisecond))() // all at the same time
			}
			for server.IsOpen() == 50 {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(900 * time.Millisecond)
			if n := server.IsOpen(); n < 25 {
				t.Errorf("a second left %d of 50", n)
			}
			began := time.Now()
			useAtOnce(t, pool, 50, holdFor(2*time.Millisecond))()
			if took := time.Since(began); took > 4*time.Millisecond {
				t.Errorf("the spike took %v", took)
			}
		})
	}
}

func TestMinIdle(t *testing.T) {
	scenario(t, pools.Settings{Size: 10, MinIdle: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		time.Sleep(500 * time.Millisecond)
		if st := pool.Stats(); st.Idle != 3 || st.Opening != 0 {
			t.Errorf("after New: %+v", st)
		}
		var held []*popper
		for range 3 {
			held = append(held, poolstest.Pop(t, pool))
			held[len(held)-1].Has()
		}
		time.Sleep(1500 * time.Millisecond)
		if st := pool.Stats(); st.Idle != 3 || st.Held != 3 || st.Opening != 0 {
			t.Errorf("beside three holders: %+v", st)
		}
		// Within Size.
		for range 5 {
			held = append(held, poolstest.Pop(t, pool))
			time.Sleep(time.Second)
			held[len(held)-1].Has()
		}
		time.Sleep(5 * time.Second)
		if st := pool.Stats(); st.Idle != 2 || st.Held != 8 {
			t.Errorf("beside eight holders: %+v", st)
		}
		for _, h := range held {
			h.Push()
		}
		time.Sleep(time.Hour)
		if st := pool.Stats(); st.Idle != 3 {
			t.Errorf("an hour later: %+v", st)
		}
	})
}

// L1, by MinIdle. And while the server is down, nothing storms.
func TestMinIdleWhileDown(t *testing.T) {
	scenario(t, pools.Settings{Size: 10, MinIdle: 5, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		time.Sleep(time.Minute)
		if n := server.Open.Calls(); n < 3 || n > 15 {
			t.Errorf("%d tries in a minute", n)
		}
		server.Open.Always(poolstest.Delay(time.Second))
		time.Sleep(time.Minute)
		if st := pool.Stats(); st.Idle != 5 {
			t.Errorf("%+v", st)
		}
	})
	scenario(t, pools.Settings{Size: 10, MinIdle: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Hour))
		time.Sleep(time.Second)
		if err := pool.Close(t.Context()); err != nil || server.Open.Calls() == 0 {
			t.Errorf("%v, %d opens", err, server.Open.Calls())
		}
	})
}

// O6: expiry races Pop for the same connection: nothing is lost.
func TestExpiryAgainstPop(t *testing.T) {
	rounds := 1_000_000
	if testing.Short() {
		rounds = 100_000
	}
	pool, server := poolstest.New(t, pools.Settings{Size: 2, MaxLifetime: 1, IdleTimeout: 1})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for round := 0; round < rounds/4 || server.Opened() < 1000 && round < 100*rounds; round++ {
				conn, err := pool.Pop(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if conn.Resource().Do(nil) != nil {
					t.Error("a closed connection was lent")
				}
				if err := conn.Push(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for over := done(&wg); !over(); {
		pools.Look(pool)
	}
	if server.Opened() < 1000 {
		t.Errorf("only %d connections were opened", server.Opened())
	}
}

// What MinIdle lacks is counted anew: not more is opened than it asks for when
// things have changed since the last look.
func TestMinIdleIsNotOutOfDate(t *testing.T) {
	scenario(t, pools.Settings{Size: 20, MinIdle: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		var held []pools.Conn[resource]
		for range 10 {
			held = append(held, poolstest.Pop(t, pool).Has())
		}
		server.Open.Always(poolstest.Delay(500 * time.Millisecond))
		for pool.Stats().Opening == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, h := range held {
			_ = h.Destroy()
		}
		time.Sleep(10 * time.Second)
		if n := server.IsOpen(); n != 1 {
			t.Errorf("%d are open", n)
		}
	})
	scenario(t, pools.Settings{Size: 10, MinIdle: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		time.Sleep(10 * time.Second)
		if err := pool.Configure(func(s *pools.Settings) { s.MinIdle = 0 }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		server.Open.Clear()
		time.Sleep(2 * time.Minute)
		if n := server.Opened(); n > 1 { // the prober's
			t.Errorf("%d were opened though nobody wants any", n)
		}
	})
}

// Time in use is not idle time.
func TestIdleTimeBeginsWithThePush(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, IdleTimeout: 10 * time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Use(t.Context(), holdFor(time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if server.IsOpen() != 1 {
			t.Error("closed too early")
		}
		time.Sleep(3 * time.Second)
		if server.IsOpen() != 0 {
			t.Error("kept")
		}
	})
}

// O11, after Size was lowered: the slots that nobody may use are no hope.
func TestForgottenConnInABlockedProgramAfterAShrink(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, WaitTimeout: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool)
		held.Has()
		forget(t, pool)
		resize(t, pool, 1)
		held.Push()
		use(t, pool) // blocks; the keeper has to collect
		if st := pool.Stats(); st.Lost != 1 {
			t.Errorf("%+v", st)
		}
	})
}
