package pools

import (
	"fmt"
	"iter"
	"path"
	"strings"
	"time"
)

// With TrackHolders each Pop leaves its stack in the slot, with TrackGoroutines the
// number of its goroutine, and the number of its lease with both.

// Connection describes one connection of a pool at one moment: that of a call of
// [Pool.Connections], or of an error that names it.
type Connection struct {
	ID    string
	Slot  int           // the index of its slot, from 0; it never changes
	State string        // idle, stale, held, revoked, returning, checking, resetting or closing
	Age   time.Duration `json:"AgeNanoseconds"`
	Uses  int
	// For is how long it has been lent, or not lent. This is a lower bound: the
	// keeper notices a change only at its next look, up to a second later.
	For       time.Duration `json:"ForNanoseconds"`
	Goroutine uint64        // the holder's, as goroutine dumps number it; with TrackGoroutines
	Stack     string        // of the Pop, with TrackHolders
}

// String is the connection in one line. Of the stack it has the place at which the
// holder took the connection.
func (c Connection) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s for %s, age %s, uses %d, slot %d", oneLine(c.ID), c.State, roundly(c.For), roundly(c.Age), c.Uses, c.Slot)
	if c.Goroutine != 0 {
		fmt.Fprintf(&b, ", goroutine %d", c.Goroutine)
	}
	if c.Stack != "" {
		b.WriteString(", taken at " + oneLine(place(c.Stack)))
	}
	return b.String()
}

// place returns the first function of a stack that is not of this package, without
// its path, and where it is: "main.serve main.go:12".
func place(stack string) string {
	lines := strings.Split(stack, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if !ours(lines[i]) {
			return path.Base(lines[i]) + " " + path.Base(lines[i+1])
		}
	}
	return ""
}

// Connections returns all open connections as they were when the iteration
// began. The pool's lock is held only at that moment, for some nanoseconds per
// slot.
func (p *Pool[T]) Connections() iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		now, all := p.glance()
		texts := make(stackTexts)
		for _, g := range all {
			if !yield(g.connection(p.name, now, texts)) {
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
		if s.conn != nil {
			all = append(all, s.glance(now))
		}
	}
	return now, all
}

func (s *slot[T]) glance(now int64) glimpse[T] {
	w := s.word.load()
	g := glimpse[T]{s.conn, w, now, s.takerOf(w), s.index}
	if s.sinceSeen(w) {
		g.since = s.seenAt
	}
	return g
}

func (g *glimpse[T]) connection(pool string, now int64, texts stackTexts) Connection {
	c := Connection{
		ID: connectionID(pool, g.conn.number), Slot: g.slot, State: stateNames[g.word.state()],
		Age: time.Duration(max(now-g.conn.openedAt, 0)), Uses: uses(g.word, g.conn.before),
		For: time.Duration(max(now-g.since, 0)),
	}
	if h := g.taker; h != nil {
		c.Goroutine, c.Stack = h.goroutine, texts.of(h)
	}
	return c
}

// stackTexts formats each stack once: few are usually distinct.
type stackTexts map[[stackDepth]uintptr]string

func (s stackTexts) of(h *taker) string {
	text, known := s[h.stack]
	if !known {
		text = h.text()
		s[h.stack] = text
	}
	return text
}
