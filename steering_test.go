package pools_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
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

func resize(t *testing.T, pool pools.AnyPool, size int) {
	t.Helper()
	if err := pool.Configure(func(s *pools.Settings) { s.Size = size }); err != nil {
		t.Error(err)
	}
}

// W5: whatever makes more possible serves a waiter, though nothing else
// happens.
func TestOperatorsServeWaiters(t *testing.T) {
	t.Run("resize up", func(t *testing.T) {
		scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Limit(2)
			a := poolstest.Pop(t, pool)
			a.Has()
			b := poolstest.Pop(t, pool)
			b.Waits()
			resize(t, pool, 2)
			b.Has()
			a.Push()
			b.Push()
		})
	})
	t.Run("resume", func(t *testing.T) {
		for _, idle := range []int{0, 1} {
			scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				for range idle {
					use(t, pool)
				}
				pool.Pause()
				a := poolstest.Pop(t, pool)
				b := poolstest.Pop(t, pool)
				time.Sleep(10 * time.Second)
				a.Waits()
				b.Waits()
				pool.Resume()
				a.Has()
				b.Has()
				a.Push()
				b.Push()
			})
		}
	})
	t.Run("refresh", func(t *testing.T) {
		scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a := poolstest.Pop(t, pool)
			old := a.Has()
			b := poolstest.Pop(t, pool)
			b.Waits()
			refreshed := make(chan error)
			go func() { refreshed <- pool.Refresh(t.Context(), 0) }()
			b.Waits()
			a.Push()
			if b.Has().ID() == old.ID() {
				t.Error("b has the old connection")
			}
			if err := <-refreshed; err != nil {
				t.Error(err)
			}
			b.Push()
		})
	})
	t.Run("expiry", func(t *testing.T) {
		scenario(t, pools.Settings{Size: 1, MaxLifetime: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a := poolstest.Pop(t, pool)
			old := a.Has()
			b := poolstest.Pop(t, pool)
			time.Sleep(2 * time.Second)
			b.Waits()
			a.Push()
			if b.Has().ID() == old.ID() {
				t.Error("b has the expired connection")
			}
			b.Push()
		})
	})
}

// L7
func TestShrinkBelowHeldAndGrow(t *testing.T) {
	scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var held []*popper
		for range 4 {
			held = append(held, poolstest.Pop(t, pool))
		}
		for _, h := range held {
			h.Has()
		}
		w := poolstest.Pop(t, pool)
		w.Waits()
		resize(t, pool, 2)
		if st := pool.Stats(); st.Size != 2 || st.Held != 4 || st.Excess != 2 || pool.Available() != 0 {
			t.Errorf("%+v", st)
		}
		held[0].Push()
		held[1].Push()
		w.Waits() // these two were too many
		if server.IsOpen() != 2 {
			t.Errorf("%d are open", server.IsOpen())
		}
		held[2].Push()
		w.Has()
		resize(t, pool, 3)
		x := poolstest.Pop(t, pool)
		x.Has()
		y := poolstest.Pop(t, pool)
		y.Waits()
		y.Cancel()
		for _, h := range []*popper{held[3], w, x} {
			h.Push()
		}
	})
}

// A connection that comes back while Configure looks for idle ones, just
// behind where it looks, is not lent again beyond the new Size.
func TestPushDuringAShrink(t *testing.T) {
	pool, _ := poolstest.New(t, pools.Settings{Size: 2}) // in real time: a Push waits for the lock
	a, err := pool.Pop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.Pop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pushed := make(chan error, 1)
	defer pools.SetPauseLocked("shed", sync.OnceFunc(func() {
		go func() { pushed <- b.Push() }()
		for end := time.Now().Add(5 * time.Millisecond); len(pushed) == 0 && time.Now().Before(end); {
			runtime.Gosched() // it may have to wait for Configure
		}
	}))()
	if err := pool.Configure(func(s *pools.Settings) { s.Size = 1 }); err != nil {
		t.Fatal(err)
	}
	if err := <-pushed; err != nil {
		t.Fatal(err)
	}
	if c, ok := pool.TryPop(); ok {
		t.Errorf("two of one are lent: %+v", pool.Stats())
		_ = c.Push()
	}
	if err := a.Push(); err != nil {
		t.Error(err)
	}
}

