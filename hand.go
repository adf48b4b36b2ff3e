package pools

// Handing out: whatever may give a waiter something ends in settle or handBack,
// under the lock. settle gives idle connections to the oldest waiters and starts
// checks and opens for the others. handBack gives away one slot that the pool
// owns.

// settle hands out what there is. Whatever may leave more for the waiters than
// before calls it.
func (p *Pool[T]) settle() { // model: settle
	if p.closed {
		p.settleClosed()
		return
	}
	p.shed()
	p.sweepOn()
	if p.racer == nil {
		p.gate.set(gateRacing, false)
		for w := p.oldest(nil); w != nil && !p.gate.has(gatePaused|gateSweeping); w = p.oldest(nil) {
			h, lease := p.takeIdle(&p.visits)
			if h == nil {
				break
			}
			p.grant(w, h, lease)
		}
	}
	p.gate.set(gateQueueing, p.queue.len > 0)
	p.calmQueue()
	p.provide()
	if p.visits.spent() && p.queue.len > 0 {
		if p.overdue(p.queue.first) {
			p.gate.set(gateStarving, true) // no newcomer comes between two slices
		}
		p.again()
	}
}

// settleClosed is settle for a closed pool: nobody waits and nothing stays
// open.
func (p *Pool[T]) settleClosed() {
	p.gate.set(gateRacing, p.racer != nil)
	p.refuseAll(ErrClosed)
	for s := p.takeOutUnused(); s != nil; s = p.takeOutUnused() {
		p.close(s, ReasonClose, nil)
	}
	p.checkEnd()
}

// provide starts what the waiters need: checks, opens, and the alarm. It refuses
// them if nothing can help.
func (p *Pool[T]) provide() {
	if !p.paused {
		p.failHopeless()
		p.startChecks()
		if !p.gate.has(gateSweeping) { // soon there may be connections that need only a check
			p.startOpens()
		}
	}
	p.arm()
}

// failHopeless refuses all waiters with the latest error if the server is down
// and nothing else could serve them.
func (p *Pool[T]) failHopeless() {
	if p.pace.down() && !p.hope() {
		p.refuseAll(ErrOpenFailed)
	}
}

// hope reports whether a waiter may be served while the server is down: a
// connection is open, an open other than the prober's is running, or it is in
// doubt whether the server is still down.
func (p *Pool[T]) hope() bool {
	opens, open := p.in[opening], p.alive()
	if p.probing {
		opens--
	}
	if p.checks.spent(p.now(), p.settings.CheckTimeout) {
		open -= p.in[suspected]
	}
	return opens > 0 || open > 0 || p.pace.doubtful
}

// calmQueue ends strict order when the oldest waiter is young.
func (p *Pool[T]) calmQueue() {
	if p.gate.has(gateStarving) && (p.queue.len == 0 || !p.overdue(p.queue.first)) {
		p.gate.set(gateStarving, false)
	}
}

// handBack gives away a slot that the pool owns (after a successful open, reset
// or check, a cancelled grant, or a slow push): to the oldest waiter, or else it
// makes it idle for anybody. It reports whether a waiter got it.
func (p *Pool[T]) handBack(s *slot[T]) bool { // model: give_back, hand_on
	w := s.word.load()
	if why := p.mustLeave(s); why != 0 {
		p.close(s, why, nil)
		return false
	}
	if to := p.oldest(p.racer); to != nil && !p.paused {
		lease := (w + oneLease).with(held)
		p.move(&s.cell, w, lease)
		p.grant(to, s.handle.Load(), lease)
		return true
	}
	if p.alwaysChecks() {
		p.put(&s.cell, stale)
		return false
	}
	p.put(&s.cell, idle)
	s.hint()
	return false
}

// grant gives a waiter a connection, whose slot is already held for it.
func (p *Pool[T]) grant(w *waiter[T], h *handle[T], lease word) {
	p.endWait(w)
	w.handle, w.lease = h, lease
	p.spares.put(w)
	p.told.add(w)
}

// refuse ends a wait with an error. It must not be the racer's: the racer is
// awake, and finds out by itself when it comes back.
func (p *Pool[T]) refuse(w *waiter[T], reason error) {
	p.endWait(w)
	p.waitFailed(reason)
	w.err = p.failure(w.since, reason)
	p.spares.put(w)
	p.told.add(w)
}

// refuseAll ends every wait but the racer's.
func (p *Pool[T]) refuseAll(reason error) {
	for w := p.oldest(p.racer); w != nil; w = p.oldest(p.racer) {
		if !p.visits.visit() {
			p.again()
			return
		}
		p.refuse(w, reason)
	}
}

// oldest returns the oldest waiter that is not skip and whose ctx has not ended.
// Waiters whose ctx has ended are removed on the way, so each is met once. Once
// the visits of this holding of the lock are spent, contexts are not looked at:
// if one has ended, its Pop passes on what it is given.
func (p *Pool[T]) oldest(skip *waiter[T]) *waiter[T] {
	for w := p.queue.first; w != nil; {
		next := w.next
		if w != skip && w != p.racer && w.ended() && p.visits.visit() {
			p.endWait(w) // it will wake by its own ctx
		} else if w != skip {
			return w
		}
		w = next
	}
	return nil
}

// overdue reports whether a waiter has waited for too long to be overtaken.
func (p *Pool[T]) overdue(w *waiter[T]) bool { return p.now()-w.since >= patience }

// endWait removes w from the queue, and counts its wait. An empty queue starves
// nobody.
func (p *Pool[T]) endWait(w *waiter[T]) {
	p.queue.remove(w)
	if p.queue.len == 0 {
		p.gate.set(gateQueueing|gateStarving, false)
	}
	p.waitTimes.add(p.now()-w.since, 1)
}

// arm sets the alarm for what is due next: the oldest waiter's WaitTimeout, a
// wider window, the next open that the rate allows, the prober.
func (p *Pool[T]) arm() {
	due := int64(0)
	at := func(t int64) {
		if due == 0 || t < due {
			due = max(t, 1)
		}
	}
	w := p.queue.first
	if w != nil && w == p.racer {
		w = w.next // a racer that comes back arms the alarm for itself
	}
	if limit := p.settings.WaitTimeout; w != nil && limit != Never {
		at(w.since + int64(limit))
	}
	if !p.paused {
		room := p.taken() < p.settings.Size && !p.pace.down()
		if w != nil && room {
			at(p.pace.waitsUntil(w.since))
		}
		if next := p.pace.nextTry; room && next > p.now() && p.in[opening] < p.pace.window && p.wanted() > 0 {
			at(next)
		}
		if p.pace.down() && !p.probing {
			at(p.pace.probeDue())
		}
	}
	if due != 0 {
		p.alarm.by(due, p.now())
	}
}

// lookNoLaterThan has the keeper look at t, but not more often than a hundredth
// of its usual interval.
func (p *Pool[T]) lookNoLaterThan(t int64) {
	if p.closed && p.ending.over {
		return
	}
	if p.looking {
		if p.asked == 0 || t < p.asked {
			p.asked = t
		}
		return
	}
	soon := p.now() + int64(max(p.every/100, shortestLook))
	p.keeper.by(max(t, soon), p.now())
}

// openErrNow returns the latest error of an open if the server is down.
func (p *Pool[T]) openErrNow() error {
	if p.pace.down() {
		return p.openErr
	}
	return nil
}

// again has the alarm do the next slice of bulk work at once.
func (p *Pool[T]) again() { p.alarm.by(p.now(), p.now()) } // model: again
