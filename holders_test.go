package pools_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// P11
func TestPoolUsedByItsOwnHolder(t *testing.T) {
	for _, track := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 2, TrackHolders: track, TrackGoroutines: track}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			other := poolstest.Pop(t, pool)
			other.Has()
			err := pool.Use(t.Context(), func(resource) error {
				return pool.Use(t.Context(), func(resource) error { return nil })
			})
			e, ok := errors.AsType[*pools.PopError](err)
			if !ok || !errors.Is(err, pools.ErrWaitTimeout) {
				t.Fatal(err)
			}
			if says := strings.Contains(err.Error(), "this goroutine holds 1 of this pool's connections"); says != track || (e.Own == 1) != track || e.Held != 2 {
				t.Errorf("tracking %v: %v", track, err)
			}
			// Another goroutine's Pop says nothing of the kind.
			w := poolstest.Pop(t, pool)
			w.Has().Push()
			third := poolstest.Pop(t, pool)
			third.Has()
			w = poolstest.Pop(t, pool)
			time.Sleep(30 * time.Second)
			if err := w.Fails(pools.ErrWaitTimeout); strings.Contains(err.Error(), "itself") {
				t.Error(err)
			}
			third.Push()
			other.Push()
		})
	}
}

// A Pop that a pause or the end of the pool has refused has not waited for its own
// goroutine.
func TestOwnAreNotToBlameForAPause(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused := func(by error) {
			t.Helper()
			_, err := pool.Pop(t.Context())
			if e, ok := errors.AsType[*pools.PopError](err); !ok || e.Own != 1 || !errors.Is(err, by) || strings.Contains(err.Error(), "itself") {
				t.Error(err)
			}
		}
		pool.Pause()
		refused(pools.ErrPaused)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = pool.Close(ended)
		refused(pools.ErrClosed)
		_ = held.Push()
	})
}

// What a goroutine gave back it does not hold, in whatever way it did.
func TestOwnAreThoseThatAreHeld(t *testing.T) {
	scenario(t, pools.Settings{Size: 3, TrackHolders: true, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		own := func(want int) {
			t.Helper()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := pool.Pop(ended)
			if e, ok := errors.AsType[*pools.PopError](err); !ok || e.Own != want {
				t.Errorf("%v, want %d of its own", err, want)
			}
		}
		var all []pools.Conn[resource]
		for n := range 3 {
			conn, err := pool.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
			own(n + 1)
		}
		_ = all[0].Push()
		own(2)
		_ = all[1].Destroy()
		own(1)
		pool.RevokeAll()
		own(1) // until it has come back
		_ = all[2].Push()
		own(0)
	})
}

// With many slots errors do not count them each time, but they do not tell what
// was long ago.
func TestErrorsOfManySlots(t *testing.T) {
	const size = 100
	scenario(t, pools.Settings{Size: size}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), size); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var held []*popper
		for n := range 5 {
			_, err := pool.Pop(ended)
			if e, ok := errors.AsType[*pools.PopError](err); !ok || e.Held != n || e.Idle != size-n {
				t.Errorf("%d of %d are held: %v", n, size, err)
			}
			held = append(held, poolstest.Pop(t, pool))
			held[n].Has()
			time.Sleep(10 * time.Millisecond)
		}
		for _, p := range held {
			p.Push()
		}
	})
}

func TestConnections(t *testing.T) {
	scenario(t, pools.Settings{Size: 4, TrackHolders: true, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		held := poolstest.Pop(t, pool).Has()
		time.Sleep(5 * time.Second)
		server.Close.Next(poolstest.Delay(time.Minute))
		gone := poolstest.Pop(t, pool).Has()
		if err := gone.Destroy(); err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for c := range pool.Connections() {
			n[c.State]++
			switch c.State {
			case "held":
				if c.ID != held.ID() || c.Age != 15*time.Second || c.Uses != 1 || c.For > 5*time.Second || c.For < 4*time.Second ||
					c.Goroutine == 0 || !strings.Contains(c.Stack, "poolstest.PopContext") {
					t.Errorf("%+v", c)
				}
				if first, _, _ := strings.Cut(c.Stack, "\n"); !strings.Contains(first, ".Pop") {
					t.Errorf("the stack begins in %s, not in Pop", first)
				}
			case "idle":
				if c.Age != 15*time.Second || c.Uses != 0 || c.For < 14*time.Second || c.For > 15*time.Second || c.Stack != "" {
					t.Errorf("%+v", c)
				}
			case "closing":
				if c.ID != gone.ID() || c.Stack != "" {
					t.Errorf("%+v", c)
				}
			}
			pool.Stats() // no lock is held
		}
		if n["held"] != 1 || n["idle"] != 1 || n["closing"] != 1 || len(n) != 3 {
			t.Error(n)
		}
		for range pool.Connections() {
			break
		}
		_ = held.Push()
	})
}

func TestLeakAfter(t *testing.T) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	scenario(t, pools.Settings{Size: 2, LeakAfter: 100 * time.Millisecond, TrackHolders: true, TrackGoroutines: true, Logger: logger}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 100 { // in use all the time, never for long
			if err := pool.Use(t.Context(), holdFor(60*time.Millisecond)); err != nil {
				t.Error(err)
			}
		}
		if logged.Len() > 0 {
			t.Errorf("logged: %s", logged.String())
		}
		held := poolstest.Pop(t, pool).Has()
		time.Sleep(130 * time.Millisecond)
		synctest.Wait()
		text := logged.String()
		if !strings.Contains(text, held.ID()) || !strings.Contains(text, "LeakAfter") || !strings.Contains(text, "PopContext") {
			t.Errorf("logged: %s", text)
		}
		time.Sleep(time.Minute)
		if strings.Count(logged.String(), "longer than LeakAfter") != 1 || pool.Stats().Leaks != 1 {
			t.Errorf("logged: %s", logged.String())
		}
		if err := held.Push(); err != nil { // a leak is not a lost lease
			t.Error(err)
		}
		use(t, pool)
		if server.Opened() != 1 {
			t.Errorf("%d opened", server.Opened())
		}
	})
}
