package pools_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// kinds returns the events of a pool that are of one of these kinds.
func kinds(pool *pools.Pool[resource], of ...pools.EventKind) (all []pools.Event) {
	for _, e := range pool.Events() {
		for _, kind := range of {
			if e.Kind == kind {
				all = append(all, e)
			}
		}
	}
	return all
}

// What an operator does is an event, and is in the log.
func TestSteeringIsTold(t *testing.T) {
	var logged bytes.Buffer
	scenario(t, pools.Settings{Size: 3, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		server.Limit(5)
		pool.Resume() // nothing
		pool.Pause()
		pool.Pause() // nothing
		time.Sleep(time.Second)
		pool.Resume()
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 0 }); err == nil {
			t.Error("a Size of 0 passed")
		}
		resize(t, pool, 4)
		group := new(pools.Group)
		if err := group.Add(pool); err != nil {
			t.Fatal(err)
		}
		if err := group.Configure(func(_ string, s *pools.Settings) { s.Size = 5 }); err != nil {
			t.Error(err)
		}
		if err := pool.Refresh(t.Context(), 0); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		all := kinds(pool, pools.EventPaused, pools.EventResumed, pools.EventConfigured, pools.EventRefresh)
		want := []pools.Event{
			{Kind: pools.EventPaused}, {Kind: pools.EventResumed, Took: time.Second},
			{Kind: pools.EventConfigured, Count: 4}, {Kind: pools.EventConfigured, Count: 5}, {Kind: pools.EventRefresh, Count: 2},
		}
		if len(all) != len(want) {
			t.Fatalf("%+v", all)
		}
		for i, e := range all {
			if e.Kind != want[i].Kind || e.Took != want[i].Took || e.Count != want[i].Count {
				t.Errorf("event %d: %+v, want %+v", i, e, want[i])
			}
		}
		for _, text := range []string{"is paused", "goes on", "settings were changed", "Refresh has begun"} {
			if !strings.Contains(logged.String(), text) {
				t.Errorf("%q is not in the log:\n%s", text, logged.String())
			}
		}
	})
}

// A connection that was told as leaked is told when it comes back, in whatever
// way, also when it leaked within the first second.
func TestALeakThatComesBackIsTold(t *testing.T) {
	for name, end := range map[string]func(c pools.Conn[resource]) error{
		"Push":    pools.Conn[resource].Push,
		"PushErr": func(c pools.Conn[resource]) error { return c.PushErr(errRefused) },
		"Destroy": pools.Conn[resource].Destroy,
	} {
		for _, after := range []time.Duration{200 * time.Millisecond, 3 * time.Second} {
			t.Run(name+" "+after.String(), func(t *testing.T) {
				scenario(t, pools.Settings{Size: 1, LeakAfter: after, TrackHolders: true, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
					held := poolstest.Pop(t, pool).Has()
					time.Sleep(after + after/2)
					synctest.Wait()
					if len(kinds(pool, pools.EventLeaked)) != 1 || len(kinds(pool, pools.EventReturned)) != 0 {
						t.Fatalf("%+v", pool.Events())
					}
					if err := end(held); err != nil {
						t.Error(err)
					}
					if err := held.Push(); !errors.Is(err, pools.ErrNotHeld) {
						t.Error(err)
					}
					use(t, pool)
					all := kinds(pool, pools.EventReturned)
					if len(all) != 1 {
						t.Fatalf("%+v", pool.Events())
					}
					if e := all[0]; e.ID != held.ID() || e.Took < after || e.Took > after+after/2 || e.Goroutine == 0 || !strings.Contains(e.Stack, "PopContext") {
						t.Errorf("%+v", e)
					}
				})
			})
		}
	}
	// Without TrackHolders too.
	scenario(t, pools.Settings{Size: 1, LeakAfter: 200 * time.Millisecond}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool)
		held.Has()
		time.Sleep(300 * time.Millisecond)
		held.Push()
		if all := kinds(pool, pools.EventReturned); len(all) != 1 {
			t.Errorf("%+v", pool.Events())
		}
	})
}
