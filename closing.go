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

// ending is the part of the pool that Close owns.
type ending struct {
	closed  bool
	closers int           // Closes that wait
	done    chan struct{} // closed when the pool is, nothing is open, every call over or abandoned, and all told
	over    bool          // done is closed
}

// close closes the connection of a slot that the pool owns, in the
// background. The slot is taken until that is over or abandoned. cause is the
// error that made it go, or nil.
func (p *Pool[T]) close(s *slot[T], why Reason, cause error) {
	s.conn.cleanup.Stop()
	s.word.Store(with(s.word.Load(), closing))
	p.gone++
	p.runClose(s.conn, why, cause, func(c *call, err error) { p.vacate(s, c) }, func(c *call) {
		if c.keepsSlot {
			p.free(s)
		}
	})
}

// closeLate closes what an abandoned call left behind; s waits for it if the
// call keeps its slot.
func (p *Pool[T]) closeLate(s *slot[T], conn *connection[T], keepsSlot bool) {
	free := func() {
		if keepsSlot {
			p.free(s)
		}
	}
	p.runClose(conn, ReasonAbandoned, nil, func(c *call, err error) {
		if !c.abandoned {
			free()
		}
	}, func(*call) { free() })
}

func (p *Pool[T]) runClose(conn *connection[T], why Reason, cause error, end func(*call, error), late func(*call)) {
	closed := func(err error) {
		p.closedBy[why]++
		if err != nil {
			p.happen(Event{Kind: EventCallFailed, Call: "Close", Err: err}, conn, nil)
		}
		p.happen(Event{Kind: EventClosed, Reason: why, Took: time.Duration(p.now() - conn.openedAt), Err: cause}, conn, nil)
	}
	p.run("Close", context.Background(), p.settings.CloseTimeout, func(ctx context.Context) error {
		return p.connector.Close(ctx, conn.resource)
	}, func(c *call, err error) {
		if !c.abandoned {
			closed(err)
		}
		end(c, err)
	}, func(c *call, err error) {
		closed(err)
		late(c)
	})
}

// settleClosed is settle when the pool is closed: nobody waits and nothing
// stays open.
func (p *Pool[T]) settleClosed() {
	p.setGate(racing, p.racer != nil)
	p.refuseAll(ErrClosed)
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		if unused(word) && p.takeOut(s, word) {
			p.close(s, ReasonClose, nil)
		}
	}
	p.ended()
}

// ended tells Close when nothing is left.
func (p *Pool[T]) ended() {
	if p.closed && p.taken == p.hung && p.running == 0 && p.happened == nil && p.telling.Load() == 0 && !p.over {
		p.over = true
		close(p.done)
		if p.keeper != nil {
			p.keeper.Stop()
		}
	}
}

// Close ends the pool. Every wait ends at once with ErrClosed, and every Pop
// from now on; opens under way are cancelled; idle connections are closed,
// and the others as they come back. It returns nil when everything is closed.
//
// If ctx ends before (without a deadline: after 30 s), it interrupts those
// still in use by [Connector.Abort], if there is one, and returns a
// [*CloseError] that names them; they are closed when they come back, and a
// further Close waits for them. A holder that closes its own pool waits for
// itself, as do an Observer and a Logger: they get that error.
func (p *Pool[T]) Close(ctx context.Context) error {
	if p.gate.Load()&made == 0 {
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
		p.closed = true
		p.setGate(closed, true)
		if p.alarm != nil {
			p.alarm.Stop()
		}
		for c := range p.calls {
			if c.name == "Open" {
				c.cancel(ErrClosed)
				// Cancelled, it should come back now; if it does not it is
				// abandoned like a close that hangs.
				c.timer.Reset(p.settings.CloseTimeout)
			}
		}
		for _, f := range p.fills {
			f.tell(ErrClosed)
		}
		p.collectedAt = 0 // who waited before is gone
		p.failures = 0    // nobody tries any more whether the server is down
		p.settle()
	}
	p.closers++
	var ended error
	for !p.over && ended == nil {
		done := p.done
		p.unlock()
		select {
		case <-done:
		case <-ctx.Done():
			ended = ctxError(ctx)
		case <-enough:
			ended = errCloseWait
		}
		p.lock()
	}
	p.closers--
	if !p.over {
		return p.interrupt(p.left(ended))
	}
	defer p.unlock()
	if e := p.left(ErrAbandoned); len(e.Abandoned) > 0 {
		return e
	}
	return nil
}

// left says what has not come back. Under the lock.
func (p *Pool[T]) left(err error) *CloseError {
	e := &CloseError{Pool: p.name, Err: err}
	for _, s := range p.table.Load().slots {
		switch word := s.word.Load(); {
		case word&stateMask == vacant, word&stateMask == abandoned:
		case out(word), word&stateMask == returning:
			e.Held = append(e.Held, p.holderOf(s, word))
		default:
			e.Busy++
		}
	}
	for c := range p.calls {
		if c.abandoned {
			e.Abandoned = append(e.Abandoned, fmt.Sprintf("%s for %v", c.name, time.Duration(p.now()-c.since).Round(time.Millisecond)))
		}
	}
	slices.Sort(e.Abandoned)
	e.Telling = int(p.telling.Load())
	return e
}

// interrupt revokes and aborts what is still in use, and unlocks.
func (p *Pool[T]) interrupt(e *CloseError) error {
	defer p.unlock()
	if p.connector.Abort != nil {
		p.revokeAll()
	}
	return e
}
