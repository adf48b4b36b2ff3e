package poolstest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/utopia-go/pools"
)

// Popper is a goroutine that pops one connection.
type Popper[T any] struct {
	tb     testing.TB
	conn   pools.Conn[T]
	err    error
	done   chan struct{}
	cancel context.CancelFunc
}

// Pop starts to pop, with a ctx that only Cancel ends.
func Pop[T any](tb testing.TB, pool *pools.Pool[T]) *Popper[T] {
	return PopContext(context.Background(), tb, pool)
}

// PopContext starts to pop with ctx.
func PopContext[T any](ctx context.Context, tb testing.TB, pool *pools.Pool[T]) *Popper[T] {
	ctx, cancel := context.WithCancel(ctx)
	p := &Popper[T]{tb: tb, done: make(chan struct{}), cancel: cancel}
	tb.Cleanup(cancel)
	go func() {
		defer close(p.done)
		p.conn, p.err = pool.Pop(ctx)
	}()
	return p
}

// ended lets everything settle and reports whether the pop is over.
func (p *Popper[T]) ended() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Waits fails the test if the pop is over.
func (p *Popper[T]) Waits() {
	p.tb.Helper()
	if p.ended() {
		p.tb.Fatalf("the pop should wait; it ended with connection %q, error %v", p.conn.ID(), p.err)
	}
}

// Has fails the test if the pop has no connection now, and returns it.
func (p *Popper[T]) Has() pools.Conn[T] {
	p.tb.Helper()
	if !p.ended() {
		p.tb.Fatal("the pop should have a connection; it waits")
	}
	if p.err != nil {
		p.tb.Fatalf("the pop should have a connection; it failed: %v", p.err)
	}
	return p.conn
}

// Fails fails the test if the pop has not failed now, or if its error is not
// target. It returns the error.
func (p *Popper[T]) Fails(target error) error {
	p.tb.Helper()
	if !p.ended() {
		p.tb.Fatalf("the pop should have failed (%v); it waits", target)
	}
	if p.err == nil {
		p.tb.Fatalf("the pop should have failed (%v); it has connection %s", target, p.conn.ID())
	}
	if target != nil && !errors.Is(p.err, target) {
		p.tb.Fatalf("the pop failed with %v; it should be %v", p.err, target)
	}
	return p.err
}

// Done is closed when the pop is over, and Err is its error then.
func (p *Popper[T]) Done() <-chan struct{} { return p.done }
func (p *Popper[T]) Err() error            { return p.err }

// Cancel ends the pop's ctx.
func (p *Popper[T]) Cancel() { p.cancel() }

// Push waits for the connection and gives it back.
func (p *Popper[T]) Push() {
	p.tb.Helper()
	<-p.done
	if p.err != nil {
		p.tb.Fatalf("nothing to push; the pop failed: %v", p.err)
	}
	if err := p.conn.Push(); err != nil {
		p.tb.Fatalf("push: %v", err)
	}
}
