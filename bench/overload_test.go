package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
)

// TestVirtualOverload is callers with deadlines, for a while twice as many as
// can be served. A use that its deadline cuts off breaks the connection.
func TestVirtualOverload(t *testing.T) {
	for _, name := range overloadRivals {
		t.Run(name, func(t *testing.T) {
			all := make(Sample)
			var series [overloadSeconds]float64
			for seed := range uint64(overloadSeeds) {
				synctest.Test(t, func(t *testing.T) {
					sample, served := overload(t, rivalNamed(t, name), seed)
					for metric, v := range sample {
						all[metric] += v / overloadSeeds
					}
					for second, n := range served {
						series[second] += n / overloadSeeds
					}
				})
			}
			for metric, v := range all {
				t.Attr("figure", fmt.Sprintf("%q %q %q %v", overloadScenario, name, metric, v))
			}
			t.Attr("series", fmt.Sprintf("%q %q %s", overloadScenario, name, strings.Trim(fmt.Sprint(series), "[]")))
			t.Logf("%v", all)
			if name == "pools" && (all[During] < duringLimit || all[After] < afterLimit || all[Recovered] > recoveredLimit) {
				t.Errorf("%v; during is to be at least %v, after %v, recovered at most %v", all, duringLimit, afterLimit, recoveredLimit)
			}
		})
	}
}

func rivalNamed(t *testing.T, name string) rivals.Rival {
	for _, r := range rivals.All {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("nobody is called %q", name)
	return rivals.Rival{}
}

// overload is one run. A seed has the same callers come at the same times with
// the same uses, whoever the rival is. It also returns how many uses were
// finished in each second.
func overload(t *testing.T, r rivals.Rival, seed uint64) (Sample, [overloadSeconds]float64) {
	const (
		size     = 10
		open     = 100 * time.Millisecond
		use      = 50 * time.Millisecond // on average; half of it to one and a half
		patience = 500 * time.Millisecond
	)
	var opened atomic.Int64
	p := r.New(size, func() *rivals.Resource {
		time.Sleep(open)
		opened.Add(1)
		return new(rivals.Resource)
	}).(rivals.Frail)
	defer p.Close()
	release, err := p.Hold(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	release()
	before := opened.Load()

	var finished, came, served [overloadSeconds]float64 // by the second of the end, and of the beginning
	var mu sync.Mutex
	var all sync.WaitGroup
	random := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	second := func() int { return min(int(time.Since(began)/time.Second), overloadSeconds-1) }
	for {
		load := overloadCalm
		if now := second(); now >= overloadFrom && now < overloadTo {
			load = overloadMost
		}
		time.Sleep(time.Duration(random.ExpFloat64() / load * float64(use) / size))
		if time.Since(began) >= overloadSeconds*time.Second {
			break
		}
		takes, at := use/2+time.Duration(random.Int64N(int64(use))), second()
		came[at]++
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := p.Try(ctx, func() error {
				done := time.NewTimer(takes)
				defer done.Stop()
				select {
				case <-done.C:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				served[at]++
				finished[second()]++
			}
		})
	}
	all.Wait()
	time.Sleep(time.Second) // opens that came too late
	sum := func(of [overloadSeconds]float64, from, to int) (n float64) {
		for _, v := range of[from:to] {
			n += v
		}
		return n
	}
	recovered := 0.0
	for second := overloadTo; second < overloadSeconds; second++ {
		if served[second] < 0.95*came[second] {
			recovered = float64(second + 1 - overloadTo)
		}
	}
	return Sample{
		During:    sum(finished, overloadFrom, overloadTo) / ((overloadTo - overloadFrom) * size / use.Seconds()),
		After:     sum(served, overloadSettled, overloadSeconds) / sum(came, overloadSettled, overloadSeconds),
		Recovered: recovered,
		Opened:    float64(opened.Load() - before),
	}, finished
}
