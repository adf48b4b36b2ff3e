package main

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

const (
	// lockLimit is by how much the longest wait for the lock may exceed the
	// floor's while a pool shrinks from many connections to one.
	lockLimit = 2 * time.Millisecond

	// tries is how often each upheaval is measured in a round; the best counts.
	// Code that holds the lock for long does so in every try. The system stops
	// the thread that holds the lock in some.
	tries = 3

	// askGap is the pause between two calls that ask for the lock. A goroutine
	// runs next after a sleep, so it waits for the lock only. One that keeps
	// running is stopped after 10 ms, and then waits its turn behind the 16,000
	// goroutines that close connections.
	askGap = 20 * time.Microsecond
)

// upheaval is a call that has something done to every connection.
type upheaval struct {
	name, title string
	held        bool // the connections are held, and not idle
	call        func(ctx context.Context, s *scene) error

	done func(s *scene) int64 // how many connections have been dealt with
	rest int                  // how many need not be
}

const (
	lockFloor  = "lock, floor"
	lockShrink = "lock, shrink"
)

var upheavals = []upheaval{
	{
		name: lockFloor, title: "Floor: Destroy of each of 16,000, with a yield after every 64",
		held: true, done: closed,
		call: func(_ context.Context, s *scene) error {
			for i, c := range s.held {
				if err := c.Destroy(); err != nil {
					return err
				}
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
			return nil
		},
	},
	{
		name: lockShrink, title: "Configure with Size 1; 16,000 are idle", done: closed, rest: 1,
		call: func(_ context.Context, s *scene) error {
			return s.Configure(func(settings *pools.Settings) { settings.Size = 1 })
		},
	},
	{
		name: "lock, close", title: "Close; 16,000 are idle", done: closed,
		call: func(ctx context.Context, s *scene) error { return s.Close(ctx) },
	},
	{
		name: "lock, refresh", title: "Refresh as fast as possible; 16,000 are idle", done: closed,
		call: func(ctx context.Context, s *scene) error { return s.Refresh(ctx, 0) },
	},
	{
		name: "lock, revoke", title: "RevokeAll with an Abort; 16,000 are held",
		held: true, done: func(s *scene) int64 { return s.aborted.Load() },
		call: func(_ context.Context, s *scene) error {
			s.RevokeAll()
			return nil
		},
	},
}

func closed(s *scene) int64 { return s.closed.Load() }

// longestWait returns the longest wait for the lock of a pool of n, in the best
// of the tries.
func (u upheaval) longestWait(ctx context.Context, n int) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patienceTime)
	defer cancel()
	least := time.Duration(math.MaxInt64)
	for range tries {
		longest, err := u.try(ctx, n)
		if err != nil {
			return nil, err
		}
		least = min(least, longest)
	}
	return Sample{Locked: least.Seconds() * 1e3}, nil
}

// try has a goroutine ask for the settings, which takes the lock and does
// nothing else, until the upheaval is over. It returns how long the longest of
// these calls took.
func (u upheaval) try(ctx context.Context, n int) (longest time.Duration, err error) {
	s, err := newScene(n, func(s *scene, c *pools.Connector[*resource], _ *pools.Settings) {
		c.Abort = func(*resource) { s.aborted.Add(1) }
	})
	if err != nil {
		return 0, err
	}
	if u.held {
		defer s.drop()
	} else {
		defer s.close()
	}
	if err := s.fill(ctx, n); err != nil {
		return 0, err
	}
	if u.held {
		if err := s.hold(ctx, n); err != nil {
			return 0, err
		}
	}
	var over atomic.Bool
	var asking sync.WaitGroup
	began := make(chan struct{})
	asking.Go(func() {
		close(began)
		for !over.Load() {
			asked := time.Now()
			_ = s.Settings()
			longest = max(longest, time.Since(asked))
			time.Sleep(askGap)
		}
	})
	<-began
	err = u.call(ctx, s)
	for err == nil && u.done(s) < int64(n-u.rest) {
		if err = ctx.Err(); err == nil {
			time.Sleep(time.Millisecond)
		}
	}
	over.Store(true)
	asking.Wait()
	return longest, err
}

// beyondFloor returns by how much the longest wait exceeds the floor's, in every
// round.
func (run *Run) beyondFloor(name string) []float64 {
	const us = "pools"
	floor := run.result(eventPrefix+lockFloor).figures(us, Locked)
	var all []float64
	for i, ms := range run.result(eventPrefix+name).figures(us, Locked) {
		if i < len(floor) {
			all = append(all, ms-floor[i])
		}
	}
	return all
}
