package pools

import (
	"context"
	"fmt"
	"time"
)

// A Refresh replaces connections. It gives each one its turn and counts those of
// older generations that are left. It belongs to the pool: its caller only
// waits.

// Refresh replaces every connection that is open or being opened, for new
// credentials, new certificates, or other servers behind the same name. The
// replacements are spread over the time over; 0: as fast as new connections can
// be opened. When its turn comes, an idle connection closes; one in use closes
// when it is returned. New ones are opened in their place, with slow start. Opens
// that are running are given up at once: their ctx ends, what they return is
// closed, and waiters get new opens.
//
// Until the first new connection was opened, Refresh closes none, or one if
// there is no room for another. If the server refuses one it may be full: then
// Refresh closes one too, but not the last. After that, at most half of the
// connections are missing at any time, and while the server refuses new ones, at
// most one. So while the server refuses, the old ones stay, but for one. After a
// [Permanent] error all stay. (A paused pool opens nothing; there Refresh closes
// all old ones.) If the server is down, Refresh makes a try due at once.
//
// Refresh returns nil when no old connection is left; the last new ones may still
// be opening. If ctx ends or the pool is closed first, it returns an error that
// says how many are left. After the end of ctx the replacing continues in the
// background. A holder of a connection that calls Refresh waits for itself: give
// ctx a deadline.
func (p *Pool[T]) Refresh(ctx context.Context, over time.Duration) error {
	if !p.gate.has(gateMade) {
		return errZeroPool
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
		next, over, err := p.goOn(r)
		if over {
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
	var old *scope
	defer func() { old.cancel() }() // after the unlock, even if an Observer panics
	p.lock()
	defer p.unlock()
	p.refreshed++
	r := &refresh{filler: *p.calls.newFiller(), generation: p.refreshed, left: p.taken() - p.in[hung]}
	if p.closed { // Close has cancelled the opens
		return r
	}
	old = p.calls.giveUp(ReasonRefresh)
	p.pace.doubt(p.now()) // what has failed before may succeed now
	p.happen(Event{Kind: EventRefresh, Count: r.left}, nil, nil)
	if r.left == 0 {
		p.settle() // there may be a try to begin
		return r
	}
	p.addRefresh(r, p.alive(), p.in[opening])
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

// goOn takes the turns that are due. It returns when to call it again, and whether
// the Refresh is over.
func (p *Pool[T]) goOn(r *refresh) (next time.Duration, over bool, err error) {
	p.lock()
	defer p.unlock()
	if p.closed {
		return 0, true, &refreshError{p.name, r.left, ErrClosed, nil}
	}
	at := p.takeTurns()
	p.settle()
	return max(time.Duration(at-p.now()), 0) + 1, r.left == 0, nil
}

// turns is how far the turns have been taken. Under the lock.
type turns struct {
	next int  // the slot to go on with
	left bool // some before it are left for another round
}

// takeTurns closes idle connections whose turn has come, and marks held ones to
// be closed when they are returned. It returns when the next turn is due, or a
// while from now. It yields the lock between slices.
//
// It continues where it stopped: at the first connection that may not be
// replaced yet, or whose turn has not come. So a wake for one connection that
// was replaced does not cost a walk.
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
			if !p.move(&s.cell, w, w.with(watched)) { // model: watch
				continue // its Push was faster
			}
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

// refreshLeft is the error of a Refresh whose ctx has ended, or nil if it has
// just finished.
func (p *Pool[T]) refreshLeft(r *refresh, err error) error {
	p.lock()
	defer p.unlock()
	if r.left == 0 {
		return nil // at the same instant
	}
	return &refreshError{p.name, r.left, err, p.opens.errWhile(p.pace.down())}
}

// refreshError says how far a Refresh got.
type refreshError struct {
	pool    string
	left    int
	err     error
	openErr error // the latest failure of Open while the server is down
}

// Error formats the errors here, and not when the refreshError is made under the
// lock: the methods of a user's error may use the pool.
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
