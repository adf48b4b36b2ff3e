package main

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
)

// Scenario is one way to use a pool.
type Scenario struct {
	Name    string
	Title   string
	Procs   int      // GOMAXPROCS
	Metrics []Metric // in the order of the report's columns
	Shown   bool     // in the picture
	Us      string   // whose figures are ours; "" is pools
	Apart   bool     // other programs do the work
	Event   bool     // of events.go: a row in the tables of events
	SQL     bool     // of sql.go: rows in the tables of databases

	// Who takes part.
	Who func(r rivals.Rival) bool

	// Measure measures one rival, for about as long as target.
	Measure func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error)
}

// us is the rival that the others are held against.
func (s Scenario) us() string {
	if s.Us == "" {
		return "pools"
	}
	return s.Us
}

// sharing is a Scenario on a warm pool.
func sharing(size, goroutines int, work func()) func(context.Context, rivals.Rival, time.Duration) (Sample, error) {
	return func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
		p, err := warm(ctx, r, size)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		return uses(ctx, p, goroutines, target, work)
	}
}

// crowded is sharing, and then once more for a fixed time to see who waited
// how long: the first ends when the last has had its uses, and hides that.
func crowded(goroutines int, work func()) func(context.Context, rivals.Rival, time.Duration) (Sample, error) {
	return func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
		sample, err := sharing(10, goroutines, work)(ctx, r, target)
		if err != nil {
			return nil, err
		}
		p, err := warm(ctx, r, 10)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		if work == nil {
			work = func() {}
		}
		fair, err := waits(ctx, p, goroutines, max(target, 300*time.Millisecond), work)
		if err != nil {
			return nil, err
		}
		sample[Worst], sample[Share] = fair[Worst], fair[Share]
		return sample, nil
	}
}

// manySlots is one goroutine on a pool of which part is held.
func manySlots(size, held int) func(context.Context, rivals.Rival, time.Duration) (Sample, error) {
	return func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
		p, err := warm(ctx, r, size)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		release, err := p.Hold(ctx, held)
		if err != nil {
			return nil, err
		}
		defer release()
		return uses(ctx, p, 1, target, nil)
	}
}

// another takes half of the slots, one after the other, and gives them back:
// each Pop must find another slot.
func another(size int) func(context.Context, rivals.Rival, time.Duration) (Sample, error) {
	return func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
		p, err := warm(ctx, r, size)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		return timed(target, func(n int) (time.Duration, float64, error) {
			began := time.Now()
			rounds := (n + size/2 - 1) / (size / 2)
			for range rounds {
				release, err := p.Hold(ctx, size/2)
				if err != nil {
					return 0, 0, err
				}
				release()
			}
			took := float64(time.Since(began)) * float64(n) / float64(rounds*size/2)
			return time.Duration(took), 0, nil
		})
	}
}

// only lets the kinds take part, and the named floors.
func only(kinds []rivals.Kind, floors ...string) func(rivals.Rival) bool {
	return func(r rivals.Rival) bool {
		if slices.Contains(kinds, r.Kind) {
			return true
		}
		return slices.Contains(floors, r.Name)
	}
}

var (
	contenders = []rivals.Kind{rivals.Ours, rivals.Library, rivals.Pattern}
	variants   = []rivals.Kind{rivals.Ours, rivals.Variant}
)

// scenarios returns all of them. spin is a microsecond of work.
func scenarios(spin func()) []Scenario {
	times := []Metric{Time}
	crowdedMetrics := []Metric{Time, Allocs, Worst, Share}
	var all []Scenario
	for _, procs := range []int{2, 8} {
		suffix := ""
		if procs == 8 {
			suffix = ", GOMAXPROCS 8"
		}
		add := func(s Scenario) {
			s.Name, s.Title, s.Procs = s.Name+suffix, s.Title+suffix, procs
			s.Shown = s.Shown && procs == 2
			all = append(all, s)
		}
		add(Scenario{
			Name: "alone", Title: "One goroutine on 10", Metrics: times, Shown: true,
			Who: only(contenders, "sync.Pool", "two CAS", "pools, Use"), Measure: sharing(10, 1, nil),
		})
		add(Scenario{
			Name: "alone, cancellable", Title: "One goroutine on 10, with a ctx that can be cancelled", Metrics: times,
			Who: only(contenders, "sync.Pool", "two CAS"),
			Measure: func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				return sharing(10, 1, nil)(ctx, r, target)
			},
		})
		add(Scenario{
			Name: "pair", Title: "2 goroutines on 10", Metrics: times, Shown: true,
			Who: only(contenders, "sync.Pool"), Measure: sharing(10, 2, nil),
		})
		add(Scenario{
			Name: "crowd", Title: "100 goroutines on 10, no work", Metrics: crowdedMetrics, Shown: true,
			Who: only(contenders, "sync.Pool"), Measure: crowded(100, nil),
		})
		add(Scenario{
			Name: "yield", Title: "100 goroutines on 10, a yield while held", Metrics: crowdedMetrics, Shown: true,
			Who: only(contenders, "no pool"), Measure: crowded(100, runtime.Gosched),
		})
		add(Scenario{
			Name: "work", Title: "1,000 goroutines on 10, a microsecond of work while held", Metrics: crowdedMetrics, Shown: true,
			Who: only(contenders, "no pool"), Measure: crowded(1000, spin),
		})
		add(Scenario{
			Name: "asleep", Title: "1,000 goroutines on 50, 100 µs asleep while held", Shown: true,
			Metrics: []Metric{Time, P99, Worst, Share}, Who: only(contenders),
			Measure: func(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
				p, err := warm(ctx, r, 50)
				if err != nil {
					return nil, err
				}
				defer p.Close()
				return awake(func() (Sample, error) {
					// Shorter runs would show the start, when all come at once.
					return waits(ctx, p, 1000, max(5*target, 500*time.Millisecond), func() { time.Sleep(100 * time.Microsecond) })
				})
			},
		})
	}
	slots := only(contenders)
	return append(all,
		Scenario{Name: "10,000 slots, 0% held", Title: "One goroutine on 10,000, none held", Procs: 2, Metrics: times, Who: slots, Measure: manySlots(10_000, 0)},
		Scenario{Name: "10,000 slots, 50% held", Title: "One goroutine on 10,000, half of them held", Procs: 2, Metrics: times, Who: slots, Measure: manySlots(10_000, 5_000)},
		Scenario{Name: "10,000 slots, 99% held", Title: "One goroutine on 10,000, 99% held", Procs: 2, Metrics: times, Who: slots, Measure: manySlots(10_000, 9_900)},
		Scenario{Name: "10,000 slots, another", Title: "One goroutine takes 5,000 of 10,000 and gives them back", Procs: 2, Metrics: times, Who: slots, Measure: another(10_000)},
		Scenario{
			Name: "memory", Title: "Heap of an idle connection, the resource aside", Procs: 2, Metrics: []Metric{Bytes},
			Who: only(contenders),
			Measure: func(ctx context.Context, r rivals.Rival, _ time.Duration) (Sample, error) {
				return memory(ctx, r, 10_000)
			},
		},
		Scenario{Name: "options", Title: "One goroutine on 10, with options", Procs: 2, Metrics: []Metric{Time, Allocs}, Who: only(variants), Measure: sharing(10, 1, nil)},
	)
}