// L6
func TestShrinkThenGrowAtOnce(t *testing.T) {
	for _, sizes := range [][]int{{10, 3, 10}, {100, 2, 200, 65, 64, 300, 1}} { // with and without hints
		scenario(t, pools.Settings{Size: sizes[0]}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Limit(0)
			if err := pool.Fill(t.Context(), sizes[0]); err != nil {
				t.Fatal(err)
			}
			last := poolstest.Pop(t, pool)
			last.Has()
			for _, size := range sizes[1:] {
				before := pool.Stats()
				resize(t, pool, size)
				st := pool.Stats()
				if pool.Settings().Size != size || st.Size != size || st.Leases != before.Leases {
					t.Errorf("size %d, leases %d before: %+v", pool.Settings().Size, before.Leases, st)
				}
				poolstest.Check(t, pool, server)
				synctest.Wait()
				if open := server.IsOpen(); open > size {
					t.Errorf("%d are open, size %d", open, size)
				}
				if got := pool.Available(); got != size-1 {
					t.Errorf("%d available of %d, one is held", got, size)
				}
				var all []*popper
				for range size - 1 {
					all = append(all, poolstest.Pop(t, pool))
				}
				for _, p := range all {
					p.Push()
				}
				synctest.Wait()
				if open := server.IsOpen(); open > size {
					t.Errorf("%d are open, size %d", open, size)
				}
			}
			last.Push()
		})
	}
}

// L6, L5
func TestConfigureRefusals(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		before := pool.Settings()
		err := pool.Configure(func(s *pools.Settings) { s.Size, s.MinIdle, s.IdleTimeout, s.MaxUses = 1, 2, -7, -8 })
		for _, field := range []string{"MinIdle", "IdleTimeout", "MaxUses"} {
			if err == nil || !strings.Contains(err.Error(), "Settings."+field+": ") {
				t.Errorf("%s is not named in %v", field, err)
			}
		}
		if pool.Settings() != before {
			t.Error("half applied")
		}
		if err := pool.Configure(nil); err == nil {
			t.Error("nil was accepted")
		}
		if err := pool.Configure(func(s *pools.Settings) { resize(t, pool, 2) }); err == nil {
			t.Error("a Configure that cannot end was accepted")
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := pool.Configure(func(s *pools.Settings) {}); !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
		if err := pool.Refresh(t.Context(), 0); !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
		pool.Pause()
		pool.Resume()
		if n := pool.RevokeAll(); n != 0 {
			t.Error(n)
		}
	})
}

// L5: once a shrinking Configure has returned, no open starts beyond the new
// size, on any path.
func TestNoOpenAfterShrink(t *testing.T) {
	scenario(t, pools.Settings{Size: 8, MinIdle: 8}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		wait := useAtOnce(t, pool, 8, holdFor(time.Second))
		filled := make(chan error)
		go func() { filled <- pool.Fill(t.Context(), 8) }()
		time.Sleep(1500 * time.Millisecond)
		if err := pool.Configure(func(s *pools.Settings) { s.Size, s.MinIdle = 1, 1 }); err != nil {
			t.Fatal(err)
		}
		begun := server.Open.Calls()
		if err := <-filled; err == nil || !strings.Contains(err.Error(), "Size was lowered to 1") {
			t.Errorf("fill: %v", err)
		}
		wait()
		time.Sleep(10 * time.Second)
		if server.Open.Calls() != begun || server.IsOpen() != 1 {
			t.Errorf("%d opens more, %d open", server.Open.Calls()-begun, server.IsOpen())
		}
	})
}

// WaitTimeout, Logger, TrackHolders and TrackGoroutines of a running pool, seen at once.
func TestConfigureTakesEffect(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		held := a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		var logged []string
		logger := slog.New(handler(func(r slog.Record) { logged = append(logged, r.Message) }))
		if err := pool.Configure(func(s *pools.Settings) {
			s.WaitTimeout, s.Logger, s.TrackHolders = time.Second, logger, true
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.Fails(pools.ErrWaitTimeout)
		a.Push()
		_ = held.Push()
		if len(logged) != 2 {
			t.Errorf("logged: %q", logged)
		}
		conn := poolstest.Pop(t, pool).Has()
		for c := range pool.Connections() {
			if !strings.Contains(c.Stack, "PopContext") || c.Goroutine != 0 {
				t.Errorf("%+v", c)
			}
		}
		for _, goroutines := range []bool{true, false} {
			if err := pool.Configure(func(s *pools.Settings) { s.TrackHolders, s.TrackGoroutines = false, goroutines }); err != nil {
				t.Fatal(err)
			}
			_ = conn.Push()
			conn = poolstest.Pop(t, pool).Has()
			for c := range pool.Connections() {
				if c.Stack != "" || (c.Goroutine != 0) != goroutines { // of an earlier holder
					t.Errorf("%+v", c)
				}
			}
		}
		_ = conn.Push()
	})
}

