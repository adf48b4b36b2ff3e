package pools

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// search finds idle slots without the lock; idle.go does so under it.
//
// It starts at the first slot until a swap was lost to another goroutine. Then
// goroutines spread, by the addresses of their stacks, over a prefix of the
// slots that doubles with each lost swap and halves at the keeper's looks. So
// one goroutine keeps to one slot, and the others stay idle for long enough to
// be closed.
type search[T any] struct {
	prefix atomic.Uint32 // searches start in this many of the first slots
	salt   atomic.Uint32 // changes the starts after a collision
	table  atomic.Pointer[table[T]]
}

// take makes an idle slot held and returns its handle with the word of the
// lease, or nil.
func (f *search[T]) take() (*handle[T], word) {
	t := f.table.Load()
	first := 0
	if prefix := f.prefix.Load(); prefix > 1 {
		first = start(prefix, f.salt.Load())
	}
	if first >= len(t.slots) {
		first = 0 // the table was replaced by a shorter one
	}
	s := t.slots[first]
	if w := s.word.load(); w.state() == idle {
		h := s.handle.Load()
		if s.word.swap(w, w+popStep) { // model: pop_fast
			return h, w + popStep
		}
		f.collided()
	}
	return f.takeFrom(t, first)
}

// takeFrom looks at every slot that may be idle, from first on and around.
func (f *search[T]) takeFrom(t *table[T], first int) (*handle[T], word) {
	if t.hints != nil {
		return f.takeHinted(t, first)
	}
	for _, part := range [2][]*slot[T]{t.slots[first:], t.slots[:first]} {
		for _, s := range part {
			if h, lease := f.takeSlot(s); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

// slot returns a slot, or nil if the table no longer has this index.
func (f *search[T]) slot(i int) *slot[T] { return f.table.Load().slot(i) }

// takeSlot is take for one slot.
func (f *search[T]) takeSlot(s *slot[T]) (*handle[T], word) {
	w := s.word.load()
	if w.state() != idle {
		return nil, 0
	}
	h := s.handle.Load()
	if !s.word.swap(w, w+popStep) {
		f.collided()
		return nil, 0
	}
	return h, w + popStep
}

// takeHinted is takeFrom for a table with hints: it looks at no slot whose bit
// is clear. It begins with the hints of first and, among those, at first.
func (f *search[T]) takeHinted(t *table[T], first int) (*handle[T], word) {
	from := first / 64
	for k := range len(t.heads) + 1 {
		// The first head is looked at twice: from first's bit on, and at the
		// end for the bits before it.
		h := (from/64 + k) % len(t.heads)
		some := t.heads[h].load()
		switch k {
		case 0:
			some &= ^uint64(0) << (from % 64)
		case len(t.heads):
			some &^= ^uint64(0) << (from % 64)
		}
		for ; some != 0; some &= some - 1 {
			i := h*64 + bits.TrailingZeros64(some)
			turn := 0
			if i == from {
				turn = first % 64
			}
			if h, lease := f.takeAmong(t, i, turn); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

// takeAmong is take for the 64 slots of one hints, from turn on and around.
func (f *search[T]) takeAmong(t *table[T], i, turn int) (*handle[T], word) {
	for some := bits.RotateLeft64(t.hints[i].some(), -turn); some != 0; some &= some - 1 {
		s := t.slots[i*64+(bits.TrailingZeros64(some)+turn)%64]
		if h, lease := f.takeSlot(s); h != nil {
			return h, lease
		}
		if t.hints[i].unhint(&s.cell) {
			if h, lease := f.takeSlot(s); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

// collided notes that two goroutines wanted one slot at one instant. It spreads
// the starts over a longer prefix of the slots. It changes the salt too, or the
// same two could collide for ever.
func (f *search[T]) collided() {
	f.salt.Add(0x9E3779B9)
	size := uint32(len(f.table.Load().slots))
	if prefix := f.prefix.Load(); prefix < size {
		f.prefix.CompareAndSwap(prefix, min(max(2*prefix, 2), size))
	}
}

// calm lets searches start closer together again: the collisions that spread
// them may be over.
func (f *search[T]) calm() {
	if prefix := f.prefix.Load(); prefix > 1 {
		f.prefix.CompareAndSwap(prefix, prefix/2)
	}
}

// start spreads goroutines over the first prefix slots by the addresses of
// their stacks, which tell goroutines apart at no cost.
func start(prefix, salt uint32) int {
	var here byte
	stack := uint32(uintptr(unsafe.Pointer(&here)) >> 11)
	mixed := (stack ^ salt) * 0x9E3779B1
	mixed ^= mixed >> 15
	return int(uint64(mixed*0x85EBCA6B) * uint64(prefix) >> 32)
}
