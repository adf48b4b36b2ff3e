// Package crowd lets goroutines use something in turns, and watches how long
// each has to wait. bench and its client share it.
package crowd

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Seen is what a crowd saw.
type Seen struct {
	Uses            int
	Took            time.Duration // of the wall clock, for all of them
	P50, P99, Worst time.Duration // of one turn, as far as it is timed
	Share           float64       // the uses of the goroutine that had fewest, by the mean
}

// Watch has goroutines use something again and again, for about a time, and
// stops them all at the first error. Each goroutine calls user once, and then
// again and again the function that it returned. That one calls note once,
// where what is to be timed ends.
func Watch(goroutines int, during time.Duration, user func(note func()) (use func() error)) (Seen, error) {
	var over atomic.Bool
	var failed atomic.Pointer[error]
	var ready, all sync.WaitGroup
	each := make([][]time.Duration, goroutines)
	start := make(chan struct{})
	for i := range each {
		ready.Add(1)
		all.Go(func() {
			mine := make([]time.Duration, 0, 4096)
			var asked time.Time
			use := user(func() { mine = append(mine, time.Since(asked)) })
			ready.Done()
			<-start
			for !over.Load() {
				asked = time.Now()
				if err := use(); err != nil {
					failed.CompareAndSwap(nil, &err)
					over.Store(true)
				}
			}
			each[i] = mine
		})
	}
	ready.Wait()
	began := time.Now()
	end := time.AfterFunc(during, func() { over.Store(true) })
	close(start)
	all.Wait()
	end.Stop()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return Seen{}, *err
	}
	return sum(each, took), nil
}

func sum(each [][]time.Duration, took time.Duration) Seen {
	var together []time.Duration
	fewest := len(each[0])
	for _, mine := range each {
		together = append(together, mine...)
		fewest = min(fewest, len(mine))
	}
	n := len(together)
	seen := Seen{Uses: n, Took: took}
	if n > 0 {
		slices.Sort(together)
		seen.P50, seen.P99, seen.Worst = together[n/2], together[n*99/100], together[n-1]
		seen.Share = float64(fewest) * float64(len(each)) / float64(n)
	}
	return seen
}