// Nothing is half applied over a group either.
func TestGroupConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g pools.Group
		var all []*pools.Pool[resource]
		for _, name := range []string{"one", "two", "three"} {
			server := poolstest.NewServer(t, 0)
			p, err := pools.New(name, server.Connector(), pools.Settings{Size: 2})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		if err := g.Add(all[2], all[0], all[1]); err != nil { // not in the order in which they were made
			t.Fatal(err)
		}
		err := g.Configure(func(name string, s *pools.Settings) {
			s.Size = 7
			if name != "one" {
				s.IdleTimeout = -7
			}
		})
		if err == nil || !strings.Contains(err.Error(), `"two"`) || !strings.Contains(err.Error(), `"three"`) {
			t.Error(err)
		}
		for _, p := range all {
			if p.Settings().Size != 2 {
				t.Errorf("%s: half applied", p.Name())
			}
		}
		// All at once, also beside others that do the same and that log.
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := g.Configure(func(name string, s *pools.Settings) {
					s.Size = 3 + i
					s.Logger = slog.New(handler(func(slog.Record) { g.Stats() }))
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all[0].Settings().Size != all[1].Settings().Size || all[0].Settings().Size != all[2].Settings().Size || all[0].Settings().Size < 3 {
			t.Error(all[0].Settings().Size, all[1].Settings().Size, all[2].Settings().Size)
		}
		if err := all[1].Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := g.Configure(func(_ string, s *pools.Settings) { s.Size = 1 }); !errors.Is(err, pools.ErrClosed) || all[0].Settings().Size == 1 {
			t.Error(err, all[0].Settings().Size)
		}
		if err := g.Configure(nil); err == nil {
			t.Error("nil was accepted")
		}
		_ = g.Close(t.Context())
	})
}

func TestPause(t *testing.T) {
	scenario(t, pools.Settings{Size: 3, WaitTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a := poolstest.Pop(t, pool)
		time.Sleep(time.Second)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		pool.Pause()
		pool.Pause()
		time.Sleep(time.Second)
		b.Waits() // its open has finished, and is idle
		if st := pool.Stats(); !st.Paused || st.Idle != 1 || pool.Available() != 0 {
			t.Errorf("%+v", st)
		}
		if _, ok := pool.TryPop(); ok {
			t.Error("a paused pool lends")
		}
		a.Push() // holders go on
		b.Waits()
		if err := pool.Fill(t.Context(), 3); !errors.Is(err, pools.ErrPaused) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		b.Fails(pools.ErrPaused)
		b.Fails(pools.ErrWaitTimeout)
		if server.Open.Calls() != 2 {
			t.Errorf("%d opens", server.Open.Calls())
		}
		c := poolstest.Pop(t, pool)
		c.Waits()
		pool.Resume()
		c.Has()
		c.Push()
	})
}

// Paused, the prober rests too.
func TestPauseWhileDown(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		pool.Pause()
		tries := server.Open.Calls()
		w := poolstest.Pop(t, pool)
		time.Sleep(20 * time.Second)
		w.Waits()
		if n := server.Open.Calls(); n != tries {
			t.Errorf("%d tries while paused", n-tries)
		}
		server.Open.Clear()
		pool.Resume()
		w.Has() // it was down as far as anybody knew; now it is tried first
		w.Push()
		use(t, pool)
	})
}

// Resume tries before it refuses, and then refuses with what the try said.
func TestResumeWhileDown(t *testing.T) {
	errStill := errors.New("still refused")
	scenario(t, pools.Settings{Size: 5, ReconnectAttempts: 1, WaitTimeout: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		pool.Pause()
		var all []*popper
		for range 3 {
			all = append(all, poolstest.Pop(t, pool))
		}
		time.Sleep(10 * time.Minute)
		server.Open.Always(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(errStill)))
		tries := server.Open.Calls()
		pool.Resume()
		synctest.Wait()
		all = append(all, poolstest.Pop(t, pool))
		for _, w := range all {
			w.Waits()
		}
		time.Sleep(time.Second)
		for _, w := range all {
			w.Fails(errStill)
		}
		if n := server.Open.Calls() - tries; n != 1 {
			t.Errorf("Resume tried %d times at once", n)
		}
		began := time.Now()
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		server.Open.Clear()
		time.Sleep(time.Minute)
	})
}

