package pools

import (
	"context"
	"errors"
	"time"
)

// Check and Reset run in the background. A connection that is being checked
// or reset counts as about to be idle, so that one sequential user opens one
// connection; when the call fails or hangs, the connection goes.
//
// A check is made when a waiter needs a stale connection (idle for
// CheckAfter, or suspected), and by the keeper: after KeepAlive, and for those
// that are suspected. All checks for waiters have one time budget: once they
// have failed for CheckTimeout, what is suspected is not checked for waiters
// any more but closed when they need its slot. So fifty dead connections cost
// a Pop one CheckTimeout, one close and one open.

// checks is the part of the pool that checks own.
type checks struct {
	stales       int   // slots in state stale
	suspects     int   // of these, how many are suspected
	failingSince int64 // when the first of the checks began that have failed since one succeeded; 0: none
}

// alwaysChecks reports whether each connection is checked before it is lent.
func (p *Pool[T]) alwaysChecks() bool {
	return p.settings.CheckAfter == Always && p.connector.Check != nil
}

// checkIsDue marks a connection that has been idle for CheckAfter: the fast
// path does not match it then, and the next one who wants it has it checked.
// It reports whether the connection should be checked now.
func (p *Pool[T]) checkIsDue(s *slot[T], due func(int64) bool) bool {
	if p.connector.Check == nil {
		return false
	}
	known := max(s.seenAt, s.checkedAt)
	if after := p.settings.CheckAfter; after > 0 && due(known+int64(after)) {
		p.makeStale(s)
	}
	every := p.settings.KeepAlive
	return s.suspected || every > 0 && due(known+int64(every))
}

// makeStale has an idle connection checked before it is lent.
func (p *Pool[T]) makeStale(s *slot[T]) {
	if word := s.word.Load(); word&stateMask == idle && s.word.CompareAndSwap(word, with(word, stale)) {
		p.stales++
	}
}

// suspect has idle connections checked before they are lent, since another
// one broke: all of them, or, when that may have been the fault of its user
// (a timeout, a cancellation), those that were idle at the keeper's last look
// already. Those in use prove themselves.
func (p *Pool[T]) suspect(all bool) {
	if p.connector.Check == nil || p.settings.CheckAfter == Never {
		return
	}
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		switch state := word & stateMask; {
		case s.suspected || !all && (leases(word) != leases(s.seen) || out(s.seen)):
		case state == stale:
			s.suspected = true
			p.suspects++
		case state == idle && s.word.CompareAndSwap(word, with(word, stale)):
			s.suspected = true
			p.stales++
			p.suspects++
		}
	}
}

// doubtful reports whether the time budget for checks is spent.
func (p *Pool[T]) doubtful() bool {
	return p.suspects > 0 && p.failingSince != 0 && p.now()-p.failingSince >= int64(p.settings.CheckTimeout)
}

// startChecks has stale connections checked, one for each waiter that
// nothing else under way will serve.
func (p *Pool[T]) startChecks() {
	if p.stales == 0 || p.queue.len == 0 {
		return
	}
	doubtful := p.doubtful()
	for _, s := range p.table.Load().slots {
		if p.stales == 0 || p.queue.len <= p.aboutIdle {
			return
		}
		word := s.word.Load()
		if word&stateMask != stale {
			continue
		}
		if !doubtful || !s.suspected {
			p.takeOut(s, word)
			p.check(s)
			continue
		}
		// Its slot is worth more than the connection: for a waiter that no
		// close, open or vacant slot will help. But while the server is down
		// it is better than nothing, and the keeper checks it.
		helped := p.aboutIdle + p.opening + p.gone - p.hung
		if !p.down() && p.taken >= p.settings.Size && p.queue.len > helped {
			p.takeOut(s, word)
			p.closedAs("Check", errSuspected)
			p.close(s)
		}
	}
}

// check checks the connection of a slot that the pool owns.
func (p *Pool[T]) check(s *slot[T]) {
	s.word.Store(with(s.word.Load(), checking))
	s.suspected = false
	p.try(s, "Check", p.settings.CheckTimeout, p.connector.Check)
}

// reset makes a returned connection clean.
func (p *Pool[T]) reset(s *slot[T]) {
	s.word.Store(with(s.word.Load(), resetting))
	p.try(s, "Reset", p.settings.ResetTimeout, p.connector.Reset)
}

var errSuspected = errors.New("another one failed its check, and there was no time left for this one's")

// try calls Check or Reset for a connection, which is about to be idle then:
// it is released when the call succeeds and closed when it does not.
func (p *Pool[T]) try(s *slot[T], name string, timeout time.Duration, fn func(context.Context, T) error) {
	p.aboutIdle++
	resource := s.conn.resource
	p.run(name, context.Background(), timeout, func(ctx context.Context) error {
		return fn(ctx, resource)
	}, func(c *call, err error) {
		p.aboutIdle--
		if name == "Check" {
			s.checkedAt = p.now()
			p.checked(c, err)
		}
		switch {
		case err == nil:
			p.release(s)
		case c.abandoned:
			// Its Close may not run beside the call that hangs; late does it.
			p.closedAs(name, err)
			p.vacate(s, c)
		default:
			p.closedAs(name, err)
			p.close(s)
		}
	}, func(c *call, err error) {
		p.closeLate(s, resource, c.keepsSlot)
	})
}

// checked draws the conclusions from a check.
func (p *Pool[T]) checked(c *call, err error) {
	if err == nil {
		p.failingSince = 0
		return
	}
	if p.failingSince == 0 {
		p.failingSince = c.since
	}
	p.suspect(true)
}
