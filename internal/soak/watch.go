package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// sample is what the process has at one moment.
type sample struct {
	at         time.Duration
	heap       float64 // live, in MB, after a collection
	goroutines int
	files      int // open
}

func look() sample {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := sample{heap: float64(m.HeapAlloc) / (1 << 20), goroutines: runtime.NumGoroutine()}
	if p, err := process.NewProcess(int32(os.Getpid())); err == nil {
		n, _ := p.NumFDs() // where the system does not tell, they count as none
		s.files = int(n)
	}
	return s
}

// watch looks some hundred times until ctx ends.
func watch(ctx context.Context, length time.Duration) (samples []sample) {
	began := time.Now()
	ticker := time.NewTicker(max(length/300, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s := look()
			s.at = time.Since(began)
			samples = append(samples, s)
		case <-ctx.Done():
			return samples
		}
	}
}

// level returns an error if something has grown: if its median in the last
// quarter is more than in the second by a tenth and a little. A short run says
// nothing of that: what happens to be broken just then decides.
func level(samples []sample, length time.Duration) error {
	if length < 5*time.Minute {
		return nil
	}
	n := len(samples) / 4
	grown := func(what string, little float64, of func(sample) float64) error {
		median := func(part []sample) float64 {
			var all []float64
			for _, s := range part {
				all = append(all, of(s))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		early, late := median(samples[n:2*n]), median(samples[3*n:])
		if late > early*1.1+little {
			return fmt.Errorf("%s have grown from %.1f to %.1f", what, early, late)
		}
		return nil
	}
	return errors.Join(
		grown("megabytes on the heap", 1, func(s sample) float64 { return s.heap }),
		grown("goroutines", 10, func(s sample) float64 { return float64(s.goroutines) }),
		grown("open files", 5, func(s sample) float64 { return float64(s.files) }))
}

// settled waits until the process has no more than before.
func settled(before sample) error {
	var now sample
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		now = look()
		if now.goroutines <= before.goroutines && now.files <= before.files+1 { // and the poller's
			return nil
		}
		pause(context.Background(), 100*time.Millisecond)
	}
	var stacks bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	return fmt.Errorf("all is closed, and there are %d goroutines and %d open files; before there were %d and %d\n%s",
		now.goroutines, now.files, before.goroutines, before.files, stacks.Bytes()[:int(math.Min(float64(stacks.Len()), 8000))])
}

// leaked asks the runtime for goroutines that wait for what nobody can do any
// more. Only a runtime built for it knows.
func leaked() error {
	profile := pprof.Lookup("goroutineleak")
	if profile == nil {
		fmt.Println("no goroutine-leak profile; build with GOEXPERIMENT=goroutineleakprofile")
		return nil
	}
	var text bytes.Buffer
	if err := profile.WriteTo(&text, 1); err != nil {
		return err
	}
	first, _, _ := bytes.Cut(text.Bytes(), []byte("\n"))
	fmt.Printf("%s\n", first)
	if !bytes.HasSuffix(first, []byte(" 0")) {
		return fmt.Errorf("goroutines are leaked:\n%s", text.Bytes())
	}
	return nil
}
