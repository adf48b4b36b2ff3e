package pools

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// closeWait is how long a Close waits if its ctx has no deadline.
const closeWait = 30 * time.Second

var errCloseWait = fmt.Errorf("waited for %v (the ctx has no deadline)", closeWait)

// Close closes the pool. Waiting and later Pops fail at once with ErrClosed;
// running opens are cancelled; idle connections close at once, and the others
// when they are returned. Close returns nil when everything is closed.
//
// If ctx ends first (without a deadline: after 30 s), Close interrupts the
// connections still in use with [Connector.Abort], if there is one, and returns
// a [*CloseError] that names them. They close when they are returned, and a
// further Close waits for them. Closing a pool while holding one of its
// connections, or in an Observer or a Logger, blocks until ctx ends.
func (p *Pool[T]) Close(ctx context.Context) error {
	if !p.gate.has(gateMade) {
		return errZeroPool
	}
	var enough <-chan time.Time
	if _, bounded := ctx.Deadline(); !bounded {
		timer := time.NewTimer(closeWait)
		defer timer.Stop()
		enough = timer.C
	}
	p.beginClose().end(ErrClosed)
	ended := p.awaitEnd(ctx, enough)
	still := p.left()
	switch {
	case still.over || ended == nil:
		if len(still.hang) == 0 {
			return nil
		}
		still.held, still.busy, ended = nil, 0, ErrAbandoned
	case p.connector.Abort != nil:
		p.RevokeAll()
	}
	return still.err(p.name, ended)
}

// awaitEnd returns nil when the pool has ended, or why it did not wait for that.
func (p *Pool[T]) awaitEnd(ctx context.Context, enough <-chan time.Time) error {
	p.lock()
	defer p.unlock()
	p.closers++
	defer func() { p.closers-- }()
	for !p.ending.over {
		var err error
		done := p.ending.done
		p.unlocked(func() {
			select {
			case <-done:
			case <-ctx.Done():
				_, err = ctxError(ctx)
			case <-enough:
				err = errCloseWait
			}
		})
		if err != nil && !p.ending.over {
			return err
		}
	}
	return nil
}

// beginClose is what the first Close does. It returns the scope of the opens,
// which the caller ends.
func (p *Pool[T]) beginClose() *scope {
	p.lock()
	defer p.unlock()
	if p.closed {
		return p.calls.scope
	}
	p.closed = true
	p.gate.set(gateClosed, true)
	p.alarm.stop()
	p.tellFills(ErrClosed)
	p.collectedAt = 0  // a collection may be asked for again, for Close
	p.pace.up(p.now()) // a closed pool is not down: nothing probes any more
	p.settle()
	return p.calls.scope
}

// leftover is what has not come back when a Close returns.
type leftover[T any] struct {
	now     int64
	held    []glimpse[T]
	busy    int
	hang    []call
	telling int
	over    bool // everything came back while it was looked at
}

// left returns what has not come back. It yields the lock between
// slices.
func (p *Pool[T]) left() *leftover[T] {
	p.lock()
	defer p.unlock()
	l := &leftover[T]{now: p.now(), telling: int(p.reports.Load())}
	for i := 0; ; i++ {
		if !p.visits.visit() {
			p.yield()
		}
		s := p.slot(i)
		if s == nil {
			break
		}
		switch w := s.word.load(); {
		case w.state() == vacant, w.state() == hung:
		case w.lent(), w.state() == returning:
			l.held = append(l.held, s.glance(l.now))
		default:
			l.busy++
		}
	}
	for c := p.calls.abandoned.first; c != nil; c = c.next {
		l.hang = append(l.hang, call{kind: c.kind, since: c.since})
	}
	l.over = p.ending.over
	return l
}

// err describes what is left.
func (l *leftover[T]) err(pool string, why error) *CloseError {
	e := &CloseError{Pool: pool, Err: why, busy: l.busy, telling: l.telling}
	texts := make(stackTexts)
	for _, g := range l.held {
		e.Held = append(e.Held, g.connection(pool, l.now, texts))
	}
	for _, c := range l.hang {
		e.Abandoned = append(e.Abandoned, fmt.Sprintf("%s for %v", c.kind, time.Duration(l.now-c.since).Round(time.Millisecond)))
	}
	slices.Sort(e.Abandoned)
	return e
}
