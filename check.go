package pools

import (
	"context"
	"errors"
	"time"
)

// A connection is checked when a waiter needs one that is stale (idle for
// CheckAfter, or suspected), and by the keeper, after KeepAlive or if it is
// suspected. All checks for waiters share one time budget: once they have failed
// for CheckTimeout, suspected connections are no longer checked for waiters, but
// closed when a waiter needs their slot. So fifty dead connections cost a Pop
// one CheckTimeout, one close and one open.

// checks are the pool's numbers about checks. Under the lock. Only this file
// writes its fields.
type checks struct {
	forWaiters   int   // running checks that waiters wait for
	byKeeper     int   // running checks that the keeper began
	failingSince int64 // since when checks for waiters have failed, while some are suspected; 0: they have not
	provedAt     int64 // when a check last succeeded
}

// checkJob checks a connection.
type checkJob[T any] struct {
	upkeep[T]
	forWaiter bool
}

// check checks the connection of a slot that the pool owns. wasSuspected says
// whether another connection has failed since it was used.
func (p *Pool[T]) check(s *slot[T], forWaiter, wasSuspected bool) {
	timeout := p.settings.CheckTimeout
	if forWaiter {
		p.forWaiters++
		if wasSuspected && p.failingSince != 0 {
			// What is left of the budget, but enough for a server that answers.
			timeout = max(timeout-time.Duration(p.now()-p.failingSince), timeout/10, 1)
		}
	} else {
		p.byKeeper++
	}
	p.put(&s.cell, checking)
	j := &checkJob[T]{upkeep[T]{p, s, s.conn, ReasonCheck}, forWaiter}
	p.start(callCheck, j, context.Background(), timeout)
}

func (j *checkJob[T]) call(ctx context.Context) error {
	return j.p.connector.Check(ctx, j.conn.resource)
}

func (j *checkJob[T]) done(c *call, err error) {
	p := j.p
	j.slot.checkedAt = p.now() + p.slept
	if j.forWaiter {
		p.forWaiters--
	} else {
		p.byKeeper--
	}
	if err == nil {
		p.failingSince, p.provedAt = 0, p.now()
	} else {
		p.suspectIdle(true)
		if j.forWaiter && p.failingSince == 0 && (p.in[suspected] > 0 || p.sweep.to == suspected) {
			p.failingSince = max(c.since, p.provedAt)
		}
	}
	j.over(c, err)
}

// suspectIdle has idle connections checked before they are lent, because another
// one broke: all of them, or, if that may have been the fault of its user (a
// timeout, a cancellation), those that were already idle at the keeper's last
// look. Connections in use need no check: their users find out.
func (p *Pool[T]) suspectIdle(all bool) {
	if p.connector.Check == nil || p.settings.CheckAfter == Never {
		return
	}
	if p.in[suspected] == 0 && p.forWaiters == 0 {
		p.failingSince = 0 // earlier failures are over: nobody has waited for these connections yet
	}
	p.sweepIdle(suspected, all)
}

// spent reports whether the time budget for checks is spent.
func (c *checks) spent(now int64, budget time.Duration) bool {
	return c.failingSince != 0 && now-c.failingSince >= int64(budget)
}

// startChecks has stale connections checked, one for each waiter that no check
// for a waiter will serve.
func (p *Pool[T]) startChecks() {
	if p.queue.len == 0 || p.in[stale]+p.in[suspected] == 0 {
		return
	}
	spent := p.checks.spent(p.now(), p.settings.CheckTimeout)
	slots, slept := p.table.Load().slots, p.asleep()
	// Only checks for waiters count: a Reset, or a check of the keeper's, may hang
	// beside a connection that would be found alive at once.
	for p.queue.len > p.forWaiters {
		i := p.stales.first()
		if j := p.suspects.first(); !spent && j >= 0 && (i < 0 || j < i) {
			i = j
		}
		if i < 0 {
			break
		}
		if !p.visits.visit() {
			p.again()
			return
		}
		s := slots[i]
		w := s.word.load()
		p.takeOut(s, w)
		if why := s.over(w, p.now(), slept, &p.settings, false); why != "" {
			p.close(s, why, nil) // a check would prove nothing
			continue
		}
		p.check(s, true, w.state() == suspected)
	}
	// Once the budget is spent, the slot of a suspected connection is worth more
	// than the connection to a waiter that no check, open, close or vacant slot
	// will serve. But while the server is down the connection is better than
	// nothing, and the keeper checks it.
	for spent && !p.pace.down() && p.taken() >= p.settings.Size && p.queue.len > p.forWaiters+p.in[opening]+p.in[closing] {
		i := p.suspects.first()
		if i < 0 {
			break
		}
		if !p.visits.visit() {
			p.again()
			return
		}
		p.takeOut(slots[i], slots[i].word.load())
		p.close(slots[i], ReasonCheck, errSuspected)
	}
}

// takeUnused takes a connection that is idle or rests, if one may be lent without
// a check. Of those that rest, some are due when the process stood still: they are
// closed on the way, or become stale. Nobody can Peek for a waiter, under the lock:
// for one that waits, those that rest become stale in any case. It returns nil if
// there is none, or if the visits of this holding of the lock are spent.
func (p *Pool[T]) takeUnused(waits bool) (*handle[T], word) {
	if h, lease := p.takeIdle(&p.visits); h != nil || p.in[resting] == 0 {
		p.gate.set(gateResting, p.in[resting] > 0)
		return h, lease
	}
	slept, now := p.asleep(), p.now()
	after, checks := p.settings.CheckAfter, p.connector.Check != nil
	instead := waits && checks && after != Never && p.connector.Peek != nil
	for i := p.rested.first(); i >= 0 && p.visits.visit(); i = p.rested.first() {
		s := p.slot(i)
		w := s.word.load()
		idle := p.isLate(now, p.every) && p.in[resting]+p.in[stale]+p.in[suspected] > p.settings.MinIdle && !p.inFill()
		switch why := s.over(w, now, slept, &p.settings, idle); {
		case why != "":
			p.takeOut(s, w)
			p.close(s, why, nil)
		case instead, checks && after > 0 && now >= s.knownAt(slept)+int64(after):
			p.move(&s.cell, w, w.with(stale))
		default:
			return s.takeOwned(&p.census) // model: take_rested
		}
	}
	return nil, 0
}

var errSuspected = errors.New("another one failed its check, and there was no time left for this one's")
