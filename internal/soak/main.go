// Soak runs pools for long: on a Redis and a PostgreSQL that are killed, hang
// and end connections, through a network that fails, and on connectors that
// fail, hang and panic, while operators change everything. It asks whether
// every answer is the right one and whether memory, goroutines and open files
// stay level, and draws them.
//
//	go run ./internal/soak -for 10m -o soak.svg
//
// Built with GOEXPERIMENT=goroutineleakprofile it also asks the runtime for
// goroutines that can never go on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
	"github.com/utopia-go/pools/internal/proxy"
)

func main() {
	length := flag.Duration("for", 10*time.Minute, "how long")
	picture := flag.String("o", "", "the SVG to write; none if empty")
	flag.Parse()
	log.SetFlags(0)
	if err := soak(context.Background(), *length, *picture); err != nil {
		log.Fatal("soak: ", err)
	}
}

// part is something that runs until ctx ends.
type part struct {
	name  string
	start func(ctx context.Context, r *report) (stop func() error, err error)
}

var parts = []part{
	{"redis", func(ctx context.Context, r *report) (func() error, error) {
		return served(ctx, r, engine.Redis, load.Redis)
	}},
	{"postgres", func(ctx context.Context, r *report) (func() error, error) {
		return served(ctx, r, engine.Postgres, load.Postgres)
	}},
	{"churn", churn},
}

func soak(ctx context.Context, length time.Duration, picture string) error {
	r := new(report)
	before := look()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var stops []func() error
	for _, p := range parts {
		stop, err := p.start(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		stops = append(stops, stop)
	}
	samples := watch(ctx, length)
	var faults []error
	for _, stop := range stops {
		faults = append(faults, stop())
	}
	faults = append(faults, r.fault(), level(samples, length), settled(before), leaked())
	if picture != "" {
		faults = append(faults, draw(picture, samples))
	}
	r.print(samples)
	return errors.Join(faults...)
}

// report is what came of it. Its methods are safe for concurrent use.
type report struct {
	mu     sync.Mutex
	wrong  []string // what must never happen
	counts map[string]int64
	order  []string
}

func (r *report) bad(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) < 20 {
		r.wrong = append(r.wrong, what)
	}
}

func (r *report) count(what string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int64{}
	}
	if _, known := r.counts[what]; !known {
		r.order = append(r.order, what)
	}
	r.counts[what] += n
}

func (r *report) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var faults []error
	for _, w := range r.wrong {
		faults = append(faults, errors.New(w))
	}
	return errors.Join(faults...)
}

func (r *report) print(samples []sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, what := range r.order {
		fmt.Fprintf(os.Stdout, "%9d %s\n", r.counts[what], what)
	}
	if n := len(samples); n > 0 {
		first, last := samples[n/4], samples[n-1]
		fmt.Printf("after a quarter and in the end: heap %.1f and %.1f MB, goroutines %d and %d, open files %d and %d\n",
			first.heap, last.heap, first.goroutines, last.goroutines, first.files, last.files)
	}
}

// served is load on a server that suffers, and operators at its pool.
func served[T comparable](ctx context.Context, r *report, start func(context.Context, int) (*engine.Engine, error), kind load.Kind[T]) (stop func() error, err error) {
	e, err := start(ctx, 30)
	if err != nil {
		return nil, err
	}
	p, err := proxy.Start(e.Address)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	l, err := load.New(e.Name, p.Address, kind, pools.Settings{
		Size: 8, WaitTimeout: time.Second, CheckAfter: 50 * time.Millisecond, CheckTimeout: 200 * time.Millisecond, LeakAfter: time.Second,
		OpenTimeout: 500 * time.Millisecond, CloseTimeout: 300 * time.Millisecond, ReconnectAttempts: 2, ReconnectSleep: 20 * time.Millisecond,
		MaxLifetime: 2 * time.Second, IdleTimeout: time.Second, MinIdle: 2,
	}, 200*time.Millisecond, r.bad)
	if err != nil {
		return nil, errors.Join(err, p.Close(), e.Close())
	}
	l.Start(16)
	var trouble sync.WaitGroup
	trouble.Go(func() { torment(ctx, r, e, p) })
	trouble.Go(func() { operate(ctx, r, l.Pool) })
	return func() error {
		trouble.Wait()
		l.Stop()
		r.count(e.Name+": right answers", l.Answers.Load())
		r.count(e.Name+": given up with the answer on its way", l.GivenUp.Load())
		r.count(e.Name+": errors", l.Errors.Load())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return errors.Join(
			settle(ctx, l.Pool),
			l.Pool.Close(ctx),
			engine.Eventually(ctx, func() error {
				n, err := e.Connections(ctx)
				if n > 0 {
					err = fmt.Errorf("%s: closed, and the server has %d connections", e.Name, n)
				}
				return err
			}),
			p.Close(), e.Close())
	}, nil
}

// settle waits until a pool that nobody uses has all it should have.
func settle[T any](ctx context.Context, pool *pools.Pool[T]) error {
	return engine.Eventually(ctx, func() error { return load.AtRest(ctx, pool) })
}
