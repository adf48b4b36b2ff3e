package pools

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"time"
	"weak"
)

// The keeper looks at every slot now and then, while there is something to
// keep. Time is its business alone: a slot that is still lent, or still not
// lent, with the lease number of the last look has been so since then. So
// lifetimes, idle times, leaks and lost leases cost the hot path nothing.
//
// A connection that must go while somebody has it is marked watched: its push
// fails on the fast path, and the slow one closes it.
//
// Lost leases: when a connection has been lent for a second, its slot lets go
// of the handle, after it was marked watched. From then on only leases reach
// the handle; if the collector frees it, no lease is left, and nobody can
// push any more. A push of a watched lease gives the handle back.
const (
	longestLook  = time.Second // between two looks
	shortestLook = time.Millisecond
	looksWithin  = 4                  // how often the keeper looks within the shortest time it keeps
	letGoAfter   = int64(time.Second) // lent for so long, a slot lets go of its handle
	calmEvery    = int64(time.Second)
	collectEvery = int64(time.Minute) // at most, for a program so blocked that it collects nothing itself
)

// keeping is the part of the pool that the keeper owns.
type keeping struct {
	keeper      *time.Timer
	lookAt      int64         // when it will look; 0: it does not run
	every       time.Duration // it looks at least so often
	lackIdle    int           // how many MinIdle lacked at the last look, less the opens since
	collectedAt int64
	calmedAt    int64
	idledAt     int64 // when the latest were closed for IdleTimeout
}

// kept is what the keeper notes of a slot and its connection, under the
// pool's lock.
type kept struct {
	seen       uint64 // the word at the last look
	seenAt     int64  // when the slot was first seen with this lease number and lent, or not lent
	checkedAt  int64  // when the connection was last checked; 0: never
	refreshAt  int64  // from then on a Refresh wants it gone; 0: none does
	generation uint64 // how many Refreshes there had been, and one, when its open began; 0: nothing is here
	reported   uint64 // the lease that was last reported as a leak
	leaving    bool   // its lifetime is over
	suspected  bool   // another connection has failed since this one was used
}

// sinceSeen reports whether a slot whose word this is has been lent, or not
// lent, ever since seenAt.
func (k *kept) sinceSeen(word uint64) bool {
	return leases(word) == leases(k.seen) && out(word) == out(k.seen)
}

// afterFunc calls do after d unless the pool has been dropped by then: a
// timer does not keep a pool alive.
func afterFunc[T any](p *Pool[T], d time.Duration, do func(*Pool[T])) *time.Timer {
	dropped := weak.Make(p)
	return time.AfterFunc(d, func() {
		if p := dropped.Value(); p != nil {
			do(p)
		}
	})
}

// setPace says how often the keeper looks: some times within the shortest
// time that it keeps.
func (p *Pool[T]) setPace() {
	s := &p.settings
	shortest := looksWithin * longestLook
	kept := []time.Duration{s.MaxLifetime, s.IdleTimeout, s.LeakAfter}
	if p.connector.Check != nil {
		kept = append(kept, s.KeepAlive, s.CheckAfter)
	}
	for _, d := range kept {
		if d > 0 {
			shortest = min(shortest, d)
		}
	}
	p.every = max(shortest/looksWithin, shortestLook)
}

// keep sees to it that the keeper runs.
func (p *Pool[T]) keep() {
	if p.lookAt == 0 {
		p.lookNoLaterThan(p.now() + int64(p.every))
	}
}

// lookNoLaterThan has the keeper look at t, or soon if that is too soon.
func (p *Pool[T]) lookNoLaterThan(t int64) {
	soon := p.now() + int64(max(p.every/100, shortestLook))
	t = max(t, soon)
	if p.closed && p.over || p.lookAt != 0 && p.lookAt <= t {
		return
	}
	p.lookAt = t
	after := time.Duration(t - p.now())
	if p.keeper == nil {
		p.keeper = afterFunc(p, after, (*Pool[T]).look)
	} else {
		p.keeper.Reset(after)
	}
}

