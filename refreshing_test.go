package pools_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// refresh starts a Refresh and returns how it ends.
func refresh(pool *pools.Pool[resource], ctx context.Context, over time.Duration) chan error {
	done := make(chan error, 1)
	go func() { done <- pool.Refresh(ctx, over) }()
	return done
}

func TestRefreshReplacesAll(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		held := poolstest.Pop(t, pool).Has()
		least := 8
		done := refresh(pool, t.Context(), 0)
		began := time.Now()
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			least = min(least, server.IsOpen())
		}
		select {
		case err := <-done:
			t.Fatalf("it ended beside a holder: %v", err)
		default:
		}
		if least < 4 {
			t.Errorf("at one time only %d of 8 were open", least)
		}
		if err := held.Resource().Do(nil); err != nil {
			t.Error(err)
		}
		_ = held.Push()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		time.Sleep(100 * time.Millisecond) // the last is still opening
		synctest.Wait()
		if st := pool.Stats(); st.ClosedBy[pools.ReasonRefresh] != 8 || st.Idle != 8 || server.Opened() != 16 || server.IsOpen() != 8 {
			t.Errorf("%d opened, %d open, %+v", server.Opened(), server.IsOpen(), st)
		}
	})
}

func TestRefreshSpread(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		done := refresh(pool, t.Context(), 10*time.Second)
		for second := range 10 {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if closed := server.Opened() - 10; closed != second {
				t.Errorf("after %d.5 s, %d were replaced", second, closed)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// L9: what was being opened before is of the old generation. Twice, thrice.
func TestRefreshDuringAnOpen(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a := poolstest.Pop(t, pool)
		a.Waits()
		time.Sleep(500 * time.Millisecond)
		var done []chan error
		for range 3 {
			done = append(done, refresh(pool, t.Context(), 0))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		a.Has()
		time.Sleep(500 * time.Millisecond)
		if age := a.Has().Age(); age != 500*time.Millisecond {
			t.Errorf("it was opened %v ago", age)
		}
		for _, d := range done {
			if err := <-d; err != nil {
				t.Error(err)
			}
		}
		a.Push()
		if server.Opened() != 1 { // the opens of older generations were cancelled
			t.Errorf("%d opened", server.Opened())
		}
	})
}

// A server that refuses new connections (the new password is wrong) does not
// cost the pool the old ones.
func TestRefreshWhileTheServerRefuses(t *testing.T) {
	scenario(t, pools.Settings{Size: 8, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		server.Open.Always(poolstest.Fail(errRefused))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := <-refresh(pool, ctx, 0)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "7 old connections left") || !strings.Contains(err.Error(), "refused") {
			t.Error(err)
		}
		for range 20 {
			use(t, pool) // nobody notices
			time.Sleep(5 * time.Second)
		}
		if server.IsOpen() != 7 { // one went, since the pool was full
			t.Errorf("%d are open", server.IsOpen())
		}
		server.Open.Clear()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if st := pool.Stats(); st.ClosedBy[pools.ReasonRefresh] != 8 {
			t.Errorf("the rest was not replaced when the server was back: %+v", st)
		}
	})
}

// With room for one more, not even one is lost.
func TestRefreshWithRoomOpensFirst(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		server.Open.Always(poolstest.Fail(errRefused))
		done := refresh(pool, t.Context(), 0)
		for range 20 {
			time.Sleep(time.Second)
			use(t, pool)
		}
		server.Open.Clear()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// That nobody waits for a Refresh any more does not make it careless, whether
// the server refuses, hangs or answers.
func TestRefreshGoesOnWithoutItsCaller(t *testing.T) {
	for name, opens := range map[string]poolstest.Fault{
		"answers": poolstest.Delay(50 * time.Millisecond), "hangs": poolstest.Delay(time.Hour), "refuses": poolstest.Fail(errRefused),
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 8}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				if err := pool.Fill(t.Context(), 8); err != nil {
					t.Fatal(err)
				}
				server.Open.Always(opens)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				if err := pool.Refresh(ctx, 4*time.Second); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				for range 200 {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					if n := server.IsOpen(); n < 4 {
						t.Fatalf("%d are open", n)
					}
				}
				if st := pool.Stats(); name == "answers" && (st.ClosedBy[pools.ReasonRefresh] != 8 || st.Idle != 8) {
					t.Errorf("%+v", st)
				}
				server.Open.Clear()
			})
		})
	}
	// One that nobody ever waited for does nothing.
	scenario(t, pools.Settings{Size: 8}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pool.Refresh(ctx, 0); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not begun") {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if server.Opened() != 1 {
			t.Error("something was replaced")
		}
	})
}

