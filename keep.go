package pools

import (
	"runtime"
	"time"
)

// While anything is open the keeper looks at every slot now and then. If a slot
// is still lent, or still not lent, with the lease number of the last look, it
// has been so since then. So lifetimes, idle times, leaks and lost leases cost
// the hot path nothing: no Pop and no Push reads a clock.
//
// A connection that must close while it is held is marked watched: its push
// fails on the fast path, and the slow path closes it.
//
// Lost leases: when a connection has been lent for a second, it is marked
// watched and its slot lets go of the handle. From then on only leases refer to
// the handle; if the collector frees it, no lease is left, and nothing can push
// any more. The push of a watched lease gives the handle back to the slot.
const (
	longestLook  = time.Second // the longest time between two looks
	shortestLook = time.Millisecond
	looksWithin  = 4                  // looks within the shortest time that the keeper enforces
	letGoAfter   = int64(time.Second) // a slot lets go of its handle when it has been lent for so long
	calmEvery    = int64(time.Second)
	collectEvery = int64(time.Minute) // at most, for a program so blocked that no collection runs by itself
)

// keeping is what the keeper remembers from look to look. Under the lock.
type keeping struct {
	every       time.Duration // the longest time between two looks
	collectedAt int64
	calmedAt    int64
	idledAt     int64 // when the latest look began that closed some for IdleTimeout
	looking     bool
	asked       int64 // while it looks: when it should look again; 0: not asked
}

// lookEvery returns the time between two looks: a part of the shortest time that
// the keeper enforces. checks says whether the connector has a Check.
func (s *Settings) lookEvery(checks bool) time.Duration {
	shortest := looksWithin * longestLook
	kept := []time.Duration{s.MaxLifetime, s.IdleTimeout, s.LeakAfter}
	if checks {
		kept = append(kept, s.KeepAlive, s.CheckAfter)
	}
	for _, d := range kept {
		if d > 0 {
			shortest = min(shortest, d)
		}
	}
	return max(shortest/looksWithin, shortestLook)
}

// onKeeper is called by the keeper's timer: it looks, and sets the timer again.
func (p *Pool[T]) onKeeper() {
	p.lock()
	defer p.unlockOwn()
	p.keeper.fired()
	p.trim()
	taken := p.taken()
	if p.closed && (taken == 0 || p.settings.KeepLost) || taken == 0 && p.settings.MinIdle == 0 {
		if p.queue.len == 0 && !p.pace.down() && !p.closed && p.sweep.to == vacant && p.wanted() <= 0 {
			p.alarm.stop() // it was set for a waiter that is gone, and no work is left
		}
		return
	}
	next := p.now() + int64(p.every) // if an Observer ends this goroutine
	defer func() { p.lookNoLaterThan(next) }()
	l := p.look()
	if now := p.now(); now-p.calmedAt >= calmEvery {
		// A busy time has made samples rare and spread the searches.
		p.calmedAt = now
		p.sampling.more(now)
		p.search.calm()
	}
	p.settle()
	now := p.now()
	w := p.queue.first
	// A wait that ended in vain counts: those who wait may be less patient than a
	// second.
	vain := p.vain.forget()
	waited := p.closers > 0 || vain || w != nil && now-w.since >= letGoAfter
	if l.stuck && waited && (p.collectedAt == 0 || now-p.collectedAt >= collectEvery) {
		// Everything is lent, nothing moves, and somebody waits for a connection or
		// for Close. A blocked program allocates nothing, so no collection would
		// run by itself and find lost leases.
		p.collectedAt = now
		pauseCall("collect", lockedMaybe)
		go runtime.GC()
	}
	next = l.next
	if p.asked != 0 {
		next, p.asked = min(next, p.asked), 0
	}
}

// look is one look at every slot.
type look[T any] struct {
	p     *Pool[T]
	began int64
	now   int64
	next  int64 // when something will be due next
	late  bool  // the process stood still, or the machine was suspended
	stuck bool  // every slot has been lent for letGoAfter, or cannot serve anybody

	idles  int // connections that are unused
	expire int // how many of them may still be closed: at most half, so that some are left after a lull
	check  int // how many of them may still be checked

	eldest *eldest
}

// look does what is due for every slot. It yields the lock between slices.
func (p *Pool[T]) look() *look[T] {
	p.looking = true
	defer func() { p.looking = false }()
	now, opened := p.now(), p.opened
	p.asleep()
	l := &look[T]{p: p, began: now, now: now, late: p.isLate(now, p.every), next: min(now+int64(p.every), p.takeTurns()), stuck: true, eldest: &eldest{slot: -1}}
	if after := p.settings.CheckAfter; after > 0 && p.connector.Check != nil && l.late && p.unlooked(now) >= after {
		p.sweepIdle(stale, true) // whatever has been used a moment ago was idle all the time before
	}
	mayOpen := p.taken() < p.settings.Size && !p.pace.down() && !p.paused && !p.closed
	last := -1
	for s := l.slot(0); s != nil; s = l.slot(last + 1) {
		l.see(s, mayOpen)
		last++
	}
	p.eldest.Store(l.eldest)
	l.expire, l.check = (l.idles+1)/2, (l.idles+1)/2
	if l.late {
		l.expire = l.idles // they have been due for long
	}
	for ; last >= 0; last-- { // from the last one down: the first ones are used most
		s := l.slot(last)
		if s == nil {
			continue
		}
		if w := s.word.load(); w.unused() && s.sinceSeen(w) && !l.expires(s, w) {
			l.checks(s, w)
			l.rests(s)
		}
	}
	p.gate.set(gateResting, p.in[resting] > 0)
	p.looked(p.now())
	// What has been opened since the look began may be idle in slots that were
	// seen vacant.
	ready := l.idles + p.aboutIdle() + p.in[opening] + int(p.opened-opened)
	p.lackIdle = max(p.settings.MinIdle-ready, 0)
	return l
}

