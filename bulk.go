package pools

import "math/bits"

// What one holding of the lock does is bounded: it visits about batch slots,
// calls or waiters, however many there are. What concerns more of them is bulk
// work, and goes in slices between which the lock is free. Work that somebody's
// goroutine does for itself (the keeper's look, RevokeAll) yields between
// slices. Work that an event leaves to the pool (closing, refusing or serving
// many) goes on in the next settle, which the alarm calls at once.

// batch is how many visits make a slice. Tests make it small.
var batch = 128

// visit counts a visit. It reports whether there may be more of them in this
// holding of the lock. Each visit gets the work further (it hands out, closes,
// takes out, or clears a hint that was wrong), or the rest would never end.
func (g *guard[T]) visit() bool {
	g.visits++
	return g.visits <= batch
}

// spent reports whether this holding of the lock has had its visits.
func (g *guard[T]) spent() bool { return g.visits >= batch }

// yield lets others have the lock between two slices. An Observer that panics
// then is logged: bulk work is not left half done for it.
func (p *Pool[T]) yield() {
	p.unlockOwn()
	p.lock()
}

// again has the rest of some bulk work done soon.
func (p *Pool[T]) again() { p.alarm.by(p.now(), p.now()) }

// idleFrom returns the first idle slot from that index on, or -1 if there is
// none or this holding of the lock has had its visits. Under the lock; a Pop
// may still be faster.
func (p *Pool[T]) idleFrom(from int) int {
	t := p.table.Load()
	if t.hints == nil {
		for i := from; i < len(t.slots); i++ {
			if t.slots[i].idle() {
				return i
			}
		}
		return -1
	}
	for i := from / 64; i < len(t.hints); {
		head := t.heads[i/64].Load() >> (i % 64)
		if head == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += bits.TrailingZeros64(head)
		some := t.hints[i].some()
		if some == 0 && !p.visit() {
			return -1
		}
		if i == from/64 {
			some &= ^uint64(0) << (from % 64)
		}
		for ; some != 0; some &= some - 1 {
			if !p.visit() {
				return -1
			}
			if s := t.slots[i*64+bits.TrailingZeros64(some)]; s.idle() || s.unhint() {
				return s.index
			}
		}
		i++
	}
	return -1
}

// lastIdle is idleFrom for the last idle slot: the first are used most.
func (p *Pool[T]) lastIdle() int {
	t := p.table.Load()
	if t.hints == nil {
		for i := len(t.slots) - 1; i >= 0; i-- {
			if t.slots[i].idle() {
				return i
			}
		}
		return -1
	}
	for i := len(t.hints) - 1; i >= 0; {
		head := t.heads[i/64].Load() << (63 - i%64)
		if head == 0 {
			i = i/64*64 - 1
			continue
		}
		i -= bits.LeadingZeros64(head)
		some := t.hints[i].some()
		if some == 0 && !p.visit() {
			return -1
		}
		for some != 0 {
			if !p.visit() {
				return -1
			}
			bit := 63 - bits.LeadingZeros64(some)
			if s := t.slots[i*64+bit]; s.idle() || s.unhint() {
				return s.index
			}
			some &^= 1 << bit
		}
		i--
	}
	return -1
}

// takeIdle takes an idle slot for a waiter. It returns nil if there is none, or
// this holding of the lock has had its visits.
func (p *Pool[T]) takeIdle() (*handle[T], word) {
	for i := p.idleFrom(0); i >= 0; i = p.idleFrom(0) {
		if h, lease := p.takeSlot(p.slot(i)); h != nil {
			return h, lease
		}
		p.visit() // a Pop was faster
	}
	return nil, 0
}

// takeOutUnused takes an unused slot for the pool, to close its connection. It
// returns nil if there is none. If this holding of the lock has had its visits
// it returns nil, too, and the next settle goes on.
func (p *Pool[T]) takeOutUnused() *slot[T] {
	for !p.spent() {
		i := p.lastIdle()
		if i < 0 {
			i = p.anyUnchecked()
		}
		if i < 0 {
			break
		}
		p.visit()
		if s := p.slot(i); p.takeOut(s, s.word.load()) {
			return s
		}
	}
	if p.spent() {
		p.again()
	}
	return nil
}
