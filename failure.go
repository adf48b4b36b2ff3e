package pools

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// failure is the error of a Pop that began to wait at since and is not, or no
// longer, in the queue. countSlots completes it. Under the lock.
func (p *Pool[T]) failure(since int64, reason error) *PopError {
	p.vain.note()
	e := &PopError{
		Pool: p.name, Size: p.settings.Size, Opening: p.in[opening], Waiting: p.queue.len,
		Waited: time.Duration(p.now() - since), Err: reason,
	}
	if p.pace.down() {
		e.OpenErr, e.openErrIsOurs = p.openErr, p.openErrAt >= since
	}
	return e
}

// countSlots adds the counts of slots to the error of a Pop, in the goroutine of
// that Pop. It needs no lock (except with TrackGoroutines, and when another one has
// become the eldest), so that ten thousand Pops that fail at once do not keep it
// busy. With many slots it counts at most every ten milliseconds, so that a Pop
// that fails does not cost a walk.
func (p *Pool[T]) countSlots(e *PopError) {
	slots := p.table.Load().slots
	if len(slots) <= fewSlots {
		*e = countInto(*e, slots)
	} else {
		now := p.clock()
		c := p.counted.Load()
		if c == nil || now-c.at >= countEvery {
			n := countInto(PopError{}, slots)
			c = &counted{now, n.Held, n.Idle}
			p.counted.Store(c)
		}
		e.Held, e.Idle = c.held, c.idle
	}
	if e.Held > 0 {
		nameEldest(p, e, slots)
	}
	if p.takers.wants(noteGoroutine) {
		me := goroutineID()
		p.lock()
		e.Own = p.byGoroutine[me]
		p.unlock()
	}
}

func countInto[T any](e PopError, slots []*slot[T]) PopError {
	for _, s := range slots {
		switch w := s.word.load(); {
		case w.lent():
			e.Held++
		case w.unused():
			e.Idle++
		}
	}
	return e
}

// counted is how many slots were held and idle at one time.
type counted struct {
	at         int64
	held, idle int
}

const countEvery = int64(10 * time.Millisecond)

// ctxError returns the error of a ctx that has ended, alone and with its cause.
// It calls the ctx's methods, which are user code: never call it under the lock.
func ctxError(ctx context.Context) (kind, err error) {
	kind, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case kind == nil:
		kind = context.Canceled // Done was closed, but a user's own context type may not say why
		return kind, kind
	case cause == nil || errors.Is(cause, kind):
		return kind, kind
	}
	return kind, fmt.Errorf("%w: %w", kind, cause)
}

// vain says whether a Pop or TryPop has failed since the keeper's last look.
type vain struct{ since atomic.Bool }

func (v *vain) note() {
	if !v.since.Load() {
		v.since.Store(true)
	}
}

// forget returns whether one has failed since the last call.
func (v *vain) forget() bool { return v.since.Swap(false) }
