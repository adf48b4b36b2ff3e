package servers

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
)

const granted = 5 // connections by the server, of ten that the pool may have

// full5 is a server that grants half of Size. First one connection breaks now
// and then; then nothing happens for some seconds, in which the pool learns that
// it gets no more; then all break at once. It is held against a pool of the size
// that the server grants.
func full5[T comparable](t *testing.T, e *engine.Engine, kind load.Kind[T]) {
	const (
		callers = 20
		short   = 20 * time.Millisecond
		quiet   = 5 * time.Second
		limit   = 12 * time.Second // for what does not come back
	)
	configure(t, e, [][2]string{{"maxclients", strconv.Itoa(granted + 1)}}, // the one by which it is asked
		fmt.Sprint("alter role ", engine.PostgresUser, " connection limit ", granted))
	t.Cleanup(func() { // after the pools are closed
		configure(t, e, [][2]string{{"maxclients", "100"}}, "alter role "+engine.PostgresUser+" connection limit -1")
	})
	// run measures a pool while one connection breaks four times a second.
	// It returns how many connections the pool had, on average, of those that
	// are granted; how many answers it got a second; and which part of the callers
	// were served.
	run := func(size int) (a *asking[T], open, rate, served float64) {
		alone(t, e) // the last one's connections have gone
		a = newAsking(t, e.Address, kind, pools.Settings{Size: size})
		a.warm(granted)
		a.closedLoop(callers, patience, short, time.Second/2)
		ctx, cancel := context.WithCancel(t.Context())
		sum, samples := 0, 0
		a.all.Go(func() {
			ticker := time.NewTicker(2 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil {
				st := a.pool.Stats()
				sum += st.Idle + st.Stale + st.Held + st.Checking + st.Resetting + st.Returning
				samples++
				<-ticker.C
			}
		})
		a.all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(250 * time.Millisecond):
					a.breaks.Store(true)
				}
			}
		})
		began := time.Now()
		a.closedLoop(callers, patience, short, 2500*time.Millisecond)
		end := time.Now()
		cancel()
		a.all.Wait()
		return a, float64(sum) / float64(samples*granted), a.rate(began, end), part(a.between(began, end))
	}
	j := newJudge(t)
	small, smallOpen, smallRate, smallServed := run(granted)
	small.close()
	large, largeOpen, largeRate, largeServed := run(2 * granted)

	large.closedLoop(callers, patience, short, quiet)
	if err := e.Terminate(t.Context(), granted); err != nil {
		t.Fatal(err)
	}
	broke, back := time.Now(), limit
	for time.Since(broke) < limit {
		large.openLoop(100, short, 100*time.Millisecond)
		if large.rate(time.Now().Add(-100*time.Millisecond), time.Now()) >= 50 {
			back = time.Since(broke)
			break
		}
	}
	t.Logf("figures: full, %s: with %d of Size %d granted it has %.2f of them open, with Size %d %.2f; answers %.0f/s and %.0f/s; served %.2f and %.2f of the callers; after all broke it serves again within %v",
		e.Name, granted, 2*granted, largeOpen, granted, smallOpen, largeRate, smallRate, largeServed, smallServed, back.Round(10*time.Millisecond))
	if largeOpen < 0.9*smallOpen {
		j.missed("with Size %d it has %.2f of the connections that are granted, with Size %d %.2f; the bar is 0.9 of that", 2*granted, largeOpen, granted, smallOpen)
	}
	if largeRate < 0.6*smallRate {
		j.missed("%.0f/s with Size %d, %.0f/s with Size %d; the bar is 0.6 of that", largeRate, 2*granted, smallRate, granted)
	}
	if largeServed < smallServed-0.15 {
		j.missed("%.2f of the callers are served, %.2f with Size %d: %v", largeServed, smallServed, granted, large.lastError())
	}
	if back == limit {
		t.Errorf("all broke, and it does not serve again: %v", large.lastError())
	}
	if back > 1500*time.Millisecond {
		j.missed("all broke, and it serves again after %v; the bar is 1.5 s", back)
	}
}
