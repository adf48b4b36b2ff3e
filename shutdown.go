package pools

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// closeWait is how long a Close waits whose ctx has no deadline.
const closeWait = 30 * time.Second

var errCloseWait = fmt.Errorf("waited for %v (the ctx has no deadline)", closeWait)

// Close ends the pool. Every wait ends at once with ErrClosed, and every Pop
// from now on; opens under way are cancelled; idle connections are closed, and
// the others as they come back. It returns nil when everything is closed.
//
// If ctx ends before (without a deadline: after 30 s), Close interrupts those
// still in use by [Connector.Abort], if there is one, and returns a
// [*CloseError] that names them. They are closed when they come back, and a
// further Close waits for them. Closing a pool while holding one of its
// connections, or in an Observer or a Logger, blocks until ctx ends.
func (p *Pool[T]) Close(ctx context.Context) error {
	if !p.gate.has(gateMade) {
		return ErrZero
	}
	var enough <-chan time.Time
	if _, bounded := ctx.Deadline(); !bounded {
		timer := time.NewTimer(closeWait)
		defer timer.Stop()
		enough = timer.C
	}
	p.lock()
	if !p.closed {
		p.beginClose()
	}
	p.closers++
	var ended error
	for !p.ending.over && ended == nil {
		done := p.ending.done
		p.unlock()
		select {
		case <-done:
		case <-ctx.Done():
			_, ended = ctxError(ctx)
		case <-enough:
			ended = errCloseWait
		}
		p.lock()
	}
	p.closers--
	defer p.unlock()
	if !p.ending.over {
		e := p.left(ended)
		if p.connector.Abort != nil {
			p.revokeAll()
		}
		return e
	}
	if e := p.left(ErrAbandoned); len(e.Abandoned) > 0 {
		return e
	}
	return nil
}

// beginClose is what the first Close does.
func (p *Pool[T]) beginClose() {
	p.closed = true
	p.gate.set(gateClosed, true)
	p.alarm.stop()
	for c := p.calls.opens.first; c != nil; c = c.next {
		c.stop.stop(ErrClosed)
	}
	p.tellFills(ErrClosed)
	p.collectedAt = 0  // callers that waited before are gone
	p.pace.up(p.now()) // nothing tries any more whether the server is down
	p.settle()
}

// left says what has not come back. Under the lock.
func (p *Pool[T]) left(err error) *CloseError {
	e := &CloseError{Pool: p.name, Err: err}
	for _, s := range p.table.Load().slots {
		switch w := s.word.load(); {
		case w.state() == vacant, w.state() == hung:
		case w.lent(), w.state() == returning:
			e.Held = append(e.Held, p.holderOf(s, w))
		default:
			e.Busy++
		}
	}
	for c := p.calls.abandoned.first; c != nil; c = c.next {
		e.Abandoned = append(e.Abandoned, fmt.Sprintf("%s for %v", c.kind, time.Duration(p.now()-c.since).Round(time.Millisecond)))
	}
	slices.Sort(e.Abandoned)
	e.Telling = int(p.reports.Load())
	return e
}
