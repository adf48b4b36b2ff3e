package pools

import "sync/atomic"

// table is the pool's slots. It is never changed, only replaced.
type table[T any] struct {
	slots []*slot[T]
	hints []hints // nil for few slots
	heads []mask
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
	mask
	head    *mask
	headBit uint64
	_       [128 - 32]byte
}

// mask is 64 bits that anybody may set, and a search may clear.
type mask struct {
	bits     atomic.Uint64
	clearing atomic.Int64 // searches that have cleared a bit and not yet looked again
}

func (m *mask) load() uint64 { return m.bits.Load() }

func (m *mask) set(bit uint64) {
	if m.bits.Load()&bit == 0 { // model: hint_set
		m.bits.Or(bit)
	}
}

// clear clears a bit. The caller then looks again whether it must be set, and
// calls looked.
func (m *mask) clear(bit uint64) {
	m.clearing.Add(1)
	m.bits.And(^bit) // model: hint_clear
}

func (m *mask) looked() { m.clearing.Add(-1) }

// all returns the bits, and misses none that had to be set before the call: while
// a search looks again it returns all of them. A search that had cleared a bit
// before the first load has set it again, if it had to, before the second. One
// that clears a bit after it does no harm: the first load has seen it.
func (m *mask) all() uint64 {
	before := m.bits.Load()
	if m.clearing.Load() != 0 {
		return ^uint64(0)
	}
	return before | m.bits.Load()
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
		t.heads = make([]mask, (len(t.hints)+63)/64)
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
	h.set(1 << (index % 64))
	h.head.set(h.headBit)
}

// some returns the bits. If none is set it clears the bit in the head.
func (h *hints) some() uint64 {
	some := h.load()
	if some == 0 {
		pauseCall("head", lockedMaybe)
		h.head.clear(h.headBit)
		if some = h.load(); some != 0 {
			h.head.set(h.headBit)
		}
		h.head.looked()
	}
	return some
}

// unhint clears the hint of a slot that was not idle. It reports whether the
// slot is idle after all.
func (h *hints) unhint(c *cell) bool {
	pauseCall("hint_clear", lockedMaybe)
	h.clear(1 << (c.index % 64))
	pauseCall("hint_look_again", lockedMaybe)
	// model: hint_look_again. Without it this slot would be idle with its bit
	// clear, and no search would ever find it.
	idle := c.idle()
	if idle {
		c.hint()
	}
	h.looked()
	return idle
}

// unhint clears the hint of a slot that is not idle, if there are hints.
func (t *table[T]) unhint(s *slot[T]) {
	if t.hints != nil {
		t.hints[s.index/64].unhint(&s.cell)
	}
}

func (c *cell) idle() bool { return c.word.load().state() == idle }

// anyIdle reports whether a search may find an idle slot.
func (t *table[T]) anyIdle() bool {
	for i := range t.heads {
		if t.heads[i].load() != 0 {
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
