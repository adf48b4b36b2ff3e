package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools/bench/crowd"
	"github.com/utopia-go/pools/bench/rivals"
)

// Sample is what one measurement of one rival saw, by metric.
type Sample map[Metric]float64

// Metric names a figure. Smaller is better, unless more is.
type Metric string

const (
	Time   Metric = "ns/op"     // nanoseconds of the wall clock for one use, over all goroutines
	Rate   Metric = "uses/s"    // over all goroutines
	P50    Metric = "p50 ms"    // the median wait
	P99    Metric = "p99 ms"    // the wait that one use in a hundred exceeds
	Worst  Metric = "worst ms"  // the longest wait
	Share  Metric = "share"     // the uses of the goroutine that had fewest, by the mean
	Allocs Metric = "allocs/op" // heap allocations for one use
	Bytes  Metric = "bytes"     // of heap for one idle connection, the resource aside
	Done   Metric = "done ms"   // until the last caller was done, in virtual time
	Begun  Metric = "begun ms"  // until the last caller had a connection, in virtual time
	Opened Metric = "opened"    // connections opened beyond those that were warm

	// Of the overload, in virtual time:
	During    Metric = "during"      // uses that were finished in time, by those that connections have time for
	After     Metric = "after"       // callers that were served, of those that came three seconds after it or later
	Recovered Metric = "recovered s" // from its end on, until callers were served again for good

	// Of databases, in real time (and Recovered, until queries were served again without an error or a wait):
	Useful Metric = "useful" // queries that were answered in time, by those that are answered without deadlines
	Errors Metric = "errors" // queries that failed
	Down   Metric = "down s" // for how long there was no server

	// Of the events:
	Few    Metric = "ns at 100"    // one event, the median batch
	Many   Metric = "ns at 16,000" // the same
	Locked Metric = "lock ms"      // the longest wait for the pool's lock

	// As the server counted:
	Sessions Metric = "sessions" // that were opened in all
	Served   Metric = "served"   // commands or transactions, by the uses
)

// more reports whether the greater figure is the better one.
func (m Metric) more() bool {
	return m == Share || m == Rate || m == During || m == After || m == Useful
}

// warm makes a pool whose connections are all open and idle.
func warm(ctx context.Context, r rivals.Rival, size int) (rivals.Pool, error) {
	p := r.New(size, func() *rivals.Resource { return new(rivals.Resource) })
	if r.Kind == rivals.Floor {
		return p, nil
	}
	release, err := p.Hold(ctx, size)
	if err != nil {
		return nil, fmt.Errorf("warming %s: %w", r.Name, err)
	}
	release()
	return p, nil
}

// run lets goroutines share n uses and returns how long that took and how
// many heap allocations it made, those for the goroutines aside.
func run(goroutines, n int, use func(n int) error) (time.Duration, float64, error) {
	var failed atomic.Pointer[error]
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	each := max(n/goroutines, 1)
	for range goroutines {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			if err := use(each); err != nil {
				failed.Store(&err)
			}
		})
	}
	ready.Wait()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	close(start)
	done.Wait()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	uses := float64(each * goroutines)
	return time.Duration(float64(took) * float64(n) / uses), float64(after.Mallocs-before.Mallocs) / uses, nil
}

// uses measures about as many uses as fit in the time, all alike.
func uses(ctx context.Context, p rivals.Pool, goroutines int, target time.Duration, work func()) (Sample, error) {
	use := func(n int) error { return p.Pairs(ctx, n) }
	if work != nil {
		use = func(n int) error {
			for range n {
				if err := p.Do(ctx, work); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return timed(target, func(n int) (time.Duration, float64, error) { return run(goroutines, n, use) })
}

// timed finds out how many uses fill the time, and then measures these.
func timed(target time.Duration, measure func(n int) (time.Duration, float64, error)) (Sample, error) {
	n := 1000
	for {
		took, _, err := measure(n)
		if err != nil {
			return nil, err
		}
		n = int(float64(n) * min(100, max(1.5, float64(target)/float64(took+1))))
		if took > target/4 {
			break
		}
	}
	took, allocs, err := measure(n)
	if err != nil {
		return nil, err
	}
	return Sample{Time: float64(took) / float64(n), Allocs: allocs}, nil
}

// waits measures for a fixed time how long goroutines waited and whether all
// had their share. The clock that this needs costs more than some pools do,
// so Time of a scenario without work comes from uses.
func waits(ctx context.Context, p rivals.Pool, goroutines int, during time.Duration, work func()) (Sample, error) {
	seen, err := crowd.Watch(goroutines, during, func(note func()) func() error {
		timed := func() {
			note()
			work()
		}
		return func() error { return p.Do(ctx, timed) }
	})
	if err != nil {
		return nil, err
	}
	return sampleOf(seen), nil
}

// sampleOf is what a crowd saw, by metric.
func sampleOf(seen crowd.Seen) Sample {
	return Sample{
		Time:  float64(seen.Took) / float64(seen.Uses),
		Rate:  float64(seen.Uses) / seen.Took.Seconds(),
		P50:   seen.P50.Seconds() * 1e3,
		P99:   seen.P99.Seconds() * 1e3,
		Worst: seen.Worst.Seconds() * 1e3,
		Share: seen.Share,
	}
}

// awake runs fn beside goroutines that do nothing but yield: an idle
// processor sleeps for up to a millisecond, which would make pools look fast
// that keep it busy.
func awake(fn func() (Sample, error)) (Sample, error) {
	var over atomic.Bool
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for !over.Load() {
				runtime.Gosched()
			}
		})
	}
	defer all.Wait()
	defer over.Store(true)
	return fn()
}

// memory measures the heap of a pool whose connections are all idle.
func memory(ctx context.Context, r rivals.Rival, size int) (Sample, error) {
	resources := make([]rivals.Resource, size) // made before, so not counted
	var next atomic.Int64
	before := heap()
	p := r.New(size, func() *rivals.Resource { return &resources[next.Add(1)-1] })
	defer p.Close()
	release, err := p.Hold(ctx, size)
	if err != nil {
		return nil, err
	}
	release()
	release = nil
	after := heap()
	runtime.KeepAlive(resources)
	return Sample{Bytes: float64(after-before) / float64(size)}, nil
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and sync.Pools held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// spinner returns a function that keeps a processor busy for about d,
// without a clock, which would be a good part of a microsecond.
func spinner(d time.Duration) func() {
	spin := func(n int) {
		x := uint64(n) | 1
		for range n {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		if x == 0 {
			panic("xorshift never is zero")
		}
	}
	best := time.Hour
	const turns = 100_000
	for range 20 {
		began := time.Now()
		spin(turns)
		best = min(best, time.Since(began))
	}
	n := int(turns * int64(d) / int64(best))
	return func() { spin(n) }
}
