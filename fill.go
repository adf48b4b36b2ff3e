package pools

import (
	"context"
	"fmt"
)

// Fill opens connections until n are open, then returns. If none is open, the
// first is opened alone, with a single try, so that an unreachable server is
// reported at once; the rest follows slow start. If ctx ends first, running
// opens continue. Fill does not wait for slots held by hung calls (see
// Settings.Strict).
func (p *Pool[T]) Fill(ctx context.Context, n int) error {
	if !p.gate.has(gateMade) {
		return errZeroPool
	}
	p.lock()
	if size := p.settings.Size; n < 0 || n > size {
		defer p.unlock()
		return fieldError("Fill", "n is %d; give a number from 0 to the pool's Size, %d", n, size)
	}
	f := p.calls.newFiller()
	p.addFill(f)
	defer func() {
		p.lock()
		defer p.unlock()
		p.endFill(f)
	}()
	first := p.vacantSlot()
	if n > 0 && !p.closed && !p.paused && p.aliveSoon() == 0 && first != nil && p.pace.nextTry <= p.now() {
		probes := p.pace.down()
		p.probing = probes
		p.open(first, 1, func(err error) {
			p.probing = p.probing && !probes
			if err == nil {
				f.n = n // now the rest
			}
		})
	} else {
		f.n = n
	}
	for {
		if done, err := p.filled(f, n); done {
			defer p.unlock()
			return err
		}
		p.count()
		p.settle()
		p.unlock()
		select {
		case <-f.wake:
			pauseCall("fill", f.number)
		case <-ctx.Done():
			_, ended := ctxError(ctx)
			p.lock()
			defer p.unlock()
			return &fillError{p.name, p.alive(), n, ended}
		}
		p.lock()
	}
}

// filled reports whether a Fill is over, and its error.
func (p *Pool[T]) filled(f *filler, n int) (bool, error) {
	var err error
	open := p.alive()
	switch {
	case p.closed:
		err = ErrClosed
	case p.paused && open < n:
		err = ErrPaused
	case n > p.settings.Size:
		//lint:ignore ST1005 Size is a name
		err = fmt.Errorf("Size was lowered to %d", p.settings.Size)
	case f.err != nil && open < n:
		err = f.err
	default:
		return open >= n, nil
	}
	return true, &fillError{p.name, open, n, err}
}

// fillError says how far a Fill got.
type fillError struct {
	pool    string
	open, n int
	err     error
}

func (e *fillError) Error() string {
	return fmt.Sprintf("pools: fill %q: %d of %d open: %v", e.pool, e.open, e.n, e.err)
}
func (e *fillError) Unwrap() error { return e.err }
