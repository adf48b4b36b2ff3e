package pools

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// A slot is one atomic word: what the slot is in the low bits, the number of
// its latest lease above. Popping and pushing are one compare-and-swap each.
//
// The number makes an ended lease harmless: a push swaps exactly the word
// that its own pop wrote, and no word comes twice, because the number only
// grows. 60 bits are enough for a lease a nanosecond over 36 years; with a
// few bits, numbers would come round and an ended lease could pass.
const (
	vacant    uint64 = iota // nothing here, a connection may be opened
	opening                 // Connector.Open is at work
	idle                    // a connection that anybody may take
	stale                   // idle, but to be checked before it is lent
	held                    // lent
	watched                 // held, and its push must go the slow way, see keeping.go
	revoked                 // held, but the lease was ended by RevokeAll
	returning               // the lease has ended, Broken is being asked
	checking                // Connector.Check is at work
	resetting               // Connector.Reset is at work
	closing                 // Connector.Close is at work
	abandoned               // user code hung past its timeout and kept the slot
	states                  // how many there are
)

// stateNames are what users call the states.
var stateNames = [states]string{
	"vacant", "opening", "idle", "stale", "held", "held", "revoked",
	"returning", "checking", "resetting", "closing", "hung",
}

const (
	stateBits = 4
	stateMask = 1<<stateBits - 1
	oneLease  = 1 << stateBits

	popStep  = oneLease + held - idle // from idle to the next lease
	pushStep = held - idle            // from held back to idle, same number
)

// with returns word with another state and the same lease number.
func with(word, state uint64) uint64 { return word&^stateMask | state }

// leases returns the number in word: how often the slot was lent.
func leases(word uint64) uint64 { return word >> stateBits }

// out reports whether somebody has the connection.
func out(word uint64) bool {
	state := word & stateMask
	return state == held || state == watched || state == revoked
}

// unused reports whether a connection is there that nobody has and nothing
// is being done with: idle or stale.
func unused(word uint64) bool {
	state := word & stateMask
	return state == idle || state == stale
}

// slot is a place for one connection. Only its word is shared; the other
// fields belong to whoever the word says owns the slot: the pool (under its
// lock) while opening, checking, resetting, closing or vacant, the holder
// while held. They are written before the word that publishes them.
type slot[T any] struct {
	word atomic.Uint64

	// handle is the connection's handle while idle or held, so that nothing
	// is collected on the fast path; nil when watched for long. A Pop reads it before
	// its swap: one that sleeps between the two for so long that the keeper
	// lets go of the handle has it already. That the swap succeeds says that
	// the handle read is the right one, since no word comes twice in a slot:
	// an open takes a lease number of its own.
	handle atomic.Pointer[handle[T]]
	conn   *connection[T] // nil when vacant or opening

	// group says where to note that this slot is idle, for many slots. Only a
	// new table changes it. A push that reads an old one is harmless: all
	// bits of a new group are set, so who clears this slot's has looked at
	// the slot since, see group.
	group atomic.Pointer[group]
	index int

	kept // the keeper's

	holder *holder // with TrackHolders; under the pool's lock
	use    timedUse

	// 128 bytes, all of them used: neighbours on one cache line, or on two
	// that are fetched as a pair, slow each other down.
}

// connection is a resource in its slot. It never changes, except for its trace
// and the slot's keeping of it.
type connection[T any] struct {
	resource T
	number   uint64 // process-wide, for the ID
	openedAt int64  // on the pool's clock
	before   uint64 // the slot's lease number when it was opened
	trace    *trace
	cleanup  runtime.Cleanup
}

// trace is what the collector and the pool share of a connection. It reaches
// neither the pool nor the connection.
type trace struct {
	lost   atomic.Bool            // set by the collector, read by the keeper
	holder atomic.Pointer[holder] // who is in the profile
}

// handle is what a lease holds on to. There is one per connection, reachable
// from the slot and from leases only: when the slot has let go of it and no
// lease is left, the collector reports the lease as lost.
type handle[T any] struct {
	slot *slot[T]
	pool *Pool[T]
	conn *connection[T]
}

// table is the pool's slots. It is never changed, only replaced.
type table[T any] struct {
	slots  []*slot[T]
	groups []group // nil for few slots
	heads  []atomic.Uint64
}

// fewSlots is up to how many slots are simply walked.
const fewSlots = 64

// group says for 64 slots which are idle, as far as anybody knew: a clear
// bit means not idle. head has one bit per group in the same way.
//
// Whoever makes a slot idle sets its bit if it is clear, and then the bit
// above. Whoever takes one leaves the bit. Whoever finds a bit set for a slot
// that is not idle clears it and looks again: the slot may have become idle,
// and its push may have seen the bit still set. A new group begins with all
// bits set, after its slots know it: a push that did not know it yet has made
// its slot idle before any of these bits can have been cleared.
type group struct {
	bits    atomic.Uint64
	head    *atomic.Uint64
	headBit uint64
	_       [128 - 24]byte
}