// A try that Pause or a smaller Size ended is no failure of the server.
func TestPauseBetweenTries(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 3, WaitTimeout: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Fail(errRefused))
		w := poolstest.Pop(t, pool)
		w.Waits() // the first try has failed
		pool.Pause()
		time.Sleep(time.Minute)
		w.Waits()
		if st := pool.Stats(); st.Down || st.OpenErrors != 0 || st.Opening != 0 {
			t.Errorf("%+v", st)
		}
		pool.Resume()
		w.Has()
		w.Push()
		// The same of a smaller Size.
		held := poolstest.Pop(t, pool)
		held.Has()
		server.Open.Next(poolstest.Fail(errRefused))
		w = poolstest.Pop(t, pool)
		w.Waits()
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 1 }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.Waits()
		if st := pool.Stats(); st.Down || st.OpenErrors != 0 || st.Opening != 0 {
			t.Errorf("%+v", st)
		}
		held.Push()
		w.Has()
		w.Push()
	})
}

func TestCloseWhilePaused(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		pool.Pause()
		w := poolstest.Pop(t, pool)
		w.Waits()
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.Fails(pools.ErrClosed)
	})
}

// O10
func TestRevokeAll(t *testing.T) {
	for _, options := range [][]poolstest.Option{nil, {poolstest.WithAbort}} {
		scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a := poolstest.Pop(t, pool)
			b := poolstest.Pop(t, pool)
			first, second := a.Has(), b.Has()
			w := poolstest.Pop(t, pool)
			w.Waits()
			aborted := make(chan struct{})
			server.Abort.Next(poolstest.Call(func() { close(aborted) }), poolstest.Panic("abort"))
			used := make(chan error)
			go func() { used <- first.Resource().Do(func() { <-aborted }) }()
			synctest.Wait()
			if n := pool.RevokeAll(); n != 2 {
				t.Errorf("%d leases", n)
			}
			synctest.Wait()
			if n := server.Abort.Calls(); n != 2*len(options) {
				t.Errorf("%d aborts", n)
			}
			if len(options) == 0 {
				close(aborted)
			}
			if st := pool.Stats(); st.Revoked != 2 || st.Held != 0 {
				t.Errorf("%+v", st)
			}
			if n := pool.RevokeAll(); n != 0 {
				t.Errorf("%d leases", n)
			}
			w.Waits() // nothing is closed under its user
			if err := <-used; err != nil {
				t.Error(err)
			}
			first.Resource() // still answers
			if err := first.Push(); !errors.Is(err, pools.ErrRevoked) || !errors.Is(err, pools.ErrNotHeld) {
				t.Error(err)
			}
			if w.Has().ID() == first.ID() {
				t.Error("a revoked connection was lent again")
			}
			if err := first.Push(); errors.Is(err, pools.ErrRevoked) || !errors.Is(err, pools.ErrNotHeld) {
				t.Error(err)
			}
			if _, err := second.Detach(); !errors.Is(err, pools.ErrRevoked) {
				t.Error(err)
			}
			w.Push()
			synctest.Wait()
			if st := pool.Stats(); st.Misused != 1 || server.IsOpen() != 1 {
				t.Errorf("%d open, %+v", server.IsOpen(), st)
			}
		}, options...)
	}
}

// O10: a connection that is revoked on its way to a waiter that gives up is
// not lent to the next one.
func TestRevokedOnItsWay(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		old := a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(10 * time.Millisecond) // strict order: b is granted what a pushes
		told, goOn := make(chan struct{}), make(chan struct{})
		var once atomic.Bool
		defer pools.SetPause(func(before string) {
			if before == "token" && once.CompareAndSwap(false, true) {
				close(told)
				<-goOn
			}
		})()
		go a.Push()
		<-told
		if n := pool.RevokeAll(); n != 1 {
			t.Errorf("%d leases", n)
		}
		c := poolstest.Pop(t, pool)
		b.Cancel()
		if conn := c.Has(); conn.ID() == old.ID() {
			t.Error("a revoked connection was lent")
		}
		close(goOn)
		b.Fails(context.Canceled)
		c.Push()
	})
}

