package pools

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

// slot is a place for one connection. Only its word is shared. The other
// fields belong to the owner that the word names: the pool (under its lock)
// while the slot is vacant or the pool works on it, the holder while it is
// held. They are written before the word that publishes them.
type slot[T any] struct {
	cell

	// handle is the connection's handle while the slot is idle or held, so that
	// the fast path allocates nothing; nil once a lease has lasted for a second.
	// A Pop reads it before its swap, because the keeper may clear it after the
	// swap. If the swap succeeds the handle was the right one, since no word
	// occurs twice in a slot: an open takes a lease number of its own.
	handle atomic.Pointer[handle[T]]
	conn   *connection[T] // nil when vacant or opening

	// The size is 128 bytes, without padding: neighbours on one cache line, or
	// on two that are fetched as a pair, would slow each other down.
}

// cell is the part of a slot that does not depend on the resource's type.
type cell struct {
	word atomicWord

	// hints is where to note that this slot is idle, in a table with many
	// slots. Only a new table changes it. A push that still uses the old hints
	// does no harm: all bits of new hints are set, so whoever clears this slot's
	// bit has looked at the slot since.
	hints atomic.Pointer[hints]
	index int

	kept // the keeper's notes

	taker *taker // with TrackHolders and the like; under the pool's lock
	use   timedUse
}

// kept is what the pool notes about a slot and its connection. Under the lock.
type kept struct {
	seen       word   // at the keeper's last look
	seenAt     int64  // when the slot was first seen with this lease number and lent, or not lent
	checkedAt  int64  // when the connection was last checked, plus calendar.slept then; 0: never
	refreshAt  int64  // when a Refresh wants it replaced; 0: no Refresh does
	generation uint64 // refresh generation when its open began (the first is 1); 0: no connection
	reported   uint64 // the lease that was last reported as a leak
	expired    bool   // its lifetime is over
}

// sinceSeen reports whether a slot with this word has been lent, or not lent,
// since seenAt without interruption.
func (k *kept) sinceSeen(w word) bool {
	return w.lease() == k.seen.lease() && w.lent() == k.seen.lent()
}

// connection is a resource in its slot. It never changes, except for its
// trace, and for seenSlept and streak, which are under the lock.
type connection[T any] struct {
	resource  T
	number    uint64 // process-wide, for the ID
	openedAt  int64  // on the pool's clock
	slept     int64  // calendar.slept at openedAt
	seenSlept int64  // the same at slot.seenAt
	streak    streak
	before    uint64 // the slot's lease number when it was opened
	trace     *trace
	cleanup   runtime.Cleanup
}

// trace is what the garbage collector and the pool share about a connection.
// Neither the pool nor the connection can be reached from it.
type trace struct {
	lost  atomic.Bool           // set by the collector, read by the keeper
	taker atomic.Pointer[taker] // the one that is in the profile
}

// handle is what a lease refers to. There is one per connection, reachable only
// from the slot and from leases: when the slot has let go of it and no lease is
// left, the collector reports the lease as lost.
type handle[T any] struct {
	slot *slot[T]
	pool *Pool[T]
	conn *connection[T]
}

// uses is how often a connection has been lent: its slot's word is w, and before
// was the slot's lease number when the connection was opened.
func uses(w word, before uint64) int { return int(min(w.lease()-before, math.MaxInt)) }

var (
	connections atomic.Uint64                        // opened in this process
	process     = fmt.Sprintf("%06x", rand.N(1<<24)) // tells processes apart in IDs
)

func connectionID(pool string, number uint64) string {
	return pool + "-" + process + "-" + strconv.FormatUint(number, 10)
}

// connectionNumber returns the number of the connection with that ID, if the ID
// is of this process and of a pool of this name.
func connectionNumber(pool, id string) (uint64, bool) {
	i := strings.LastIndexByte(id, '-') + 1
	number, err := strconv.ParseUint(id[i:], 10, 64)
	return number, err == nil && id == connectionID(pool, number)
}

// takeOwned makes a slot that only the pool can move held by a new lease. It
// returns what the holder gets. Under the lock.
func (s *slot[T]) takeOwned(c *census) (*handle[T], word) {
	w := s.word.load()
	lease := (w + oneLease).with(held)
	c.move(&s.cell, w, lease)
	return s.handle.Load(), lease
}