// look is one look at every slot.
func (p *Pool[T]) look() {
	p.lock()
	defer p.unlockOwn()
	p.lookAt = 0
	p.trim()
	if p.closed && (p.taken == 0 || p.settings.Lost != LostClose) || p.taken == 0 && p.settings.MinIdle == 0 {
		if p.queue.len == 0 && !p.down() && p.alarmAt != 0 {
			p.alarm.Stop() // set for somebody who waits no more
			p.alarmAt = 0
		}
		return
	}
	next, stuck := p.tend()
	p.calm()
	p.settle()
	now := p.now()
	w := p.queue.first
	waited := p.closers > 0 || w != nil && now-w.since >= letGoAfter
	if stuck && waited && (p.collectedAt == 0 || now-p.collectedAt >= collectEvery) {
		// Everything is lent, nothing moves and somebody waits, for a
		// connection or for Close: a blocked program allocates nothing, so no
		// collection would come by itself that could tell whether leases were
		// lost.
		p.collectedAt = now
		pauseCall("collect", lockedMaybe)
		go runtime.GC()
	}
	p.lookNoLaterThan(next)
}

// tend does for every slot what is due. It returns when something will be
// due next, and whether everything has been lent for long.
func (p *Pool[T]) tend() (next int64, stuck bool) {
	now := p.now()
	next, stuck = min(now+int64(p.every), p.takeTurns()), true
	due := func(t int64) bool {
		if t > now {
			next = min(next, t)
		}
		return t <= now
	}
	mayOpen := p.taken < p.settings.Size && !p.down() && !p.paused && !p.closed
	idles := 0
	slots := p.table.Load().slots
	for _, s := range slots {
		word := s.word.Load()
		if !s.sinceSeen(word) {
			s.seenAt = now
		}
		s.seen = word
		switch {
		case out(word):
			stuck = stuck && now-s.seenAt >= letGoAfter && !s.conn.trace.lost.Load()
			p.tendLent(s, due)
			continue
		case unused(word):
			idles++
		}
		stuck = stuck && (word&stateMask == abandoned || word&stateMask == vacant && !mayOpen)
	}

	// From the last slot on: the first are used most. At most half of the
	// idle ones expire, so that who comes after a lull still finds some.
	expire, check := (idles+1)/2, (idles+1)/2
	for i := len(slots) - 1; i >= 0; i-- {
		s := slots[i]
		word := s.word.Load()
		if !unused(word) || !s.sinceSeen(word) {
			continue
		}
		if p.tendIdle(s, word, due, &idles, &expire) {
			continue
		}
		if p.tendCheck(s, word, due, check > 0) {
			check--
			idles--
		}
	}
	p.lackIdle = max(p.settings.MinIdle-idles-p.aboutIdle-p.opening, 0)
	return next, stuck
}

// tendLent does what is due for a connection that somebody has.
func (p *Pool[T]) tendLent(s *slot[T], due func(int64) bool) {
	word := s.seen
	if after := p.settings.LeakAfter; after > 0 && s.reported != leases(word) && due(s.seenAt+int64(after)) {
		s.reported = leases(word)
		p.leaks++
		p.happen(Event{Kind: EventLeaked, Took: time.Duration(p.now() - s.seenAt)}, s.conn, s.holderIn(word))
	}
	letGo := due(s.seenAt + letGoAfter)
	s.leaving = due(p.lifeEnds(s))
	if word&stateMask == held && (letGo || s.leaving) {
		// Only the holder could change the word meanwhile, and its swap
		// fails from now on; it then waits for this lock.
		if !s.word.CompareAndSwap(word, with(word, watched)) { // model: watch
			return
		}
		s.seen = with(word, watched)
	}
	if letGo {
		s.handle.Store(nil)
		if s.conn.trace.lost.Load() {
			p.loseLease(s)
		}
	}
}

