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
	r := &refresh{filler: *p.newFiller(), generation: p.refreshed}
	slots := p.table.Load().slots
	for _, s := range slots {
		if s.generation != 0 {
			r.left++
		}
	}
	turn := 0
	for _, s := range slots {
		if s.generation != 0 {
			turn++
			at := p.now() + int64(over)/int64(r.left)*int64(turn)
			if s.refreshAt == 0 || at < s.refreshAt {
				s.refreshAt = at
			}
		}
	}
	if r.left > 0 && !p.closed {
		r.n = p.alive()
		p.addRefresh(r)
	}
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

// takeTurns closes idle connections whose turn to be replaced has come, and
// sees to it that others are when they come back. It returns when the next
// turn is, or a while from now.
func (p *Pool[T]) takeTurns() (next int64) {
	now := p.now()
	next = now + int64(longestLook)
	if len(p.refreshes) == 0 {
		return next
	}
	for _, s := range p.table.Load().slots {
		w := s.word.load()
		switch {
		case s.refreshAt == 0:
		case s.refreshAt > now:
			next = min(next, s.refreshAt)
		case w.state() == held:
			p.move(&s.cell, w, w.with(watched)) // model: watch
		case w.unused() && p.mayReplace() && p.takeOut(s, w):
			p.close(s, ReasonRefresh, nil)
		}
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