// slot returns a slot of the table, or nil beyond its end. It yields the lock
// when its visits are spent.
func (l *look[T]) slot(i int) *slot[T] {
	if !l.p.visits.visit() {
		l.p.yield()
		l.now = l.p.now()
	}
	return l.p.slot(i)
}

// due reports whether t has come. If not, the next look is at t or earlier.
func (l *look[T]) due(t int64) bool {
	if t > l.now {
		l.next = min(l.next, t)
	}
	return t <= l.now
}

// see notes the state of a slot, and does what is due if it is lent.
func (l *look[T]) see(s *slot[T], mayOpen bool) {
	w := s.word.load()
	if !s.sinceSeen(w) {
		s.seenAt = l.now
		if s.conn != nil {
			s.conn.seenSlept = l.p.slept
		}
	}
	s.seen = w
	switch {
	case w.lent():
		l.stuck = l.stuck && l.now-s.seenAt >= letGoAfter && !s.conn.trace.lost.Load()
		l.eldest.consider(&s.cell, w, s.conn.lent(w), l.now)
		l.seeLent(s, w)
		return
	case w.unused():
		l.idles++
	}
	l.stuck = l.stuck && (w.state() == hung || w.state() == vacant && !mayOpen)
}

// seeLent does what is due for a connection that is lent.
func (l *look[T]) seeLent(s *slot[T], w word) {
	p := l.p
	if after := p.settings.LeakAfter; after > 0 && s.reported != w.lease() && l.due(s.seenAt+int64(after)) {
		s.reported = w.lease()
		p.leaks++
		p.happen(Event{Kind: EventLeaked, Took: time.Duration(l.now - s.seenAt)}, s.conn, s.takerOf(w))
	}
	if p.pace.broke && s.conn.openedAt >= p.pace.failedAt && l.due(s.conn.openedAt+int64(freshFor)) {
		p.proves(s)
	}
	letGo := l.due(s.seenAt + letGoAfter)
	s.expired = l.due(s.lifeEnds(p.settings.MaxLifetime, p.slept))
	if w.state() == held && (letGo || s.expired || s.reported == w.lease()) {
		// Only the holder could change the word meanwhile. From now on its swap
		// fails, and it waits for this lock.
		if !p.move(&s.cell, w, w.with(watched)) { // model: watch
			return
		}
		s.seen = w.with(watched)
	}
	if letGo {
		s.handle.Store(nil)
		if s.conn.trace.lost.Load() {
			l.lost(s)
		}
	}
}

// lost handles a watched slot whose lease has become unreachable.
func (l *look[T]) lost(s *slot[T]) { // model: lost
	p := l.p
	s.conn.trace.lost.Store(false) // report once
	p.lost++
	p.happen(Event{Kind: EventLost}, s.conn, s.takerOf(s.seen))
	if !p.settings.KeepLost {
		p.put(&s.cell, returning) // no lease is left that could end it
		p.close(s, ReasonLost, nil)
	}
}

// expires closes an unused connection, if that is due. It reports whether it did
// or a Pop was faster.
func (l *look[T]) expires(s *slot[T], w word) bool {
	p := l.p
	why := Reason("")
	switch {
	case l.due(s.lifeEnds(p.settings.MaxLifetime, p.slept)):
		why = ReasonLifetime
	case s.usedUp(w, p.settings.MaxUses):
		why = ReasonUses
	}
	// Connections that were used together are due together: half of them close
	// now, and half of the others at the next look.
	tooLong := p.settings.IdleTimeout != Never && l.idles > p.settings.MinIdle && !p.inFill() &&
		l.due(s.idleSince(p.slept)+int64(p.settings.IdleTimeout)) && (l.late || p.idledAt == l.began || l.due(p.idledAt+int64(p.every)))
	if why == "" && !tooLong || l.expire == 0 {
		return false
	}
	l.expire--
	if !p.takeOut(s, w) {
		return true
	}
	if why == "" {
		why = ReasonIdle
		p.idledAt = l.began
		p.wantFewer()
	}
	l.idles--
	p.close(s, why, nil)
	return true
}

// checks begins the check of an unused connection, if that is due. A connection
// that has been idle for CheckAfter becomes stale: the fast path does not take
// it then, and a Pop that needs it has it checked.
func (l *look[T]) checks(s *slot[T], w word) {
	p := l.p
	if p.connector.Check == nil {
		return
	}
	known := s.knownAt(p.slept)
	every, after := p.settings.KeepAlive, p.settings.CheckAfter
	due := w.state() == suspected || every > 0 && l.due(known+int64(every))
	if due && l.check > 0 && p.takeOut(s, w) {
		p.check(s, false, w.state() == suspected)
		l.check--
		l.idles--
		return
	}
	if (after == Always || after > 0 && l.due(known+int64(after))) && (w.state() == idle || w.state() == resting) {
		p.move(&s.cell, w, w.with(stale))
	}
}
