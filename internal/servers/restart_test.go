package servers

import (
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
)

const (
	restartPools = 12 // each draws its own pauses
	restartSize  = 3
)

// restart is a server that is killed under load and stays away for some
// seconds. Every pool has its callers, ten a second.
func restart[T comparable](t *testing.T, e *engine.Engine, kind load.Kind[T]) {
	const (
		away  = 5 * time.Second
		limit = 15 * time.Second // for what never comes back
		each  = 10               // callers a second
		short = 10 * time.Millisecond
	)
	all := make([]*asking[T], restartPools)
	for i := range all {
		all[i] = newAsking(t, e.Address, kind, pools.Settings{Size: restartSize})
	}
	everywhere := func(f func(a *asking[T])) {
		var done sync.WaitGroup
		for _, a := range all {
			done.Go(func() { f(a) })
		}
		done.Wait()
	}
	for _, a := range all {
		a.warm(restartSize)
	}
	j := newJudge(t)
	began := time.Now()
	everywhere(func(a *asking[T]) { a.openLoop(each, short, time.Second) })
	killed := time.Now()
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	everywhere(func(a *asking[T]) { a.openLoop(each, short, away) })
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	var mu sync.Mutex
	var sum, worst time.Duration
	everywhere(func(a *asking[T]) {
		late := limit
		for time.Since(back) < limit {
			a.openLoop(each, short, 100*time.Millisecond)
			if a.rate(back, time.Now()) > 0 {
				late = time.Since(back)
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		sum, worst = sum+late, max(worst, late)
	})
	mean := sum / restartPools
	again := time.Now()
	everywhere(func(a *asking[T]) { a.openLoop(each, short, time.Second) })
	end := time.Now()
	var before, after, ofBefore, ofAfter int
	for _, a := range all {
		a.all.Wait()
		served, of := a.between(began, killed.Add(-patience))
		before, ofBefore = before+served, ofBefore+of
		served, of = a.between(again, end)
		after, ofAfter = after+served, ofAfter+of
	}
	t.Logf("figures: restart after %v, %s: %d pools are served again %v after the server's return on average, %v at worst; %.2f of the callers before, %.2f after",
		away, e.Name, restartPools, mean.Round(10*time.Millisecond), worst.Round(10*time.Millisecond), part(before, ofBefore), part(after, ofAfter))
	// A second on average and 2.5 at worst, and room for a caller's gap and a busy machine.
	if worst == limit {
		t.Errorf("a pool is not served again: %v", all[0].lastError())
	}
	if mean > 1500*time.Millisecond || worst > 3500*time.Millisecond {
		j.missed("served again %v after the server's return on average, %v at worst; the bars are 1.5 s and 3.5 s", mean, worst)
	}
	if part(before, ofBefore) < 0.95 || part(after, ofAfter) < 0.95 {
		j.missed("%d of %d are served before and %d of %d after: %v", before, ofBefore, after, ofAfter, all[0].lastError())
	}
}
