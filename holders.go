package pools

import (
	"iter"
	"time"
)

// With TrackHolders, each Pop leaves its stack and the number of its goroutine in
// the slot, with the number of its lease.

// Holder describes a connection that is lent, and who took it. Goroutine and
// Stack are known only with TrackHolders.
type Holder struct {
	ID        string
	Goroutine uint64 // its number in goroutine dumps; 0: unknown
	Stack     string // of the Pop
}

// heldBy counts the connections that a goroutine holds.
func (p *Pool[T]) heldBy(goroutine uint64) (n int) {
	p.lock()
	defer p.unlock()
	return p.byGoroutine[goroutine]
}

// Connection describes one connection of a pool at the moment of a call of
// [Pool.Connections].
type Connection struct {
	ID    string
	Slot  int    // the index of its slot, from 0; it never changes
	State string // idle, stale, held, revoked, returning, checking, resetting or closing
	Age   time.Duration
	Uses  int
	// For is how long it has been lent, or not lent. This is a lower bound: the
	// keeper notices a change only at its next look, up to a second later.
	For       time.Duration
	Goroutine uint64 // the holder's, and the stack of its Pop; see Holder
	Stack     string
}

// Connections returns all open connections as they were when the iteration
// began. The pool's lock is held only at that moment, for some nanoseconds per
// slot.
func (p *Pool[T]) Connections() iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		now, all := p.glance()
		texts := make(map[[stackDepth]uintptr]string) // few stacks are usually distinct
		for _, g := range all {
			c := Connection{
				ID: connectionID(p.name, g.conn.number), Slot: g.slot, State: stateNames[g.word.state()],
				Age: time.Duration(now - g.conn.openedAt), Uses: uses(g.word, g.conn.before),
				For: time.Duration(now - g.since),
			}
			if h := g.taker; h != nil {
				text, known := texts[h.stack]
				if !known {
					text = h.text()
					texts[h.stack] = text
				}
				c.Goroutine, c.Stack = h.goroutine, text
			}
			if !yield(c) {
				return
			}
		}
	}
}

// glimpse is what Connections reads of a slot under the lock. Formatting happens
// after unlock.
type glimpse[T any] struct {
	conn  *connection[T]
	word  word
	since int64
	taker *taker
	slot  int
}

func (p *Pool[T]) glance() (now int64, all []glimpse[T]) {
	if !p.gate.has(gateMade) {
		return 0, nil
	}
	p.lock()
	defer p.unlock()
	now = p.now()
	for _, s := range p.table.Load().slots {
		if s.conn == nil {
			continue
		}
		g := glimpse[T]{s.conn, s.word.load(), now, nil, s.index}
		if s.sinceSeen(g.word) {
			g.since = s.seenAt
		}
		g.taker = s.takerOf(g.word)
		all = append(all, g)
	}
	return now, all
}