// newTable makes a table of that many slots, the first of them those of old,
// which may be nil. Under the lock, once old is in use.
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
		t.groups = make([]group, (size+63)/64)
		t.heads = make([]atomic.Uint64, (len(t.groups)+63)/64)
		for i := range t.groups {
			t.groups[i].head = &t.heads[i/64]
			t.groups[i].headBit = 1 << (i % 64)
		}
	}
	for i, s := range t.slots {
		if t.groups == nil {
			s.group.Store(nil)
			continue
		}
		g := &t.groups[i/64]
		s.group.Store(g) // first this, then the bit
		g.mark(i)
	}
	return t
}

// hint says that the slot is idle. It follows the store of the word.
func (s *slot[T]) hint() {
	if g := s.group.Load(); g != nil {
		g.mark(s.index)
	}
}

func (g *group) mark(index int) {
	bit := uint64(1) << (index % 64)
	if g.bits.Load()&bit == 0 { // model: hint_set
		g.bits.Or(bit)
	}
	if g.head.Load()&g.headBit == 0 {
		g.head.Or(g.headBit)
	}
}

// take makes an idle slot held and returns its handle with the word of the
// lease, or nil. It starts where the last collisions say that this goroutine should.
func (p *Pool[T]) take() (*handle[T], uint64) {
	t := p.table.Load()
	first := 0
	if prefix := p.prefix.Load(); prefix > 1 {
		first = start(prefix, p.salt.Load())
	}
	if first >= len(t.slots) {
		first = 0 // the table was replaced by a shorter one
	}
	s := t.slots[first]
	if word := s.word.Load(); word&stateMask == idle {
		h := s.handle.Load()
		if s.word.CompareAndSwap(word, word+popStep) { // model: pop_fast
			return h, word + popStep
		}
		p.collided()
	}
	return p.search(t, first)
}

// search looks at every slot that may be idle, from first on and round.
func (p *Pool[T]) search(t *table[T], first int) (*handle[T], uint64) {
	if t.groups != nil {
		return p.searchGroups(t, first)
	}
	for _, part := range [2][]*slot[T]{t.slots[first:], t.slots[:first]} {
		for _, s := range part {
			if h, lease := p.tryTake(s); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

// tryTake is take of one slot.
func (p *Pool[T]) tryTake(s *slot[T]) (*handle[T], uint64) {
	word := s.word.Load()
	if word&stateMask != idle {
		return nil, 0
	}
	h := s.handle.Load()
	if !s.word.CompareAndSwap(word, word+popStep) {
		p.collided()
		return nil, 0
	}
	return h, word + popStep
}

// searchGroups is search by the hints: it looks at no slot whose bit is
// clear. It begins in first's group and, there, at first.
func (p *Pool[T]) searchGroups(t *table[T], first int) (*handle[T], uint64) {
	from := first / 64
	for k := range len(t.heads) + 1 {
		// The first head is looked at twice: from first's group on, and at
		// the end for the groups before it.
		h := (from/64 + k) % len(t.heads)
		some := t.heads[h].Load()
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
			if h, lease := p.searchGroup(t, i, turn); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

func (p *Pool[T]) searchGroup(t *table[T], i, turn int) (*handle[T], uint64) {
	g := &t.groups[i]
	some := g.bits.Load()
	if some == 0 {
		pauseCall("head", lockedMaybe)
		g.head.And(^g.headBit) // model: hint_clear
		if some = g.bits.Load(); some == 0 {
			return nil, 0
		}
		g.head.Or(g.headBit)
	}
	for some = bits.RotateLeft64(some, -turn); some != 0; some &= some - 1 {
		in := (bits.TrailingZeros64(some) + turn) % 64
		s := t.slots[i*64+in]
		if h, lease := p.tryTake(s); h != nil {
			return h, lease
		}
		g.bits.And(^(uint64(1) << in)) // model: hint_clear
		if s.word.Load()&stateMask == idle {
			// model: hint_look_again. Without it this slot would be idle
			// with its bit clear, and nobody would ever find it.
			s.hint()
			if h, lease := p.tryTake(s); h != nil {
				return h, lease
			}
		}
	}
	return nil, 0
}

// collided notes that two goroutines wanted one slot at one instant: starts
// are spread over a longer prefix of the slots, and shaken, else the same two
// can meet for good.
func (p *Pool[T]) collided() {
	p.salt.Add(0x9E3779B9)
	size := uint32(len(p.table.Load().slots))
	if prefix := p.prefix.Load(); prefix < size {
		p.prefix.CompareAndSwap(prefix, min(max(2*prefix, 2), size))
	}
}

// start spreads goroutines over the first prefix slots, by the address of
// their stacks: the one thing that tells goroutines apart for nothing.
func start(prefix, salt uint32) int {
	var here byte
	stack := uint32(uintptr(unsafe.Pointer(&here)) >> 11)
	mixed := (stack ^ salt) * 0x9E3779B1
	mixed ^= mixed >> 15
	return int(uint64(mixed*0x85EBCA6B) * uint64(prefix) >> 32)
}
