package pools

import (
	"context"
	"runtime/debug"
	"time"
)

// job is one call of a function of the connector: what to call, and what happens
// when it ends. There is a type for each function. done and late run under the
// lock.
type job interface {
	call(ctx context.Context) error
	done(c *call, err error) // it has returned, or it is abandoned
	late(c *call, err error) // it has returned after it was abandoned
}

// callKind is the function of the connector that is called.
type callKind uint8

const (
	callOpen callKind = iota
	callClose
	callCheck
	callReset
	callAbort
)

var callNames = [...]string{"Open", "Close", "Check", "Reset", "Abort"}

func (k callKind) String() string { return callNames[k] }

// call is a job under way. Each runs in a goroutine of its own, so that one
// that hangs holds up nothing else.
//
// Go cannot stop user code. A call that has not returned some time after its
// ctx ended is abandoned: done gets ErrAbandoned, and late cleans up when the
// function returns after all.
type call struct {
	job     job
	kind    callKind
	number  uint64 // among the pool's calls
	since   int64
	scope   *scope          // see giveUp
	values  context.Context // its ctx has the values of this one
	timeout time.Duration

	// Under the lock.
	timer      *time.Timer // set when its ctx has ended
	over       bool        // done or abandoned
	abandoned  bool
	keepsSlot  bool // if it is abandoned, its slot waits for it
	slow       bool // it has run for so long that it may hang
	next, prev *call
}

// calls are the calls of the connector that have not returned. Under the lock.
type calls struct {
	opens, resets callList // running, the oldest first
	abandoned     callList
	running       int    // how many are not abandoned, of any kind
	scope         *scope // of the opens that begin now
	begun         uint64 // calls so far
	doubted       uint64 // how many had begun at the latest Suspect
}

// list returns the list of running calls of that kind, or nil if there is none.
func (c *calls) list(kind callKind) *callList {
	switch kind {
	case callOpen:
		return &c.opens
	case callReset:
		return &c.resets
	}
	return nil
}

// doubt notes that what the calls under way find out may be out of date.
func (cs *calls) doubt() { cs.doubted = cs.begun }

// doubts reports whether that holds for a call.
func (cs *calls) doubts(c *call) bool { return c.number <= cs.doubted }

// grace is how long after the end of its ctx a call may still return.
func grace(timeout time.Duration) time.Duration {
	return min(timeout/10, 100*time.Millisecond)
}

// start has a job run when the lock is free: its goroutine, contexts and timers
// are not made under the lock.
func (p *Pool[T]) start(kind callKind, j job, values context.Context, timeout time.Duration) *call {
	p.calls.begun++
	c := &call{job: j, kind: kind, number: p.calls.begun, since: p.now(), scope: p.calls.scope, values: values, timeout: timeout}
	if list := p.calls.list(kind); list != nil {
		list.append(c)
	}
	p.calls.running++
	p.ending.reopen()
	p.starting = append(p.starting, c)
	return c
}

// runCall calls the job's function.
func (p *Pool[T]) runCall(c *call) {
	pauseCall("call", c.number)
	name := c.kind.String()
	ctx, cancel := context.WithCancelCause(c.values)
	if c.kind == callOpen {
		defer context.AfterFunc(c.scope, func() { cancel(context.Cause(c.scope)) })()
	}
	ctx, stop := context.WithTimeoutCause(ctx, c.timeout, &hidden{"pools: " + name + " ran into its timeout", nil})
	unwatch := context.AfterFunc(ctx, func() { p.overdueCall(ctx, c) })
	err := errGoexit
	defer func() {
		unwatch()
		stop()
		cancel(nil)
		p.callOver(c, err)
	}()
	// hide calls methods of the user's error, which are user code too.
	err = guarded(name, ctx, func(ctx context.Context) error { return hide(guarded(name, ctx, c.job.call)) })
}

// overdueCall has a call abandoned some time after its ctx has ended. Without
// that grace, a call that honours its ctx would be abandoned at the very
// instant at which it returns. The grace begins now and not with the call: in
// a process that was stopped for a while, all timers are due at once and run
// in any order.
func (p *Pool[T]) overdueCall(ctx context.Context, c *call) {
	after := grace(c.timeout)
	p.lock()
	defer p.unlockOwn()
	if c.over {
		return
	}
	if end, ok := ctx.Deadline(); ok && p.closed && c.kind == callOpen {
		// Close has cancelled it. It is abandoned like a close that hangs, but not
		// later than it would have been without the Close.
		after = min(p.settings.CloseTimeout, max(time.Until(end), 0)+after)
	}
	c.timer = time.AfterFunc(after, func() {
		pauseCall("abandon", c.number)
		p.abandon(c)
	})
}

// callOver notes that the function of a call has returned.
func (p *Pool[T]) callOver(c *call, err error) {
	p.lock()
	defer p.unlockOwn()
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.over {
		p.calls.abandoned.remove(c)
		c.job.late(c, err)
	} else {
		p.calls.end(c)
		c.job.done(c, err)
	}
	p.callEnded()
}

// end notes that a call has returned or is abandoned.
func (cs *calls) end(c *call) {
	c.over = true
	cs.running--
	if list := cs.list(c.kind); list != nil {
		list.remove(c)
	}
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
		// Otherwise fn called Goexit: runCall's own defer reports errGoexit.
	}()
	err = fn(ctx)
	returned = true
	return err
}

// abandon gives up on a call that hangs.
func (p *Pool[T]) abandon(c *call) {
	p.lock()
	defer p.unlockOwn()
	if c.over {
		return
	}
	p.calls.end(c)
	// Up to Size abandoned calls give up their slots. A further one keeps its
	// slot, or a server that hangs would accumulate connections without bound.
	c.abandoned = true
	c.keepsSlot = c.keepsSlot || p.settings.Strict || p.calls.abandoned.len-p.calls.abandoned.slots >= p.settings.Size
	p.calls.abandoned.append(c)
	p.abandonments++
	p.happen(Event{Kind: EventHung, Call: c.kind.String(), Took: time.Duration(p.now() - c.since)}, nil, nil)
	c.job.done(c, ErrAbandoned)
	p.callEnded()
}

// callEnded hands out what the end of a call has freed. A closed pool hands out
// nothing.
func (p *Pool[T]) callEnded() {
	if p.closed {
		p.checkEnd()
	} else {
		p.settle()
	}
}
