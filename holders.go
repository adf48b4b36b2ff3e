package pools

import (
	"bytes"
	"fmt"
	"iter"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// Who holds what: with TrackHolders each Pop leaves its stack and the number
// of its goroutine in the slot, with the lease they belong to.

// Holder is a connection that is lent, and who took it. Goroutine and Stack
// are known with TrackHolders only.
type Holder struct {
	ID        string
	Goroutine uint64 // its number in goroutine dumps; 0: not known
	Stack     string // of the Pop
}

// taker is the Pop that took a connection, as TrackHolders records it. It is
// not changed afterwards.
type taker struct {
	lease     uint64
	goroutine uint64
	depth     int
	stack     [stackDepth]uintptr
}

const stackDepth = 32

// profile shows the holders of all pools to /debug/pprof and its tools.
var profile = holderProfile()

func holderProfile() *pprof.Profile {
	const name = "pools"
	if p := pprof.Lookup(name); p != nil {
		return p // another major version of this package is in the program
	}
	return pprof.NewProfile(name)
}

// newTaker is the Pop that calls it.
func newTaker(lease word) *taker {
	h := &taker{lease: lease.lease(), goroutine: goroutineID()}
	h.depth = runtime.Callers(3, h.stack[:])
	profile.Add(h, 3)
	return h
}

// forget lets go of the slot's taker.
func (c *cell) forget() {
	if c.taker != nil {
		profile.Remove(c.taker)
		c.taker = nil
	}
}

// lose is called by the collector when no lease is left, or no pool.
func (t *trace) lose() {
	t.lost.Store(true)
	if h := t.taker.Load(); h != nil {
		profile.Remove(h) // also of a pool that was dropped, and removes nothing itself
	}
}

// takerOf returns the Pop whose lease w is, or nil if it is not lent or the Pop
// is not known. Under the lock.
func (c *cell) takerOf(w word) *taker {
	if h := c.taker; w.lent() && h != nil && h.lease == w.lease() {
		return h
	}
	return nil
}

// holderOf is the same for users, with the connection's ID.
func (p *Pool[T]) holderOf(s *slot[T], w word) Holder {
	of := Holder{ID: p.id(s.conn)}
	if h := s.takerOf(w); h != nil {
		of.Goroutine, of.Stack = h.goroutine, h.text()
	}
	return of
}

// heldBy counts the connections that a goroutine holds.
func (p *Pool[T]) heldBy(goroutine uint64) (n int) {
	p.lock()
	defer p.unlock()
	for _, s := range p.table.Load().slots {
		if h := s.takerOf(s.word.load()); h != nil && h.goroutine == goroutine {
			n++
		}
	}
	return n
}

// goroutineID returns the number of this goroutine. The runtime tells it only
// at the head of a stack trace: "goroutine 7 [running]:".
func goroutineID() uint64 {
	var head [40]byte
	digits := bytes.TrimPrefix(head[:runtime.Stack(head[:], false)], []byte("goroutine "))
	id := uint64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			break
		}
		id = id*10 + uint64(d-'0')
	}
	return id
}

// text writes the stack as panics do: function, file and line. It begins with
// the function of this package that the user called.
func (h *taker) text() string {
	var b strings.Builder
	frames := runtime.CallersFrames(h.stack[:h.depth])
	ours := true
	for more := h.depth > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if ours = ours && strings.HasPrefix(frame.Function, "github.com/utopia-go/pools."); ours {
			b.Reset()
		}
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
	}
	return b.String()
}

// Connection is what one connection of a pool was at the moment of a
// [Pool.Connections].
type Connection struct {
	ID    string
	Slot  int    // its place among all, from 0; it keeps it
	State string // idle, stale, held, revoked, returning, checking, resetting or closing
	Age   time.Duration
	Uses  int
	// For is how long it has been lent, or not lent: at least, since the
	// keeper saw it only at its last look, up to a second ago.
	For       time.Duration
	Goroutine uint64 // that holds it, and the stack of its Pop: see Holder
	Stack     string
}

// Connections returns all open connections as they were at one moment, when
// the iteration began. The pool's lock is held for that moment only, some
// nanoseconds a slot.
func (p *Pool[T]) Connections() iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		now, all := p.glance()
		texts := make(map[[stackDepth]uintptr]string) // mostly they are few
		for _, g := range all {
			c := Connection{
				ID: p.id(g.conn), Slot: g.slot, State: stateNames[g.word.state()],
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

// glimpse is what Connections reads of a slot under the lock. The rest is
// written out afterwards.
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
