package pools

import (
	"context"
	"runtime/debug"
	"time"
)

// call is one running function of the connector: Open, Close, Check, Reset or
// Abort.
// Each runs in a goroutine of its own, so that one that hangs holds up
// nothing else.
//
// Go cannot stop user code. A call that has not returned some time after its
// ctx ended is abandoned: its end is reported as ErrAbandoned, and when it
// does come back, late cleans up behind it.
type call struct {
	name      string // as in Connector
	number    uint64 // the pool numbers its calls
	since     int64
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	over      bool // ended or abandoned; under the pool's lock
	abandoned bool
	keepsSlot bool // abandoned, and its slot waits for it
}

// grace is how long after its timeout a call may still return.
func grace(timeout time.Duration) time.Duration {
	return min(timeout/10, 100*time.Millisecond)
}

// run calls fn, which calls the connector's function of that name, and then
// end, once, under the lock: when fn has returned (its error, a panic or
// Goexit as an error) or when it is abandoned. If it was abandoned, late runs
// when fn returns after all. The caller has the lock.
func (p *Pool[T]) run(name string, parent context.Context, timeout time.Duration,
	fn func(ctx context.Context) error, end func(c *call, err error), late func(c *call, err error),
) {
	parent, cancel := context.WithCancelCause(parent)
	p.begun++
	c := &call{name: name, number: p.begun, since: p.now(), cancel: cancel}
	p.calls[c] = struct{}{}
	p.running++
	if p.over {
		// Cleaning up behind an abandoned call: a further Close waits again.
		p.over, p.done = false, make(chan struct{})
	}
	c.timer = time.AfterFunc(timeout+grace(timeout), func() {
		pauseCall("abandon", c.number)
		p.abandon(c, end)
	})
	go func() {
		pauseCall("call", c.number)
		ctx, stop := context.WithTimeoutCause(parent, timeout, &hidden{"pools: " + name + " ran into its timeout", nil})
		err := errGoexit
		defer func() {
			stop()
			cancel(nil)
			p.lock()
			defer p.unlockOwn()
			c.timer.Stop()
			delete(p.calls, c)
			if c.over {
				late(c, err)
			} else {
				c.over = true
				p.running--
				end(c, err)
			}
			p.callEnded()
		}()
		// An error of the user's has methods, which are user code too.
		err = guarded(name, ctx, func(ctx context.Context) error { return hide(guarded(name, ctx, fn)) })
	}()
}

// guarded calls fn and turns its panic into an error.
func guarded(name string, ctx context.Context, fn func(ctx context.Context) error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &PanicError{name, v, debug.Stack()}
		}
		// Else fn called Goexit: the caller's own defer goes on with errGoexit.
	}()
	err = fn(ctx)
	returned = true
	return err
}

// abandon gives up on a call that hangs.
func (p *Pool[T]) abandon(c *call, end func(c *call, err error)) {
	p.lock()
	defer p.unlockOwn()
	if c.over {
		return
	}
	// Beside the slots there is room for Size abandoned calls; a further one
	// keeps its slot, else a server that hangs would gather connections
	// without bound.
	c.keepsSlot = p.settings.Strict || p.abandonedFree() >= p.settings.Size
	c.over, c.abandoned = true, true
	p.running--
	p.abandonments++
	p.happen(Event{Kind: EventHung, Call: c.name, Took: time.Duration(p.now() - c.since)}, nil, nil)
	end(c, ErrAbandoned)
	p.callEnded()
}

// callEnded hands out what the end of a call has freed. A closed pool has
// nothing to hand out, and settling looks at every slot then.
func (p *Pool[T]) callEnded() {
	if p.closed {
		p.ended()
	} else {
		p.settle()
	}
}

// abandonedFree counts the abandoned calls whose slot is free again.
func (p *Pool[T]) abandonedFree() int {
	n := 0
	for c := range p.calls {
		if c.abandoned && !c.keepsSlot {
			n++
		}
	}
	return n
}

// vacate is what becomes of a slot whose call is over: free, unless the call
// was abandoned and keeps it.
func (p *Pool[T]) vacate(s *slot[T], c *call) {
	if c.keepsSlot {
		if s.word.Load()&stateMask != closing {
			p.gone++
		}
		s.word.Store(with(s.word.Load(), abandoned))
		p.empty(s)
		p.hung++
		p.shed()
		p.ended()
		return
	}
	p.free(s)
}

// free makes a slot vacant.
func (p *Pool[T]) free(s *slot[T]) { // model: freed
	p.empty(s)
	word := s.word.Load()
	if state := word & stateMask; state == closing || state == abandoned {
		p.gone--
		if state == abandoned {
			p.hung--
		}
	}
	s.word.Store(with(word, vacant))
	p.taken--
	p.firstVacant = min(p.firstVacant, s.index)
	p.ended()
}

// empty takes the connection out of the slot.
func (p *Pool[T]) empty(s *slot[T]) {
	if s.conn != nil {
		s.conn.cleanup.Stop()
	}
	s.handle.Store(nil)
	s.forget()
	s.conn = nil
	if s.generation != 0 {
		p.replaced(s.generation)
		s.generation = 0
	}
}
