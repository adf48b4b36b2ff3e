package pools

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// failure is the error of a Pop that began to wait at since and is not in the
// queue (any more), without what count adds. Under the lock.
func (p *Pool[T]) failure(since int64, reason error) *PopError {
	e := &PopError{
		Pool: p.name, Size: p.settings.Size, Opening: p.in[opening], Waiting: p.queue.len,
		Waited: time.Duration(p.now() - since), Err: reason,
	}
	if p.pace.down() {
		e.OpenErr, e.openErrIsOurs = p.openErr, p.openErrAt >= since
	}
	return e
}

// countSlots adds what the slots are to the error of a Pop, in the goroutine of
// that Pop. It needs no lock (but with TrackHolders), so that ten thousand
// Pops that fail at once do not hold it for long.
func (p *Pool[T]) countSlots(e *PopError) {
	for _, s := range p.table.Load().slots {
		switch w := s.word.load(); {
		case w.lent():
			e.Held++
		case w.unused():
			e.Idle++
		}
	}
	if p.gate.has(gateTracking) {
		e.Own = p.heldBy(goroutineID())
	}
}

// ctxError is the error of a ctx that has ended, with its cause.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
