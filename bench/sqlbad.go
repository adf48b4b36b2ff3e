package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
	"github.com/utopia-go/pools/internal/proxy"
)

// Overload and outages of databases. Callers come by themselves, however many of those
// before them are still waiting.

const (
	// A query is given the time of ten turns of all connections, under overload.
	overloadTurns = 10

	outageRate = 500                    // callers a second
	outageTime = time.Second            // what a caller has
	outageSlow = 200 * time.Millisecond // a caller that had to wait for longer had trouble
)

// slowQueries take half of slowTime to one and a half. There are few texts, since
// drivers keep each prepared.
func (d *database) slowQueries(target time.Duration) []string {
	var all []string
	for part := time.Duration(5); part <= 15; part += 2 {
		all = append(all, d.slow(part*slowTime(target)/10))
	}
	return all
}

// slowTime is shorter when there is little time for all.
func slowTime(target time.Duration) time.Duration {
	return min(10*time.Millisecond, target/10).Round(time.Microsecond)
}

// arrivals has callers come at a rate, at random times that are the same in each call,
// until over. It returns when all have gone.
func arrivals(rate float64, over func() bool, caller func(n int)) {
	random := rand.New(rand.NewPCG(1, 2))
	var all sync.WaitGroup
	defer all.Wait()
	began, next := time.Now(), 0.0
	for n := 0; !over(); n++ {
		next += random.ExpFloat64() / rate
		time.Sleep(time.Duration(next*float64(time.Second)) - time.Since(began))
		all.Go(func() { caller(n) })
	}
}

// overload finds out how many queries are served without deadlines, and then has
// callers with deadlines come at twice that rate. Useful is what is answered in time.
func (d *database) overload(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
	db, err := d.open(r, d.where())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	queries := d.slowQueries(target)
	ask := func(ctx context.Context, n int) error {
		var answer int
		return db.QueryRowContext(ctx, queries[n%len(queries)]).Scan(&answer)
	}
	calm, err := crowdOn(ctx, 64, target, func(goroutine int) func(context.Context) error {
		n := goroutine
		return func(ctx context.Context) error {
			n++
			return ask(ctx, n)
		}
	})
	if err != nil {
		return nil, err
	}
	capacity := calm[Rate]
	patience := time.Duration(overloadTurns * clientConnections / capacity * float64(time.Second))
	before := db.opened.Load()
	from := time.Now().Add(2 * patience) // when the queue has its length
	to := from.Add(2 * serverTime(target))
	var mu sync.Mutex
	useful := 0
	arrivals(2*capacity, func() bool { return time.Now().After(to) }, func(n int) {
		deadline := time.Now().Add(patience)
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		err := ask(ctx, n)
		if now := time.Now(); err == nil && now.Before(deadline) && now.After(from) && now.Before(to) {
			mu.Lock()
			defer mu.Unlock()
			useful++
		}
	})
	return Sample{
		Useful: float64(useful) / to.Sub(from).Seconds() / capacity,
		Opened: float64(db.opened.Load() - before),
		Rate:   capacity,
	}, nil
}

// restart kills the server and starts it again.
func (d *database) restart(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
	server := d.servers[0]
	return d.outage(ctx, r, target, server.Address, func() error {
		return errors.Join(server.Kill(), server.Start(ctx))
	})
}

// failover kills the server, and leads what comes to its address to the other one,
// some time later.
func (d *database) failover(ctx context.Context, r rivals.Rival, target time.Duration) (Sample, error) {
	if len(d.servers) != 2 {
		return nil, fmt.Errorf("%d servers", len(d.servers))
	}
	from, to := d.servers[0], d.servers[1]
	address, err := proxy.Start(from.Address)
	if err != nil {
		return nil, err
	}
	sample, err := d.outage(ctx, r, target, address.Address, func() error {
		if err := from.Kill(); err != nil {
			return err
		}
		time.Sleep(steadyTime(target))
		address.Lead(to.Address)
		return nil
	})
	return sample, errors.Join(err, address.Close(), from.Start(ctx))
}

// steadyTime is for how long there must be no trouble, after an outage.
func steadyTime(target time.Duration) time.Duration { return 5 * target / 2 }

// call is what happened to a caller.
type call struct {
	came, went time.Time
	failed     bool
}

func (c call) trouble() bool { return c.failed || c.went.Sub(c.came) > outageSlow }

// outage has callers come, and then something happen to the server that they need.
func (d *database) outage(ctx context.Context, r rivals.Rival, target time.Duration, address string, happens func() error) (Sample, error) {
	db, err := d.open(r, address)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ask, err := d.ask(ctx, db)
	if err != nil {
		return nil, err
	}
	if _, err := crowdOn(ctx, clientConnections, target/5, func(int) func(context.Context) error { return ask }); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var calls []call
	var load sync.WaitGroup
	loaded, stop := context.WithCancel(ctx)
	load.Go(func() {
		arrivals(outageRate, func() bool { return loaded.Err() != nil }, func(int) {
			ctx, cancel := context.WithTimeout(ctx, outageTime)
			defer cancel()
			c := call{came: time.Now()}
			c.failed = ask(ctx) != nil
			c.went = time.Now()
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, c)
		})
	})
	defer load.Wait()
	defer stop()
	time.Sleep(steadyTime(target))
	down := time.Now()
	if err := happens(); err != nil {
		return nil, err
	}
	up := time.Now()
	steady := max(1, int(outageRate*steadyTime(target).Seconds())) // callers that must be served
	for deadline := up.Add(patienceTime); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		good := 0
		for _, c := range slices.Backward(calls) {
			if c.trouble() {
				break
			}
			if c.came.After(up) {
				good++
			}
		}
		mu.Unlock()
		if good >= steady {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("it has not recovered %v after the server", patienceTime)
		}
	}
	stop()
	load.Wait()
	sample := Sample{Down: up.Sub(down).Seconds(), Errors: 0, Recovered: 0}
	for _, c := range calls {
		if c.failed {
			sample[Errors]++
		}
		if c.trouble() {
			sample[Recovered] = max(sample[Recovered], c.went.Sub(up).Seconds())
		}
	}
	return sample, nil
}
