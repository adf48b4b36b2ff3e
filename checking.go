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
	forWaiters   int   // checks under way that waiters wait for
	byKeeper     int   // checks under way that are the keeper's
	failingSince int64 // since when checks for waiters have failed and some are suspected; 0: they have not
	provedAt     int64 // when a check last succeeded
}

// alwaysChecks reports whether each connection is checked before it is lent.
func (p *Pool[T]) alwaysChecks() bool {
	return p.settings.CheckAfter == Always && p.connector.Check != nil
}

// tendCheck does what is due of checks for a connection that is not lent. It
// reports whether it has begun one; may says whether it may.
//
// A connection that has been idle for CheckAfter becomes stale: the fast path
// does not match it then, and the next one who wants it has it checked.
func (p *Pool[T]) tendCheck(s *slot[T], word uint64, due func(int64) bool, may bool) bool {
	if p.connector.Check == nil {
		return false
	}
	known := max(s.seenAt, s.checkedAt)
	every, after := p.settings.KeepAlive, p.settings.CheckAfter
	if (s.suspected || every > 0 && due(known+int64(every))) && may && p.takeOut(s, word) {
		p.check(s, false)
		return true
	}
	if after == Always || after > 0 && due(known+int64(after)) {
		p.stale(s, word)
	}
	return false
}

// stale has an idle connection checked before it is lent. It reports whether
// it is stale now.
func (p *Pool[T]) stale(s *slot[T], word uint64) bool {
	if word&stateMask == idle && s.word.CompareAndSwap(word, with(word, stale)) {
		p.stales++
		return true
	}
	return word&stateMask == stale
}

// makeStale does so with all, when CheckAfter has become Always.
func (p *Pool[T]) makeStale() {
	for _, s := range p.table.Load().slots {
		p.stale(s, s.word.Load())
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
	if p.suspects == 0 && p.forWaiters == 0 {
		p.failingSince = 0 // what failed before is over: nobody has waited for these yet
	}
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		if !s.suspected && (all || s.sinceSeen(word)) && p.stale(s, word) {
			s.suspected = true
			p.suspects++
		}
	}
}

// checksSpent reports whether the time budget for checks is.
func (p *Pool[T]) checksSpent() bool {
	return p.failingSince != 0 && p.now()-p.failingSince >= int64(p.settings.CheckTimeout)
}

// startChecks has stale connections checked, one for each waiter that
// nothing else under way will serve.
func (p *Pool[T]) startChecks() {
	if p.stales == 0 || p.queue.len == 0 {
		return
	}
	spent := p.checksSpent()
	for _, s := range p.table.Load().slots {
		// A Reset, or the keeper's check, may hang beside one that would be
		// found alive at once: only checks for waiters help waiters.
		if p.stales == 0 || p.queue.len <= p.forWaiters {
			return
		}
		word := s.word.Load()
		if word&stateMask != stale {
			continue
		}
		if !spent || !s.suspected {
			p.takeOut(s, word)
			p.check(s, true)
			continue
		}
		// Its slot is worth more than the connection: for a waiter that no
		// close, open or vacant slot will help. But while the server is down
		// it is better than nothing, and the keeper checks it.
		helped := p.forWaiters + p.opening + p.gone - p.hung
		if !p.down() && p.taken >= p.settings.Size && p.queue.len > helped {
			p.takeOut(s, word)
			p.close(s, ReasonCheck, errSuspected)
		}
	}
}

// check checks the connection of a slot that the pool owns.
func (p *Pool[T]) check(s *slot[T], forWaiter bool) {
	timeout := p.settings.CheckTimeout
	if forWaiter {
		p.forWaiters++
		if s.suspected && p.failingSince != 0 {
			// What is left of the budget, or enough for a server that answers.
			timeout = max(timeout-time.Duration(p.now()-p.failingSince), timeout/10, 1)
		}
	} else {
		p.byKeeper++
	}
	s.word.Store(with(s.word.Load(), checking))
	s.suspected = false
	p.try(s, "Check", ReasonCheck, timeout, p.connector.Check, func(c *call, err error) {
		s.checkedAt = p.now()
		if forWaiter {
			p.forWaiters--
		} else {
			p.byKeeper--
		}
		if err == nil {
			p.failingSince, p.provedAt = 0, p.now()
			return
		}
		p.suspect(true)
		if forWaiter && p.failingSince == 0 && p.suspects > 0 {
			p.failingSince = max(c.since, p.provedAt)
		}
	})
}

// reset makes a returned connection clean.
func (p *Pool[T]) reset(s *slot[T]) {
	s.word.Store(with(s.word.Load(), resetting))
	p.try(s, "Reset", ReasonReset, p.settings.ResetTimeout, p.connector.Reset, func(c *call, err error) {
		if err == nil {
			p.typicalReset = max(time.Duration(p.now()-c.since), 1)
		}
	})
}

var errSuspected = errors.New("another one failed its check, and there was no time left for this one's")

// try calls Check or Reset for a connection, which is about to be idle then:
// it is released when the call succeeds and closed when it does not.
// Before that, ended sees how it went.
func (p *Pool[T]) try(s *slot[T], name string, why Reason, timeout time.Duration, fn func(context.Context, T) error, ended func(*call, error)) {
	p.aboutIdle++
	conn := s.conn
	p.run(name, context.Background(), timeout, func(ctx context.Context) error {
		return fn(ctx, conn.resource)
	}, func(c *call, err error) {
		p.aboutIdle--
		ended(c, err)
		switch {
		case err == nil:
			p.release(s)
		case c.abandoned:
			// Its Close may not run beside the call that hangs; late does it.
			p.vacate(s, c)
		default:
			p.close(s, why, err)
		}
	}, func(c *call, err error) {
		p.closeLate(s, conn, c.keepsSlot)
	})
}