// A holder that stays lets a Refresh wait, and idle connections end all the
// same: nothing is opened again and again.
func TestRefreshBesideAHolderAndIdleTimeout(t *testing.T) {
	scenario(t, pools.Settings{Size: 20, IdleTimeout: 10 * time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 20); err != nil {
			t.Fatal(err)
		}
		held := poolstest.Pop(t, pool).Has()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := pool.Refresh(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := server.Opened(); n > 60 {
			t.Errorf("%d were opened in an hour", n)
		}
		_ = held.Push()
	})
}

// No old connection is left: it is over, though the server refuses new ones.
func TestRefreshEndsWithTheLastOldOne(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(errRefused)))
		p := poolstest.Pop(t, pool)
		p.Waits()
		if err := pool.Refresh(t.Context(), 0); err != nil {
			t.Error(err)
		}
		p.Waits()
		time.Sleep(time.Second)
		p.Fails(errRefused)
	})
}

// A spread Refresh does not take the brake off other expiry.
func TestExpiryDuringARefresh(t *testing.T) {
	scenario(t, pools.Settings{Size: 64}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 64); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		server.Open.Always(poolstest.Delay(10 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := refresh(pool, ctx, time.Hour)
		synctest.Wait()
		if err := pool.Configure(func(s *pools.Settings) { s.MaxLifetime = time.Minute }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(900 * time.Millisecond)
		if n := server.IsOpen(); n < 32 {
			t.Errorf("one look left %d of 64", n)
		}
		<-done
		server.Open.Clear()
	})
}

// User code that panics inside Refresh leaves the pool whole.
func TestRefreshSurvivesPanics(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, LeakAfter: 500 * time.Millisecond}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool).Has()
		func() {
			defer func() { _ = recover() }()
			var none context.Context
			_ = pool.Refresh(none, 0)
		}()
		_ = held.Push()
		use(t, pool)
		if err := pool.Refresh(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}

func TestRefreshWhilePaused(t *testing.T) {
	scenario(t, pools.Settings{Size: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		pool.Pause()
		w := poolstest.Pop(t, pool)
		if err := pool.Refresh(t.Context(), 0); err != nil {
			t.Error(err)
		}
		w.Waits()
		if server.IsOpen() != 0 || server.Opened() != 3 {
			t.Errorf("%d open of %d", server.IsOpen(), server.Opened())
		}
		pool.Resume()
		w.Has()
		w.Push()
	})
}

func TestRefreshOfNothing(t *testing.T) {
	scenario(t, pools.Settings{Size: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Refresh(t.Context(), time.Hour); err != nil || server.Opened() != 0 {
			t.Errorf("%v, %d opened", err, server.Opened())
		}
		if err := pool.Refresh(t.Context(), -1); err == nil || !strings.Contains(err.Error(), "Refresh: over is -1ns; give") {
			t.Error(err)
		}
	})
}

// A connection that comes and goes all the time is replaced, too: its push may
// be faster than the mark of its turn.
func TestRefreshOfABusyConnection(t *testing.T) {
	pool, err := pools.New("busy", pools.OpenFunc(func(context.Context) (io.Closer, error) { return io.NopCloser(nil), nil }), pools.Settings{Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Fill(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var user sync.WaitGroup
	user.Go(func() {
		for !stop.Load() {
			if conn, err := pool.Pop(t.Context()); err == nil {
				_ = conn.Push()
			}
		}
	})
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := pool.Refresh(ctx, 0)
		cancel()
		if err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	user.Wait()
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A Refresh that begins while connections are being opened finds them open
// later, and replaces them too.
func TestRefreshBesideOpens(t *testing.T) {
	scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		a.Has()
		b.Has()
		server.Open.Always(poolstest.Delay(time.Second))
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		for range 2 {
			go func() { _, _ = pool.Pop(impatient) }()
		}
		time.Sleep(2 * time.Millisecond)
		a.Push()
		b.Push()
		if st := pool.Stats(); st.Opening != 2 || st.Idle != 2 {
			t.Fatalf("%+v", st)
		}
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		if err := pool.Refresh(ctx, 0); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if st := pool.Stats(); st.Idle != 4 || st.ClosedBy[pools.ReasonRefresh] != 2 {
			t.Errorf("%+v", st)
		}
	})
}
