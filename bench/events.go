package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
)

// Events are what rarely happens to a connection: it breaks, it comes back
// after Close, a wait for it is refused. A pool of 16,000 sees more of them
// than a pool of 100, so one of them must not cost more there. Each scenario
// here measures one kind of event at both sizes, in alternating batches. Other
// pools have no such events, so only ours is measured.

const (
	few, many = 100, 16_000

	// growth is the most that an event may cost at many, relative to few.
	growth = 1.5

	leastBatches = 3                // of each size, if there is time
	enoughTime   = 3 * time.Second  // when the batches so far must do
	patienceTime = 30 * time.Second // when an event that has not happened is an error
)

// event is something that happens to a pool.
type event struct {
	name, title string

	// stage makes a pool with n of what the event could walk over: slots,
	// calls or waiters.
	stage func(ctx context.Context, n int) (*stage, error)
}

// stage is a pool that is ready for the event.
type stage struct {
	batches int // how many it is good for

	// batch makes the event happen several times and returns the time of one,
	// including the work that the pool does for it in the background.
	batch func(ctx context.Context) (time.Duration, error)

	end func()
}

// endless is for a stage that stays as it is.
const endless = 1 << 30

// events are those that the public API lets us measure. "push, shrunk" and
// "replaced" have never walked over anything: what they cost at many shows what
// the bar must leave room for.
var events = []event{
	{"late push", "Push after Close; the others are held", latePush},
	{"broken, others held", "PushErr(io.EOF) with a Check; the others are held", brokenAmongHeld},
	{"broken, others idle", "PushErr(io.EOF) with a Check; the others are idle", brokenAmongIdle},
	{"push, shrunk", "Push after Size was lowered; the others are held", shrunkPush},
	{"refused, down", "Pop while the server is down; every slot is vacant", refusedDown},
	{"refused, crowded", "Pop beyond MaxWaiting; all connections are held, and as many Pops wait", refusedCrowded},
	{"ended ctx", "Pop whose ctx has ended; all connections are held", endedPop},
	{"cancelled wait", "Pop cancelled while it waits; all connections are held, and as many Pops wait", cancelledWait},
	{"push past ended", "Push to a waiter behind 100 or 16,000 whose ctx has ended", pushPastEnded},
	{"abandoned", "Destroy whose Close is abandoned, less its timeout; other calls hang", abandonedClose},
	{"slow open", "Pop that starts an open; other opens hang", slowOpen},
	{"replaced", "Destroy, and the Pop that opens a new connection; the others are held", replaced},
}

// eventPrefix begins the name of each scenario here, for -only.
const eventPrefix = "events, "

// eventScenarios returns the events, and the upheavals of lockwait.go.
func eventScenarios() []Scenario {
	var all []Scenario
	add := func(s Scenario) {
		s.Name, s.Event, s.Who = eventPrefix+s.Name, true, only(nil, "pools")
		all = append(all, s)
	}
	for _, e := range events {
		add(Scenario{
			Name: e.name, Title: e.title, Procs: 1, Metrics: []Metric{Few, Many},
			Measure: func(ctx context.Context, _ rivals.Rival, target time.Duration) (Sample, error) {
				return e.compare(ctx, few, many, target)
			},
		})
	}
	for _, u := range upheavals {
		add(Scenario{
			Name: u.name, Title: u.title, Procs: 2, Metrics: []Metric{Locked},
			Measure: func(ctx context.Context, _ rivals.Rival, _ time.Duration) (Sample, error) {
				return u.longestWait(ctx, many)
			},
		})
	}
	return all
}

// side is one of the two sizes that are compared.
type side struct {
	n     int
	stage *stage
	left  int // batches
	costs []float64
}

// compare measures the event at two sizes, in alternating batches, for about as
// long as target. It returns the median batch of each size.
func (e event) compare(ctx context.Context, few, many int, target time.Duration) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patienceTime)
	defer cancel()
	sides := []*side{{n: few}, {n: many}}
	for _, s := range sides {
		defer s.end()
	}
	began := time.Now()
	for turn := 0; ; turn++ {
		took := time.Since(began)
		if turn >= leastBatches && took >= target || turn >= 1 && took >= enoughTime {
			break
		}
		for _, s := range sides {
			if err := s.batch(ctx, e); err != nil {
				return nil, fmt.Errorf("with %d: %w", s.n, err)
			}
		}
	}
	return Sample{Few: median(sides[0].costs), Many: median(sides[1].costs)}, nil
}

// batch measures one batch, on a new stage if the last one is used up.
func (s *side) batch(ctx context.Context, e event) (err error) {
	if s.left == 0 {
		s.end()
		if s.stage, err = e.stage(ctx, s.n); err != nil {
			return err
		}
		s.left = s.stage.batches
		if s.left == 1 {
			runtime.GC() // or the only batch pays for what the stage has allocated
		}
	}
	s.left--
	cost, err := s.stage.batch(ctx)
	s.costs = append(s.costs, float64(cost))
	return err
}

func (s *side) end() {
	if s.stage != nil {
		s.stage.end()
		s.stage = nil
	}
}

// growths returns what an event costs at many, relative to few, in every round.
func (r *Result) growths() []float64 {
	var all []float64
	for _, samples := range r.Rounds {
		if s := samples[r.Scenario.us()]; s[Few] > 0 && s[Many] > 0 {
			all = append(all, s[Many]/s[Few])
		}
	}
	return all
}

var cache [8 << 20]byte

// coldStart returns the time, after it has read more memory than a core's own
// caches hold. A pool of 100 would stay in them, and one of 16,000 would not.
func coldStart() time.Time {
	sum := byte(0)
	for i := 0; i < len(cache); i += 64 {
		sum += cache[i]
	}
	cache[0] = sum
	return time.Now()
}

var errNoEvent = errors.New("the event has not happened")

// until waits for something that other goroutines do. It yields and does not
// sleep, because to wake up takes longer than most events.
func until(ctx context.Context, happened func() bool) error {
	for i := 1; !happened(); i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return errNoEvent
		}
		runtime.Gosched()
	}
	return nil
}