// loseLease deals with a watched slot whose lease nobody can reach any more.
func (p *Pool[T]) loseLease(s *slot[T]) { // model: lost
	s.conn.trace.lost.Store(false) // report once
	p.lost++
	p.happen(Event{Kind: EventLost}, s.conn, s.holderIn(s.seen))
	if p.settings.Lost == LostClose {
		s.word.Store(with(s.seen, returning)) // no lease is left that could end it
		p.close(s, ReasonLost, nil)
	}
}

// tendIdle closes a connection that is not lent, if that is due. It reports
// whether it did, or somebody was faster.
func (p *Pool[T]) tendIdle(s *slot[T], word uint64, due func(int64) bool, idles, expire *int) bool {
	why := Reason(0)
	switch {
	case due(p.lifeEnds(s)):
		why = ReasonLifetime
	case p.usedUp(s, word):
		why = ReasonUses
	}
	// Those that were used together are due together: half of them at once,
	// half of the others a whole look later.
	tooLong := p.settings.IdleTimeout != Never && *idles > p.settings.MinIdle && !p.inFill() &&
		due(s.seenAt+int64(p.settings.IdleTimeout)) && (p.idledAt == p.now() || due(p.idledAt+int64(p.every)))
	if why == 0 && !tooLong || *expire == 0 {
		return false
	}
	*expire--
	if !p.takeOut(s, word) {
		return true
	}
	if why == 0 {
		why = ReasonIdle
		p.idledAt = p.now()
		p.wantFewer()
	}
	*idles--
	p.close(s, why, nil)
	return true
}

// takeOut takes an idle or stale slot for the pool, unless a Pop is faster.
func (p *Pool[T]) takeOut(s *slot[T], word uint64) bool {
	if !s.word.CompareAndSwap(word, with(word, returning)) {
		return false
	}
	if word&stateMask == stale {
		p.stales--
		if s.suspected {
			p.suspects--
		}
	}
	return true
}

// lifeEnds returns when a connection's lifetime is over: up to a tenth
// earlier than MaxLifetime, each connection by another share, so that those
// that were opened together do not go together.
func (p *Pool[T]) lifeEnds(s *slot[T]) int64 {
	life := int64(p.settings.MaxLifetime)
	if p.settings.MaxLifetime == Never {
		return int64(longest)
	}
	// Multiples of the golden ratio lie evenly, however many there are.
	share := s.conn.number*0x9E3779B97F4A7C15 + lifetimeSalt
	early, _ := bits.Mul64(uint64(life/10), share) // the tenth's share of 2^64
	return s.conn.openedAt + life - int64(early)
}

// lifetimeSalt lets processes that began together end their connections at
// other times.
var lifetimeSalt = rand.Uint64()

// leaves says why a connection that has come back to the pool must be closed
// and not lent again; 0: it need not. It reads the clock during a Refresh only.
func (p *Pool[T]) leaves(s *slot[T]) Reason {
	switch {
	case p.closed:
		return ReasonClose
	case p.excess() > 0:
		return ReasonResize
	case s.leaving:
		return ReasonLifetime
	case p.usedUp(s, s.word.Load()):
		return ReasonUses
	case s.refreshAt != 0 && s.refreshAt <= p.now() && p.mayRefresh():
		return ReasonRefresh
	}
	return 0
}

// usedUp reports whether a connection has been lent MaxUses times.
func (p *Pool[T]) usedUp(s *slot[T], word uint64) bool {
	most := p.settings.MaxUses
	return most != NoLimit && leases(word)-s.conn.before >= uint64(most)
}

// calm makes searches start closer together again: what spread them may be
// over.
func (p *Pool[T]) calm() {
	if p.now()-p.calmedAt < calmEvery {
		return
	}
	p.calmedAt = p.now()
	p.sampleMore()
	if prefix := p.prefix.Load(); prefix > 1 {
		p.prefix.CompareAndSwap(prefix, prefix/2)
	}
}
