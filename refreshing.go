package pools

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Refresh replaces connections. It gives each its turn, counts those of an
// older generation that are left, and belongs to the pool: whoever called it
// only waits.

// refreshing is the part of the pool that Refreshes own.
type refreshing struct {
	refreshes []*refresh // with old connections left, whether somebody waits for it or not
	lackFresh int        // new connections that the last Refresh did not live to see begun
	refreshed uint64     // Refreshes so far, and one
}

// refresh is a Refresh that is not over: old connections are left.
type refresh struct {
	filler            // wants as many connections open as there were
	generation uint64 // connections of an older one are to go
	left       int    // so many are still there
	proved     bool   // a new one could be opened
}

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
	if p.gate.Load()&made == 0 {
		return ErrZero
	}
	if over < 0 || over > longest {
		return fieldError("Refresh", "over is %v; give a duration from 0 to %v", over, longest)
	}
	if ctx.Err() != nil {
		return &refreshError{p.name, -1, ctxError(ctx), nil}
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
			return p.refreshLeft(r, ctxError(ctx))
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
	old := func(s *slot[T]) bool { return s.generation != 0 }
	for _, s := range slots {
		if old(s) {
			r.left++
		}
	}
	turn := 0
	for _, s := range slots {
		if old(s) {
			turn++
			at := p.now() + int64(over)/int64(r.left)*int64(turn)
			if s.refreshAt == 0 || at < s.refreshAt {
				s.refreshAt = at
			}
		}
	}
	if r.left > 0 && !p.closed {
		r.n = p.openNow()
		p.refreshes = append(p.refreshes, r)
		p.fills = append(p.fills, &r.filler)
		p.countFilling()
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
		word := s.word.Load()
		switch {
		case s.refreshAt == 0:
		case s.refreshAt > now:
			next = min(next, s.refreshAt)
		case word&stateMask == held:
			s.word.CompareAndSwap(word, with(word, watched)) // model: watch
		case unused(word) && p.mayRefresh() && p.takeOut(s, word):
			p.close(s, ReasonRefresh, nil)
		}
	}
	return next
}

// mayRefresh reports whether a connection may go because of a Refresh.
func (p *Pool[T]) mayRefresh() bool {
	if p.paused || len(p.refreshes) == 0 {
		return p.paused
	}
	want := min(p.filling, p.settings.Size-p.hung)
	open := p.openNow()
	switch {
	case p.down():
		return false
	case p.refreshes[len(p.refreshes)-1].proved:
		return open > want-max(want/2, 1)
	}
	return open >= want && p.taken >= p.settings.Size
}

// prove notes that an open that began after the latest Refresh has succeeded.
func (p *Pool[T]) prove(generation uint64) {
	for _, r := range p.refreshes {
		if generation >= r.generation && !r.proved {
			r.proved = true
			p.countFilling()
		}
	}
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

// replaced tells the Refreshes that a connection of that generation is gone.
func (p *Pool[T]) replaced(generation uint64) {
	for _, r := range slices.Clone(p.refreshes) {
		if generation >= r.generation {
			continue
		}
		r.left--
		r.tell(nil)
		if r.left == 0 {
			// What is missing now is still opened, but nobody insists on it.
			p.lackFresh = max(min(r.n, p.settings.Size)-(p.taken-p.gone), 0)
			p.refreshes = remove(p.refreshes, r)
			p.endFill(&r.filler)
		}
	}
}

// wantFewer lets the Refreshes want a connection less: this one was not
// replaced but not needed any more.
func (p *Pool[T]) wantFewer() {
	for _, r := range p.refreshes {
		r.n = max(r.n-1, 0)
	}
	p.countFilling()
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
