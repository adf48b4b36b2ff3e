package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
)

// phases are what -for does in turns, so that there is something to see.
var phases = []struct {
	name    string
	part    int           // of the goroutines, in percent
	thought time.Duration // between two uses of one goroutine
	held    time.Duration // beside the command
}{
	{"calm", 20, 20 * time.Millisecond, 0},
	{"busy", 100, time.Millisecond, 0},
	{"crowded: each use takes longer", 100, 0, 2 * time.Millisecond},
	{"quiet", 2, 100 * time.Millisecond, 0},
}

const phaseTime = 15 * time.Second

// keepBusy puts load on the pool for a while, in phases of this length. In the
// middle of each round a slow report holds a connection for a whole phase.
//
// The end of a phase stops the goroutines between two uses, and no command: a
// command that is cut off leaves a connection that can only be closed.
func keepBusy(ctx context.Context, pool *pools.Pool[redis.Conn], o options, phaseTime time.Duration, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.during)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	for round := 0; ctx.Err() == nil; round++ {
		for i, phase := range phases {
			until, cancel := context.WithTimeout(ctx, phaseTime)
			if i == 1 {
				all.Go(func() { slowReport(ctx, pool, phaseTime) })
			}
			fmt.Fprintf(stdout, "%v: %s\n", time.Duration(round*len(phases)+i)*phaseTime, phase.name)
			for n := range max(o.goroutines*phase.part/100, 1) {
				all.Go(func() {
					for until.Err() == nil {
						if err := increment(ctx, pool, o.timeout, n, phase.held); err != nil {
							pause(until, 100*time.Millisecond) // it may be refused at once
						}
						pause(until, phase.thought)
					}
				})
			}
			<-until.Done()
			cancel()
		}
	}
	return nil
}

// increment is one use. It ends with its command and not with ctx, but after
// the timeout at the latest.
func increment(ctx context.Context, pool *pools.Pool[redis.Conn], timeout time.Duration, n int, held time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return pool.Use(ctx, func(conn redis.Conn) error {
		_, err := redis.DoContext(conn, ctx, "INCR", key(n))
		pause(ctx, held)
		return err
	})
}

// slowReport waits for a connection as long as the pool lets it, and ends with
// ctx.
func slowReport(ctx context.Context, pool *pools.Pool[redis.Conn], takes time.Duration) {
	_ = pool.Use(context.WithoutCancel(ctx), func(redis.Conn) error {
		pause(ctx, takes)
		return nil
	})
}

func pause(ctx context.Context, d time.Duration) {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
}
