package pools

import "math/bits"

// idleFrom returns the index of the first idle slot at or after from, or -1 if
// there is none or the visits of this holding of the lock are spent. Under the
// lock; a Pop may still be faster.
func (t *table[T]) idleFrom(from int, v *visits) int {
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
		if some == 0 && !v.visit() {
			return -1
		}
		if i == from/64 {
			some &= ^uint64(0) << (from % 64)
		}
		for ; some != 0; some &= some - 1 {
			if !v.visit() {
				return -1
			}
			if s := t.slots[i*64+bits.TrailingZeros64(some)]; s.idle() || t.hints[i].unhint(&s.cell) {
				return s.index
			}
		}
		i++
	}
	return -1
}

// lastIdle is idleFrom for the last idle slot: the first ones are used most.
func (t *table[T]) lastIdle(v *visits) int {
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
		if some == 0 && !v.visit() {
			return -1
		}
		for some != 0 {
			if !v.visit() {
				return -1
			}
			bit := 63 - bits.LeadingZeros64(some)
			if s := t.slots[i*64+bit]; s.idle() || t.hints[i].unhint(&s.cell) {
				return s.index
			}
			some &^= 1 << bit
		}
		i--
	}
	return -1
}

// takeIdle takes an idle slot for a waiter. It returns nil if there is none, or
// if the visits of this holding of the lock are spent.
func (f *search[T]) takeIdle(v *visits) (*handle[T], word) {
	t := f.table.Load()
	for i := t.idleFrom(0, v); i >= 0; i = t.idleFrom(0, v) {
		if h, lease := f.takeSlot(t.slots[i]); h != nil {
			return h, lease
		}
		v.visit() // a Pop was faster
	}
	return nil, 0
}
