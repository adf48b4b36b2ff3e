package pools

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// How a connection leaves its slot: why it must, how it is taken out, and what
// becomes of the slot.

// mustLeave returns why a connection that has come back to the pool must be
// closed and not lent again; "": it need not. It reads the clock only during a
// Refresh.
func (p *Pool[T]) mustLeave(s *slot[T]) Reason {
	switch {
	case p.closed:
		return ReasonClose
	case p.excess(p.settings.Size) > 0:
		return ReasonResize
	case s.expired:
		return ReasonLifetime
	case s.usedUp(s.word.load(), p.settings.MaxUses):
		return ReasonUses
	case s.refreshAt != 0 && s.refreshAt <= p.now():
		if p.mayReplace() {
			return ReasonRefresh
		}
		p.turns.left = true
	}
	return ""
}

// over returns why an unused connection must be closed and not lent; "": it need
// not. idle says whether IdleTimeout counts.
func (s *slot[T]) over(w word, now, slept int64, settings *Settings, idle bool) Reason {
	switch {
	case now >= s.lifeEnds(settings.MaxLifetime, slept):
		return ReasonLifetime
	case s.usedUp(w, settings.MaxUses):
		return ReasonUses
	case idle && settings.IdleTimeout != Never && now >= s.idleSince(slept)+int64(settings.IdleTimeout):
		return ReasonIdle
	}
	return ""
}

// usedUp reports whether a connection has been lent MaxUses times.
func (s *slot[T]) usedUp(w word, most int) bool {
	return most != NoLimit && w.lease()-s.conn.before >= uint64(most)
}

// mayReplace reports whether a connection may be closed for a Refresh. A paused
// pool lends and opens nothing, so all of its connections may.
func (p *Pool[T]) mayReplace() bool {
	if p.paused {
		return true
	}
	size := p.settings.Size
	return p.demand.mayReplace(p.alive(), size-p.in[hung], p.taken() < size, p.pace.down())
}

// lifeEnds returns when a connection's lifetime is over: up to a tenth earlier
// than MaxLifetime, by a different amount for each connection, so that those
// opened together do not close together.
// It is over earlier by as long as the machine was suspended: slept is how long
// that was since New.
func (s *slot[T]) lifeEnds(most time.Duration, slept int64) int64 {
	if most == Never {
		return int64(longest)
	}
	life := int64(most)
	// Multiples of the golden ratio are evenly spread, however many there are.
	share := s.conn.number*0x9E3779B97F4A7C15 + lifetimeSalt
	early, _ := bits.Mul64(uint64(life/10), share) // the tenth's share of 2^64
	life -= slept - s.conn.slept
	return s.conn.openedAt + life - int64(early)
}

// lifetimeSalt lets processes that began together end their connections at
// different times.
var lifetimeSalt = rand.Uint64()

// takeOut takes an unused slot for the pool. It reports false if a Pop was
// faster.
func (p *Pool[T]) takeOut(s *slot[T], w word) bool {
	return p.move(&s.cell, w, w.with(returning))
}

// takeOutUnused takes an unused slot for the pool, to close its connection. It
// returns nil if there is none, or if the visits of this holding of the lock are
// spent; then the alarm goes on.
func (p *Pool[T]) takeOutUnused() *slot[T] {
	for !p.visits.spent() {
		i := p.table.Load().lastIdle(&p.visits)
		if i < 0 {
			i = p.anyOffPath()
		}
		if i < 0 {
			break
		}
		p.visits.visit()
		pauseCall("take_out", lockedMaybe)
		s := p.slot(i)
		if w := s.word.load(); w.unused() && p.takeOut(s, w) { // a Pop may have been faster
			return s
		}
	}
	if p.visits.spent() {
		p.again()
	}
	return nil
}

// shed closes surplus idle connections. It is called when there may be more idle
// ones, or a larger surplus. Others close when they are returned.
func (p *Pool[T]) shed() { // model: shed
	// The gate before the slots: a Push makes its slot idle and then looks at the
	// gate, so one of the two sees the other.
	size := p.settings.Size
	p.gate.set(gateShrunk, p.excess(size) > 0)
	for p.excess(size) > 0 {
		s := p.takeOutUnused()
		if s == nil {
			break
		}
		p.close(s, ReasonResize, nil)
	}
	pauseCall("shed", lockedMaybe)
	p.gate.set(gateShrunk, p.excess(size) > 0)
}

// vacate frees the slot of a call that is over, unless the call was abandoned
// and keeps the slot.
func (p *Pool[T]) vacate(s *slot[T], c *call) {
	if !c.keepsSlot {
		p.free(s)
		return
	}
	p.put(&s.cell, hung)
	p.empty(s)
	p.shed()
	p.checkEnd()
}

// free makes a slot vacant.
func (p *Pool[T]) free(s *slot[T]) { // model: freed
	p.empty(s)
	p.put(&s.cell, vacant)
	p.checkEnd()
}

// empty removes the connection from the slot.
func (p *Pool[T]) empty(s *slot[T]) {
	if s.conn != nil {
		s.conn.cleanup.Stop()
	}
	s.handle.Store(nil)
	p.takers.forget(&s.cell)
	s.conn = nil
	if s.generation != 0 {
		p.replaced(s.generation, p.aliveSoon(), p.settings.Size)
		s.generation = 0
	}
}
