package pools_test

import (
	"bytes"
	"log/slog"
	"runtime"
	"strings"
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

// eventually collects until done, letting virtual time pass in between.
// Collections happen in real time, so the rounds are bounded and not timed.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
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
	scenario(t, pools.Settings{Size: 1, TrackHolders: true, Logger: slog.New(slog.NewTextHandler(&logged, nil))},
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

func TestLostReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 1)
		pool, err := pools.New("report", server.Connector(), pools.Settings{Size: 1, Lost: pools.LostReport})
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

// Idle for longer than CheckAfter: checked before it is lent, not before that.
func TestCheckAfterIdle(t *testing.T) {
	scenario(t, pools.Settings{Size: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		time.Sleep(3 * time.Second)
		use(t, pool)
		if server.Check.Calls() != 0 {
			t.Error("checked too early")
		}
		time.Sleep(8 * time.Second)
		if st := pool.Stats(); st.Stale != 1 || pool.Available() != 3 {
			t.Errorf("%+v", st)
		}
		if _, ok := pool.TryPop(); ok {
			t.Error("TryPop took an unchecked one")
		}
		use(t, pool)
		if server.Check.Calls() != 1 || server.Opened() != 1 {
			t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
		}
		time.Sleep(8 * time.Second)
		server.Check.Next(poolstest.Fail(errRefused))
		use(t, pool)
		if server.Opened() != 2 {
			t.Errorf("the dead one was not replaced: opened %d", server.Opened())
		}
	}, poolstest.WithCheck)
}

func TestCheckAlways(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, CheckAfter: pools.Always}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 5 {
			use(t, pool)
		}
		if server.Check.Calls() != 4 || server.Opened() != 1 {
			t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
		}
	}, poolstest.WithCheck)
}

func TestCheckAlwaysBeforeAHandOn(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, CheckAfter: pools.Always}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		a.Push()
		b.Has()
		if n := server.Check.Calls(); n != 1 {
			t.Errorf("%d checks between two uses", n)
		}
		b.Push()
	}, poolstest.WithCheck)
}

// A Reset that fails or hangs closes the connection.
func TestResetFailsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 1, ResetTimeout: time.Second}, poolstest.WithReset)
		server.Reset.Next(poolstest.Fail(errRefused), server.Hang())
		use(t, pool)
		use(t, pool)
		began := time.Now()
		use(t, pool)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("a hung Reset kept its slot for %v", took)
		}
		if server.Opened() != 3 {
			t.Errorf("opened %d", server.Opened())
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
