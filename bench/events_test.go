package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Every event happens, on stages of both sizes.
func TestEvents(t *testing.T) {
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			sample, err := e.compare(t.Context(), 2*batchOf, 4*batchOf, time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if sample[Few] <= 0 || sample[Many] <= 0 {
				t.Errorf("%v", sample)
			}
		})
	}
}

func TestUpheavals(t *testing.T) {
	for _, u := range upheavals {
		t.Run(u.name, func(t *testing.T) {
			sample, err := u.longestWait(t.Context(), 200)
			if err != nil {
				t.Fatal(err)
			}
			if sample[Locked] <= 0 {
				t.Errorf("%v", sample)
			}
		})
	}
}

// An event is measured as often at one size as at the other, on new stages when
// the old ones are used up, and each stage is ended.
func TestCompare(t *testing.T) {
	staged, batches, ends := make(map[int]int), make(map[int]int), 0
	walk := event{"walk", "Walk over everything", func(_ context.Context, n int) (*stage, error) {
		staged[n]++
		return &stage{
			batches: 2, end: func() { ends++ },
			batch: func(context.Context) (time.Duration, error) {
				batches[n]++
				return time.Duration(n), nil
			},
		}, nil
	}}
	sample, err := walk.compare(t.Context(), few, many, time.Nanosecond)
	if err != nil || sample[Few] != few || sample[Many] != many {
		t.Fatal(sample, err)
	}
	if batches[few] != leastBatches || batches[many] != leastBatches {
		t.Errorf("%v batches", batches)
	}
	want := (leastBatches + 1) / 2
	if staged[few] != want || staged[many] != want || ends != 2*want {
		t.Errorf("%v stages, %d ended; want %d of each size", staged, ends, want)
	}
}

// The report tells which events cost more in a large pool, and compares the
// waits for the lock with the floor of the same round.
func TestEventTables(t *testing.T) {
	run := new(Run)
	add := func(name string, samples ...Sample) {
		r := &Result{Scenario: Scenario{Name: eventPrefix + name, Title: "T", Event: true}, Name: eventPrefix + name}
		for _, s := range samples {
			r.Rounds = append(r.Rounds, map[string]Sample{"pools": s})
		}
		run.Results = append(run.Results, r)
	}
	add("walk", Sample{Few: 100, Many: 16000}, Sample{Few: 100, Many: 12000}, Sample{Few: 110, Many: 17600})
	add("jump", Sample{Few: 200, Many: 220})
	add(lockFloor, Sample{Locked: 1}, Sample{Locked: 5}, Sample{Locked: 2})
	add(lockShrink, Sample{Locked: 2.5}, Sample{Locked: 6}, Sample{Locked: 4.5})
	text := run.markdown("")
	for _, want := range []string{
		"## What one event costs",
		"| walk | T | 100 | 16,000 | 160 | 140 to 160 | at most 1.5 |",
		"| jump | T | 200 | 220 | 1.1 | 1.1 | at most 1.5 |",
		"| lock, floor | T | 2 | 1.5 to 3.5 |  |",
		"| lock, shrink | T | 4.5 | 3.5 to 5.25 | at most 2 beyond the floor |",
		"| events, walk: 16,000 / 100 | 160 | 140 to 160 | at most 1.5 | **not met** |",
		"| events, jump: 16,000 / 100 | 1.1 | 1.1 | at most 1.5 | met |",
		"| events, lock, shrink, ms: beyond the floor | 1.5 | 1.25 to 2 | at most 2 | met |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "### events") {
		t.Error("an event has a table of its own")
	}
	if text := new(Run).markdown(""); strings.Contains(text, "one event") {
		t.Error("a report without events has a section on them")
	}
}

// An event that does not happen is an error, and in time.
func TestEventThatDoesNotHappen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := until(ctx, func() bool { return false }); err != errNoEvent {
		t.Error(err)
	}
}
