package pools

import "time"

// A process may stand still: it is stopped, its cgroup is frozen, its machine is
// suspended. When it goes on the keeper has not looked for that time, and the
// fast path reads no clock. So a connection that was idle through a whole look of
// the keeper rests: it is off the fast path, and whoever takes it holds the lock
// and looks at the clock first. It counts as idle.
//
// SIGSTOP does not stop the monotonic clock, which all times of the pool are
// measured with. But that clock stands still while a machine is suspended, and
// the wall clock does not. So how far the wall clock gets ahead of the other is
// how long the machine was suspended.

// calendar knows how long the machine was suspended, and when the keeper last
// looked. Under the lock. Only this file writes its fields.
type calendar struct {
	ahead    int64 // how far the wall clock was ahead when it was last read
	slept    int64 // how long the machine was suspended since New, as far as noticed
	lookedAt int64 // when the keeper's latest look ended, plus slept then

	refusesFrom int64 // no WaitTimeout ends before: the alarm was late
}

// shortestSleep is the shortest suspension: clocks are adjusted by less.
const shortestSleep = int64(100 * time.Millisecond)

// After a stop, all timers are due at once and run in any order: that of a wait
// may run before that of a use which ended first. So once the alarm was late by
// shortestStop, nobody is refused for as long as afterStop.
const (
	shortestStop = int64(20 * time.Millisecond) // a busy machine adds less to any time
	afterStop    = int64(5 * time.Millisecond)
	excuseEvery  = int64(time.Second) // on a machine that is always late, waits must end
)

// fell notes that the alarm that was set for due (0: for nothing) has fired.
func (c *calendar) fell(due, now int64) {
	if due != 0 && now-due >= shortestStop && (c.refusesFrom == 0 || now-c.refusesFrom >= excuseEvery) {
		c.refusesFrom = now + afterStop
	}
}

// wallAhead returns how far the wall clock is ahead of the clock that began at
// epoch. Tests replace it.
var wallAhead = func(epoch time.Time) int64 {
	now := time.Now()
	return now.UnixNano() - int64(now.Sub(epoch))
}

// asleep reads the wall clock and returns how long the machine was suspended
// since New. A wall clock that was set forward looks the same; that costs some
// checks and opens. One that was set back shows nothing.
func (g *guard[T]) asleep() int64 {
	g.calendar.read(wallAhead(g.epoch))
	return g.slept
}

func (c *calendar) read(ahead int64) {
	if gone := ahead - c.ahead; c.ahead != 0 && gone >= shortestSleep {
		c.slept += gone
	}
	c.ahead = ahead
}

// looked notes that the keeper has looked, or need not have looked before.
func (c *calendar) looked(now int64) { c.lookedAt = now + c.slept }

// unlooked returns how long ago the keeper looked.
func (c *calendar) unlooked(now int64) time.Duration {
	return time.Duration(now + c.slept - c.lookedAt)
}

// isLate reports whether the keeper, which looks at least once in every, could
// not look when it should have.
func (c *calendar) isLate(now int64, every time.Duration) bool { return c.unlooked(now) >= 2*every }

// idleSince returns since when a connection has been unused, on the pool's clock,
// as if that had gone on while the machine was suspended.
func (s *slot[T]) idleSince(slept int64) int64 { return s.seenAt - (slept - s.conn.seenSlept) }

// knownAt returns when a connection was last used or checked, in the same way.
func (s *slot[T]) knownAt(slept int64) int64 { return max(s.idleSince(slept), s.checkedAt-slept) }

// rests has a connection rest that was idle through a whole look.
func (l *look[T]) rests(s *slot[T]) {
	p := l.p
	if w := s.word.load(); w.state() == idle && l.now-s.idleSince(p.slept) >= int64(p.every) {
		p.gate.set(gateResting, true)
		p.move(&s.cell, w, w.with(resting)) // model: rest
	}
}
