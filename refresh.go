package pools

import (
	"context"
	"fmt"
	"time"
)

// A Refresh replaces connections. It gives each its turn, counts those of an
// older generation that are left, and belongs to the pool: its caller only
// waits.

// Refresh replaces every connection that is open or being opened, for new
// credentials, certificates or servers behind one name. Over is the time
// across which the replacements are spread; 0: as fast as new ones can be
// opened. Idle connections are closed when their turn comes, others when they
// come back after that. New ones are opened in their place, by slow start.
//
// It is careful: before a new connection could be opened, it closes none, or
// one if there is no room beside; and after that never more than half of them
// are missing at a time. So while the server refuses new ones, the old ones
// stay. (A paused pool opens nothing: there all old ones go.)
//
// It returns nil when no old connection is left; the last new ones may still
// be opening. When ctx ends or the pool is closed before, it returns an error
// that says how many are left; the replacing goes on without it. A holder
// that calls it waits for itself: give ctx a deadline.
func (p *Pool[T]) Refresh(ctx context.Context, over time.Duration) error {
	if !p.gate.has(gateMade) {
		return ErrZero
	}
	if over < 0 || over > longest {
		return fieldError("Refresh", "over is %v; give a duration from 0 to %v", over, longest)
	}
	if ctx.Err() != nil {
		_, ended := ctxError(ctx)
		return &refreshError{p.name, -1, ended, nil}
	}
	r := p.beginRefresh(over)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, err := p.goOn(r)
		if next == 0 {
			return err
		}
		timer.Reset(next)
		select {
		case <-r.wake:
			pauseCall("refresh", r.number)
		case <-timer.C:
		case <-ctx.Done():
			_, ended := ctxError(ctx)
			return p.refreshLeft(r, ended)
		}
	}
}

// beginRefresh gives every connection its turn.
func (p *Pool[T]) beginRefresh(over time.Duration) *refresh {
	p.lock()
	defer p.unlock()
	p.refreshed++
	r := &refresh{filler: *p.calls.newFiller(), generation: p.refreshed, left: p.taken() - p.in[hung]}
	if r.left == 0 || p.closed {
		return r
	}
	r.n = p.alive()
	p.addRefresh(r)
	began, gap, turn := p.now(), int64(over)/int64(r.left), int64(0)
	for i := 0; i < len(p.table.Load().slots); i++ {
		if !p.visits.visit() {
			p.yield()
		}
		if s := p.slot(i); s != nil && s.generation != 0 && s.generation < r.generation {
			turn++
			if at := began + gap*turn; s.refreshAt == 0 || at < s.refreshAt {
				s.refreshAt = at
			}
		}
	}
	p.turns = turns{}
	return r
}

// goOn takes the turns that are due. It returns after which time to come
// back, or 0 when the Refresh is over.
func (p *Pool[T]) goOn(r *refresh) (next time.Duration, err error) {
	p.lock()
	defer p.unlock()
	if p.closed {
		return 0, &refreshError{p.name, r.left, ErrClosed, nil}
	}
	at := p.takeTurns()
	p.settle()
	if r.left == 0 {
		return 0, nil
	}
	return time.Duration(at-p.now()) + 1, nil
}

// turns is how far the turns have been taken. Under the lock.
type turns struct {
	next int  // slot
	left bool // some before it, whose turn had come, could not be replaced then
}

// takeTurns closes idle connections whose turn to be replaced has come, and
// sees to it that others are when they come back. It returns when the next
// turn is, or a while from now. It yields the lock between slices.
//
// It goes on where it stopped: at the first connection that may not be replaced
// yet, or whose turn has not come. So a wake for one connection that was
// replaced does not cost a walk.
func (p *Pool[T]) takeTurns() (next int64) {
	next = p.now() + int64(longestLook)
	for again := true; len(p.refreshes) > 0; {
		if !p.visits.visit() {
			p.yield()
		}
		t := &p.turns
		s := p.slot(t.next)
		if s == nil {
			if !t.left || !again {
				return next
			}
			*t, again = turns{}, false
			continue
		}
		switch w := s.word.load(); {
		case s.refreshAt == 0:
		case s.refreshAt > p.now():
			next = min(next, s.refreshAt)
			if len(p.refreshes) == 1 {
				return next // the turns of one Refresh are in the slots' order
			}
			t.left = true
		case w.state() == held:
			p.move(&s.cell, w, w.with(watched)) // model: watch
		case w.unused():
			if !p.mayReplace() {
				return next
			}
			if !p.takeOut(s, w) {
				continue // a Pop was faster
			}
			p.close(s, ReasonRefresh, nil)
		}
		t.next++
	}
	return next
}

// refreshLeft ends the waiting for a Refresh.
func (p *Pool[T]) refreshLeft(r *refresh, err error) error {
	p.lock()
	defer p.unlock()
	if r.left == 0 {
		return nil // at the same instant
	}
	return &refreshError{p.name, r.left, err, p.openErrNow()}
}

// refreshError says how far a Refresh came.
type refreshError struct {
	pool    string
	left    int
	err     error
	openErr error // the latest failure of Open while the server is down
}

// Error is where the text of a user's error is asked for: under the lock, its
// methods could not use the pool.
func (e *refreshError) Error() string {
	text := fmt.Sprintf("pools: refresh %q: %d old connections left: %v", e.pool, e.left, e.err)
	if e.left < 0 {
		text = fmt.Sprintf("pools: refresh %q: not begun: %v", e.pool, e.err)
	}
	if e.openErr != nil {
		text += fmt.Sprintf(": open: %v", e.openErr)
	}
	return text
}
func (e *refreshError) Unwrap() error { return e.err }