// Who has held for long is revoked, too: the keeper watches over those leases.
func TestRevokeTheOldest(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		conn := poolstest.Pop(t, pool).Has()
		time.Sleep(10 * time.Second)
		if n := pool.RevokeAll(); n != 1 {
			t.Errorf("%d leases were revoked", n)
		}
		if err := conn.Push(); !errors.Is(err, pools.ErrRevoked) {
			t.Errorf("pushed: %v", err)
		}
		synctest.Wait()
		if n := server.IsOpen(); n != 0 {
			t.Errorf("%d are open", n)
		}
	})
}

// A Conn that was revoked and then forgotten is found.
func TestRevokedAndForgotten(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		forget(t, pool)
		if pool.RevokeAll() != 1 {
			t.Error("nothing was revoked")
		}
		eventually(t, "the lost connection is closed", func() bool {
			synctest.Wait()
			return pool.Stats().Lost == 1 && server.IsOpen() == 0
		})
		use(t, pool)
	})
}

// L5, and a pause: an open that is being retried is not tried again.
func TestNoRetryAfterPauseOrShrink(t *testing.T) {
	for name, stop := range map[string]func(*testing.T, *pools.Pool[resource]){
		"pause":  func(_ *testing.T, pool *pools.Pool[resource]) { pool.Pause() },
		"shrink": func(t *testing.T, pool *pools.Pool[resource]) { resize(t, pool, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				a := poolstest.Pop(t, pool)
				a.Has()
				server.Open.Always(poolstest.Fail(errRefused))
				b := poolstest.Pop(t, pool)
				b.Waits()
				stop(t, pool)
				tries := server.Open.Calls()
				time.Sleep(20 * time.Second)
				if n := server.Open.Calls(); n != tries {
					t.Errorf("%d tries more", n-tries)
				}
				pool.Resume()
				a.Push()
				b.Push()
			})
		})
	}
}

// What is there is worth more than what may hang: opens under way give way to
// it when Size is lowered.
func TestShrinkKeepsWhatLives(t *testing.T) {
	scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		a.Has()
		b.Has()
		server.Open.Always(poolstest.Delay(5 * time.Second))
		w, x := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		w.Waits()
		x.Waits()
		resize(t, pool, 2)
		a.Push()
		b.Push()
		w.Has()
		x.Has()
		time.Sleep(10 * time.Second) // the opens end, and are too many
		if n := server.IsOpen(); n != 2 {
			t.Errorf("%d are open", n)
		}
		w.Push()
		x.Push()
	})
}

// Strict: what a hung call keeps counts, after a shrink too.
func TestStrictShrinkBesideHungCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 4)
		pool := poolstest.Make(t, server, pools.Settings{Size: 4, Strict: true, CloseTimeout: time.Second})
		if err := pool.Fill(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		server.Close.Next(server.Hang())
		if err := poolstest.Pop(t, pool).Has().Destroy(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		resize(t, pool, 2)
		time.Sleep(5 * time.Second)
		if server.IsOpen() != 2 {
			t.Errorf("%d are open: %+v", server.IsOpen(), pool.Stats())
		}
		server.Release()
	})
}

// L3: an Abort that takes its time does not hold up Close or RevokeAll.
func TestSlowAbort(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Abort.Always(poolstest.Deaf(3 * time.Second))
		var held []pools.Conn[resource]
		for range 10 {
			held = append(held, poolstest.Pop(t, pool).Has())
		}
		began := time.Now()
		if n := pool.RevokeAll(); n != 10 || time.Since(began) != 0 {
			t.Errorf("%d leases after %v", n, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pool.Close(ctx); !stillOut(err) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		for _, h := range held {
			_ = h.Push()
		}
	}, poolstest.WithAbort)
}

// Settings that become stricter hold for connections that are idle already.
func TestConfigureHoldsForIdleConnections(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		if err := pool.Configure(func(s *pools.Settings) { s.CheckAfter = pools.Always }); err != nil {
			t.Fatal(err)
		}
		use(t, pool)
		if server.Check.Calls() != 1 {
			t.Error("lent without a check")
		}
		if err := pool.Configure(func(s *pools.Settings) { s.MaxUses = 2 }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if server.IsOpen() != 0 {
			t.Error("a connection that is used up was kept")
		}
	}, poolstest.WithCheck)
}

