package pools

import "math/bits"

// mayBeIdle returns the index of a slot at or after from such that no slot between
// the two was idle before the call. If there is none it is the table's length.
func (t *table[T]) mayBeIdle(from int) int {
	if t.hints == nil || from >= len(t.slots) {
		return from
	}
	group := from / 64
	if some := t.hints[group].all() >> (from % 64); some != 0 {
		return min(from+bits.TrailingZeros64(some), len(t.slots))
	}
	group++
	if group < len(t.hints) {
		if head := t.heads[group/64].all() >> (group % 64); head != 0 {
			group += bits.TrailingZeros64(head)
		} else {
			group = (group/64 + 1) * 64
		}
	}
	return min(group*64, len(t.slots))
}

// firstIdle returns the index of the first idle slot, or -1 if there is none or
// the visits of this holding of the lock are spent. It may miss a slot whose hint
// a Pop is just clearing. Under the lock; a Pop may still be faster.
func (t *table[T]) firstIdle(v *visits) int {
	if t.hints == nil {
		for i, s := range t.slots {
			if s.idle() {
				return i
			}
		}
		return -1
	}
	for k := range t.heads {
		for head := t.heads[k].load(); head != 0; head &= head - 1 {
			i := k*64 + bits.TrailingZeros64(head)
			some := t.hints[i].some()
			if some == 0 && !v.visit() {
				return -1
			}
			for ; some != 0; some &= some - 1 {
				if !v.visit() {
					return -1
				}
				if s := t.slots[i*64+bits.TrailingZeros64(some)]; s.idle() || t.hints[i].unhint(&s.cell) {
					return s.index
				}
			}
		}
	}
	return -1
}

// lastIdle is firstIdle for the last idle slot: the first ones are used most.
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
		head := t.heads[i/64].load() << (63 - i%64)
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
	for i := t.firstIdle(v); i >= 0; i = t.firstIdle(v) {
		if h, lease := f.takeSlot(t.slots[i]); h != nil {
			return h, lease
		}
		v.visit() // a Pop was faster
	}
	return nil, 0
}
