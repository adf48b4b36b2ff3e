package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
)

// These scenarios last seconds and depend on nothing but time, so they run
// in virtual time, which gives the same figures on every machine. The bench
// command runs this file and reads the figures from the tests' attributes.

// TestVirtual is the scenarios of opening.
func TestVirtual(t *testing.T) {
	for _, s := range []struct {
		name             string
		warm             int
		use              time.Duration
		done, begun, few float64 // what we must not exceed
	}{
		{name: "spike", warm: 5, use: 2 * time.Millisecond, done: 20, begun: 18, few: 2},
		{name: "cold start", warm: 0, use: time.Second, done: 1450, begun: 450, few: 50},
	} {
		t.Run(s.name, func(t *testing.T) {
			for _, r := range rivals.All {
				if r.Kind != rivals.Ours && r.Kind != rivals.Library {
					continue
				}
				t.Run(r.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						sample := burst(t, r, s.warm, s.use)
						for metric, v := range sample {
							t.Attr("figure", fmt.Sprintf("%q %q %q %v", s.name, r.Name, metric, v))
						}
						if r.Kind == rivals.Ours && (sample[Done] > s.done || sample[Begun] > s.begun || sample[Opened] > s.few) {
							t.Errorf("%v, and at most %v %v %v are allowed", sample, s.done, s.begun, s.few)
						}
					})
				})
			}
		})
	}
}

// burst is 50 callers at once on a pool of 50 of which some are open; to
// open one takes 150 ms.
func burst(t *testing.T, r rivals.Rival, warm int, use time.Duration) Sample {
	const callers = 50
	var opened atomic.Int64
	p := r.New(50, func() *rivals.Resource {
		time.Sleep(150 * time.Millisecond)
		opened.Add(1)
		return new(rivals.Resource)
	})
	defer p.Close()
	if warm > 0 {
		release, err := p.Hold(context.Background(), warm)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	before := opened.Load()
	began := time.Now()
	var mu sync.Mutex
	var last time.Duration
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			err := p.Do(context.Background(), func() {
				mu.Lock()
				last = max(last, time.Since(began))
				mu.Unlock()
				time.Sleep(use)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	done := time.Since(began)
	time.Sleep(time.Second) // opens that came too late count too
	return Sample{
		Done:   done.Seconds() * 1e3,
		Begun:  last.Seconds() * 1e3,
		Opened: float64(opened.Load() - before),
	}
}
