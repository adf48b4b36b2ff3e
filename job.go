package pools

import (
	"context"
	"runtime/debug"
	"time"
)

// job is one call of a function of the connector: what it calls, and what
// becomes of it. There is a type for each function. done and late run under
// the lock.
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
	job       job
	kind      callKind
	number    uint64 // the pool numbers its calls
	since     int64
	timeout   time.Duration
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	over      bool // done or abandoned
	abandoned bool
	keepsSlot bool // abandoned, and its slot waits for it
}

// calls are the calls of the connector that have not returned. Under the lock.
type calls struct {
	active  map[*call]struct{}
	running int    // of these, how many are not abandoned
	begun   uint64 // calls so far
}

// grace is how long after its timeout a call may still return.
func grace(timeout time.Duration) time.Duration {
	return min(timeout/10, 100*time.Millisecond)
}

// start runs a job. The caller has the lock.
func (p *Pool[T]) start(kind callKind, j job, parent context.Context, timeout time.Duration) {
	parent, cancel := context.WithCancelCause(parent)
	p.calls.begun++
	c := &call{job: j, kind: kind, number: p.calls.begun, since: p.now(), timeout: timeout, cancel: cancel}
	p.calls.active[c] = struct{}{}
	p.calls.running++
	p.ending.reopen()
	c.timer = time.AfterFunc(timeout+grace(timeout), func() {
		pauseCall("abandon", c.number)
		p.abandon(c)
	})
	go p.run(c, parent)
}

// run calls the job's function.
func (p *Pool[T]) run(c *call, parent context.Context) {
	pauseCall("call", c.number)
	name := c.kind.String()
	ctx, stop := context.WithTimeoutCause(parent, c.timeout, &hidden{"pools: " + name + " ran into its timeout", nil})
	err := errGoexit
	defer func() {
		stop()
		c.cancel(nil)
		p.ended(c, err)
	}()
	// An error of the user's has methods, which are user code too.
	err = guarded(name, ctx, func(ctx context.Context) error { return hide(guarded(name, ctx, c.job.call)) })
}

// ended notes that the function of a call has returned.
func (p *Pool[T]) ended(c *call, err error) {
	p.lock()
	defer p.unlockOwn()
	c.timer.Stop()
	delete(p.calls.active, c)
	if c.over {
		c.job.late(c, err)
	} else {
		c.over = true
		p.calls.running--
		c.job.done(c, err)
	}
	p.callEnded()
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
func (p *Pool[T]) abandon(c *call) {
	p.lock()
	defer p.unlockOwn()
	if c.over {
		return
	}
	// Beside the slots there is room for Size abandoned calls. A further one
	// keeps its slot, or a server that hangs would gather connections without
	// bound.
	c.keepsSlot = p.settings.Strict || p.abandonedFree() >= p.settings.Size
	c.over, c.abandoned = true, true
	p.calls.running--
	p.abandonments++
	p.happen(Event{Kind: EventHung, Call: c.kind.String(), Took: time.Duration(p.now() - c.since)}, nil, nil)
	c.job.done(c, ErrAbandoned)
	p.callEnded()
}

// callEnded hands out what the end of a call has freed. A closed pool has
// nothing to hand out, and settling looks at every slot then.
func (p *Pool[T]) callEnded() {
	if p.closed {
		p.checkEnd()
	} else {
		p.settle()
	}
}

// abandonedFree counts the abandoned calls whose slot is free again.
func (p *Pool[T]) abandonedFree() int {
	n := 0
	for c := range p.calls.active {
		if c.abandoned && !c.keepsSlot {
			n++
		}
	}
	return n
}
