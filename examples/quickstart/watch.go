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

// keepBusy puts load on the pool for a while, in phases. In the middle of each
// round somebody holds a connection for a whole phase, as a slow report would.
func keepBusy(ctx context.Context, pool *pools.Pool[redis.Conn], o options, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.during)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	for round := 0; ctx.Err() == nil; round++ {
		for i, phase := range phases {
			until, cancel := context.WithTimeout(ctx, phaseTime)
			if i == 1 {
				all.Go(func() { slowReport(ctx, pool) })
			}
			fmt.Fprintf(stdout, "%v: %s\n", time.Duration(round*len(phases)+i)*phaseTime, phase.name)
			for n := range max(o.goroutines*phase.part/100, 1) {
				all.Go(func() {
					for until.Err() == nil {
						err := pool.Use(until, func(conn redis.Conn) error {
							_, err := redis.DoContext(conn, until, "INCR", key(n))
							pause(until, phase.held)
							return err
						})
						if err != nil {
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

func slowReport(ctx context.Context, pool *pools.Pool[redis.Conn]) {
	_ = pool.Use(ctx, func(redis.Conn) error {
		pause(ctx, phaseTime)
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
