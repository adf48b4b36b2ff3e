package pools

import "sync/atomic"

// table is the pool's slots. It is never changed, only replaced.
type table[T any] struct {
	slots []*slot[T]
	hints []hints // nil for few slots
	heads []atomic.Uint64
}

// fewSlots is the length of the longest table without hints: a search of it
// walks the slots.
const fewSlots = 64

// hints says which of 64 slots may be idle: a clear bit means not idle. head has
// one bit for each hints in the same way.
//
// Whoever makes a slot idle sets its bit if it is clear, and then the bit in
// the head. Taking a slot leaves the bit. A search that finds a bit set for a
// slot that is not idle clears it and looks again: the slot may have become
// idle, and its push may have seen the bit still set. New hints begin with all
// bits set, after their slots point to them: a push that still used the old
// hints made its slot idle before any of these bits could be cleared.
type hints struct {
	bits    atomic.Uint64
	head    *atomic.Uint64
	headBit uint64
	_       [128 - 24]byte
}

// newTable makes a table of size slots that begins with the slots of old, which
// may be nil. Under the lock if old is in use.
func newTable[T any](size int, old *table[T]) *table[T] {
	t := &table[T]{slots: make([]*slot[T], size)}
	kept := 0
	if old != nil {
		kept = copy(t.slots, old.slots)
	}
	block := make([]slot[T], size-kept)
	for i := range block {
		block[i].index = kept + i
		t.slots[kept+i] = &block[i]
	}
	if size > fewSlots {
		t.hints = make([]hints, (size+63)/64)
		t.heads = make([]atomic.Uint64, (len(t.hints)+63)/64)
		for i := range t.hints {
			t.hints[i].head = &t.heads[i/64]
			t.hints[i].headBit = 1 << (i % 64)
		}
	}
	for i, s := range t.slots {
		if t.hints == nil {
			s.hints.Store(nil)
			continue
		}
		h := &t.hints[i/64]
		s.hints.Store(h) // first this, then the bit
		h.mark(i)
	}
	return t
}

// slot returns a slot of the table, or nil beyond its end.
func (t *table[T]) slot(i int) *slot[T] {
	if i >= len(t.slots) {
		return nil
	}
	return t.slots[i]
}

// hint notes that the slot is idle, after its word was changed.
func (c *cell) hint() {
	if h := c.hints.Load(); h != nil {
		h.mark(c.index)
	}
}

func (h *hints) mark(index int) {
	bit := uint64(1) << (index % 64)
	if h.bits.Load()&bit == 0 { // model: hint_set
		h.bits.Or(bit)
	}
	if h.head.Load()&h.headBit == 0 {
		h.head.Or(h.headBit)
	}
}

// some returns the bits. If none is set it clears the bit in the head.
func (h *hints) some() uint64 {
	some := h.bits.Load()
	if some == 0 {
		pauseCall("head", lockedMaybe)
		h.head.And(^h.headBit) // model: hint_clear
		if some = h.bits.Load(); some != 0 {
			h.head.Or(h.headBit)
		}
	}
	return some
}

// unhint clears the hint of a slot that was not idle. It reports whether the
// slot is idle after all.
func (h *hints) unhint(c *cell) bool {
	h.bits.And(^(uint64(1) << (c.index % 64))) // model: hint_clear
	if !c.idle() {
		return false
	}
	// model: hint_look_again. Without it this slot would be idle with its bit
	// clear, and no search would ever find it.
	c.hint()
	return true
}

func (c *cell) idle() bool { return c.word.load().state() == idle }

// anyIdle reports whether a search may find an idle slot.
func (t *table[T]) anyIdle() bool {
	for i := range t.heads {
		if t.heads[i].Load() != 0 {
			return true
		}
	}
	if t.hints != nil {
		return false
	}
	for _, s := range t.slots {
		if s.idle() {
			return true
		}
	}
	return false
}
