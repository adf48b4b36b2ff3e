package poolstest

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Fault is what a call of a [Server] does before it succeeds; an error ends
// it. Nil is no fault.
type Fault func(ctx context.Context) error

// Fail ends the call with err.
func Fail(err error) Fault {
	return func(context.Context) error { return err }
}

// Delay lets the call take d, and ends it with the error of its ctx if that
// ends before.
func Delay(d time.Duration) Fault {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Deaf lets the call take d, whatever happens to its ctx.
func Deaf(d time.Duration) Fault {
	return func(context.Context) error {
		time.Sleep(d)
		return nil
	}
}

// Hang lets the call hang, deaf to its ctx, until release is closed. See also
// [Server.Hang].
func Hang(release <-chan struct{}) Fault {
	return func(context.Context) error {
		<-release
		return nil
	}
}

// Panic panics with value.
func Panic(value any) Fault {
	return func(context.Context) error { panic(value) }
}

// Goexit ends the call's goroutine.
func Goexit() Fault {
	return func(context.Context) error {
		runtime.Goexit()
		return nil
	}
}

// Call runs f, which may use the pool.
func Call(f func()) Fault {
	return func(context.Context) error {
		f()
		return nil
	}
}

// In order: each runs until one returns an error.
func InOrder(faults ...Fault) Fault {
	return func(ctx context.Context) error {
		for _, f := range faults {
			if err := f(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// Point is a function of the connector: where faults can be put. It is safe
// for concurrent use.
type Point struct {
	mu     sync.Mutex
	next   []Fault
	always Fault
	calls  int
}

// Next gives the next calls a fault each; nil lets a call succeed.
func (p *Point) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, faults...)
}

// Always gives every call that Next says nothing of this fault; nil ends it.
func (p *Point) Always(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always = fault
}

// Clear forgets all faults: calls succeed from now on.
func (p *Point) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.always = nil, nil
}

// Calls returns how often the function was called.
func (p *Point) Calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func (p *Point) run(ctx context.Context) error {
	p.mu.Lock()
	p.calls++
	fault := p.always
	if len(p.next) > 0 {
		fault, p.next = p.next[0], p.next[1:]
	}
	p.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx)
}
