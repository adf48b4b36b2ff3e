package pools

// Handing out: whatever may give a waiter something ends in settle or handBack,
// under the lock. settle gives idle connections to the waiters that pick names and
// starts checks and opens for the others. handBack gives away one slot that the
// pool owns.

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
		p.handOut()
	}
	p.gate.set(gateQueueing, p.queue.len > 0)
	p.queue.calm(&p.gate, p.now)
	p.provide()
	if p.visits.spent() && p.queue.len > 0 {
		if p.queue.overdue(p.now()) {
			p.gate.set(gateStarving, true) // no newcomer comes between two slices
		}
		p.again()
	}
}

// handOut gives idle connections to waiters.
func (p *Pool[T]) handOut() {
	for p.queue.len > 0 && !p.gate.has(gatePaused|gateSweeping) && !p.visits.spent() {
		h, lease := p.takeUnused(true)
		if h == nil {
			return
		}
		w := p.pick()
		if w == nil { // the ctx of each has ended
			p.passedUp++
			p.put(&h.slot.cell, idle)
			h.slot.hint()
			return
		}
		p.grant(w, h, lease)
	}
}

// pick returns the waiter to serve next, or nil if none waits. Call it only with
// something to hand out. The racer is not picked; it is awake.
func (p *Pool[T]) pick() *waiter[T] { // model: pick
	return p.queue.pick(p.racer, func(w *waiter[T]) verdict {
		switch {
		case w.ended() && p.visits.visit():
			p.endWait(w) // it will wake by its own ctx
			return gone
		case w.deadline == 0 && p.delays.excessive(w.since, p.settings.MaxQueueDelay, p.now()) && p.visits.visit():
			p.refuse(w, errStanding)
			return gone
		case w.deadline == 0 || w.deadline-p.now() >= p.need.least:
			return serve
		}
		p.visits.visit()
		return passOver
	})
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
// them with the latest error if the server is down and nothing else could serve
// them.
func (p *Pool[T]) provide() {
	if !p.paused {
		if p.pace.down() && !p.hope() {
			if w := p.queue.last; w != nil {
				p.pace.ask(w.since)
			}
			p.refuseAll(ErrOpenFailed)
		}
		p.startChecks()
		if !p.gate.has(gateSweeping) { // soon there may be connections that need only a check
			p.startOpens()
		}
	}
	p.arm()
}

// hope reports whether a waiter may be served while the server is down: a
// connection is open, an open other than the prober's is running, or the waiter
// may wait for the prober.
func (p *Pool[T]) hope() bool {
	opens, open := p.in[opening], p.alive()
	if p.probing {
		opens--
	}
	if p.checks.spent(p.now(), p.settings.CheckTimeout) {
		open -= p.in[suspected]
	}
	if opens > 0 || open > 0 {
		return true
	}
	room := p.in[hung] < p.settings.Size // else there is no slot for a try
	return room && p.pace.hopes(p.now(), p.settings.WaitWhileDown)
}

// handBack gives away a slot that the pool owns (after a successful open, reset
// or check, a cancelled grant, or a slow push): to the waiter that pick names, or
// else it makes it idle for anybody. It reports whether a waiter got it.
func (p *Pool[T]) handBack(s *slot[T]) bool { // model: give_back, hand_on
	if why := p.mustLeave(s); why != "" {
		p.close(s, why, nil)
		return false
	}
	if !p.paused {
		if to := p.pick(); to != nil {
			h, lease := s.takeOwned(&p.census)
			p.grant(to, h, lease)
			return true
		}
	}
	if p.settings.alwaysChecks() {
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
		if t != notDue && (due == 0 || t < due) {
			due = max(t, 1)
		}
	}
	w := p.queue.first
	if w != nil && w == p.racer {
		w = w.next // a racer that comes back arms the alarm for itself
	}
	if limit := p.settings.WaitTimeout; w != nil && limit != Never {
		at(max(w.since+int64(limit), p.refusesFrom))
	}
	if !p.paused {
		room := p.taken() < p.settings.Size && !p.pace.down()
		if w != nil && room {
			at(p.pace.waitsUntil(w.since))
		}
		if next := p.pace.nextTry; room && next > p.now() && p.in[opening] < p.pace.window && p.wanted() > 0 {
			at(next)
		}
		if p.pace.down() {
			until := p.pace.patientUntil(p.settings.WaitWhileDown)
			if w != nil && until > p.now() {
				at(until)
			}
			if p.taken() < p.settings.Size && !p.probing && !p.gate.has(gateSweeping) {
				at(p.pace.probeDue(p.queue.len > 0 || p.inFill(), p.demand.wanted(p.aliveSoon()) > 0))
			}
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

// again has the alarm do the next slice of bulk work at once.
func (p *Pool[T]) again() { p.alarm.by(p.now(), p.now()) } // model: again
