package pools

import "sync/atomic"

// state is the state of a slot.
type state uint8

const (
	vacant    state = iota // no connection; one may be opened
	opening                // Connector.Open is running
	idle                   // a connection that any Pop may take
	stale                  // idle, and to be checked before it is lent
	held                   // lent
	watched                // held, and its push must take the slow path, see keep.go
	revoked                // held, but RevokeAll or Revoke has ended the lease
	returning              // the pool's: the lease has ended, or the slot was taken out to be closed or checked
	checking               // Connector.Check is running
	resetting              // Connector.Reset is running
	closing                // Connector.Close is running
	hung                   // an abandoned call keeps the slot
	suspected              // stale, because another connection has failed since it was used
	resting                // idle, and only for those who hold the lock: they look at the clock, see resting.go
	states                 // the number of states
)

// stateNames are the states as users see them.
var stateNames = [states]string{
	"vacant", "opening", "idle", "stale", "held", "held", "revoked",
	"returning", "checking", "resetting", "closing", "hung", "stale", "idle",
}

// word is one slot's state, in the low bits, with the number of its latest
// lease above. Popping and pushing are one compare-and-swap of it each.
//
// The number makes an ended lease harmless. A push swaps exactly the word that
// its own pop wrote, and no word occurs twice in a slot, because the number
// only grows. 60 bits last for a lease a nanosecond over 36 years; a number of
// a few bits would wrap around, and an ended lease could pass for a live one.
type word uint64

const (
	stateBits = 4
	stateMask = 1<<stateBits - 1
	oneLease  = word(1) << stateBits

	popStep  = oneLease + word(held-idle) // from idle to the next lease
	pushStep = word(held - idle)          // from held back to idle, same number
)

func (w word) state() state { return state(w & stateMask) }

// lease is the number of the slot's latest lease.
func (w word) lease() uint64 { return uint64(w) >> stateBits }

// with returns w with another state and the same lease number.
func (w word) with(s state) word { return w&^stateMask | word(s) }

// lent reports whether a goroutine holds the connection.
func (w word) lent() bool {
	s := w.state()
	return s == held || s == watched || s == revoked
}

// unused reports whether the slot has a connection that nobody holds and that
// the pool is not working on.
func (w word) unused() bool {
	s := w.state()
	return s == idle || s == stale || s == suspected || s == resting
}

// atomicWord is a word that goroutines change without the lock.
type atomicWord struct{ bits atomic.Uint64 }

func (a *atomicWord) load() word              { return word(a.bits.Load()) }
func (a *atomicWord) swap(from, to word) bool { return a.bits.CompareAndSwap(uint64(from), uint64(to)) }