// A Fill learns that Size is less than it wants, also while nothing else
// happens.
func TestFillLearnsOfAShrink(t *testing.T) {
	scenario(t, pools.Settings{Size: 10, MaxOpensPerSecond: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		filled := make(chan error, 1)
		go func() { filled <- pool.Fill(t.Context(), 8) }()
		time.Sleep(3500 * time.Millisecond)
		resize(t, pool, 4)
		synctest.Wait()
		select {
		case err := <-filled:
			if err == nil || !strings.Contains(err.Error(), "Size was lowered to 4") {
				t.Error(err)
			}
		default:
			t.Fatal("it still waits")
		}
	})
}

// L4
func TestEverythingAtOnceWithClose(t *testing.T) {
	for range 50 {
		scenario(t, pools.Settings{Size: 4, MaxLifetime: 3 * time.Millisecond, IdleTimeout: 2 * time.Millisecond, MinIdle: 2},
			func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				if err := pool.Fill(t.Context(), 4); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() { _ = pool.Refresh(t.Context(), time.Millisecond) })
					wg.Go(func() { _ = pool.Refresh(t.Context(), 0) })
					wg.Go(func() { _ = pool.Configure(func(s *pools.Settings) { s.Size, s.MinIdle = 2, 1 }) })
					wg.Go(func() { pool.Pause(); pool.RevokeAll(); pool.Resume() })
					wg.Go(func() { _ = pool.Use(t.Context(), holdFor(time.Millisecond)) })
					wg.Go(func() { pool.Pause() })
				}
				time.Sleep(time.Millisecond)
				if err := pool.Close(t.Context()); err != nil {
					t.Error(err)
				}
				wg.Wait()
				if err := pools.AtRest(pool); err != nil {
					t.Error(err)
				}
			})
	}
}

// A try from before the Pause says nothing of the server after it.
func TestResumeBesideAnOldTry(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Fail(errRefused))
		poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
		time.Sleep(time.Nanosecond)
		poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed) // it asks
		server.Open.Next(poolstest.InOrder(poolstest.Delay(5*time.Second), poolstest.Fail(errRefused)))
		for pool.Stats().Opening == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		pool.Pause()
		time.Sleep(time.Second) // the server is repaired
		pool.Resume()
		w := poolstest.Pop(t, pool)
		w.Waits()
		time.Sleep(5 * time.Second)
		w.Has()
		w.Push()
	})
}

// After Resume nobody comes between the slices in which those that waited are
// served.
func TestResumeOfManyInOrder(t *testing.T) {
	defer pools.SetBatch(4)()
	scenario(t, pools.Settings{Size: 200}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 200); err != nil {
			t.Fatal(err)
		}
		pool.Pause()
		var all []*popper
		for range 200 {
			all = append(all, poolstest.Pop(t, pool))
		}
		all[199].Waits()
		time.Sleep(10 * time.Second)
		pool.Resume()
		if _, ok := pool.TryPop(); ok {
			t.Errorf("a newcomer was served before %d that have waited for 10 s", pool.Stats().Waiting)
		}
		for _, w := range all {
			w.Has()
			w.Push()
		}
	})
}

// A search that still knows a table with hints meets a table without.
func TestShrinkToFewSlots(t *testing.T) {
	pool, err := pools.New("few", pools.OpenFunc(func(context.Context) (io.Closer, error) { return io.NopCloser(nil), nil }), pools.Settings{Size: 65})
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !stop.Load() {
				if conn, ok := pool.TryPop(); ok {
					_ = conn.Push()
				} else if conn, err := pool.Pop(t.Context()); err == nil {
					_ = conn.Push()
				}
			}
		})
	}
	for i := range 2000 {
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 64 + i%2 }); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	all.Wait()
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A Pop may be faster than a shrink that has just found its connection idle.
func TestShrinkBesideAFastPop(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		var all []pools.Conn[resource]
		end := pools.SetPauseLocked("take_out", func() {
			for conn, ok := pool.TryPop(); ok; conn, ok = pool.TryPop() {
				all = append(all, conn)
			}
		})
		resize(t, pool, 1)
		end()
		synctest.Wait()
		if len(all) != 2 || server.IsOpen() != 2 {
			t.Fatalf("%d are held, %d are open", len(all), server.IsOpen())
		}
		for _, conn := range all {
			if err := conn.Resource().Do(nil); err != nil {
				t.Error(err)
			}
			if err := conn.Push(); err != nil {
				t.Error(err)
			}
		}
	})
}
