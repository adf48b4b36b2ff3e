package pools

import (
	"sync"
	"time"
)

// eldest is the holder that has held its connection for longest, as the keeper's
// look or a Pop that failed has found it. It stays the longest until its lease
// ends, so ten thousand Pops that fail at once look for it once.
type eldest struct {
	slot  int // -1: nobody holds one
	lease uint64
	since int64 // the lease had begun by then
	known bool  // the keeper has seen it, or its use is timed
	taker *taker
	at    int64 // when it was found

	lent lentConn

	write sync.Once
	text  Connection // written out by the first error that needs it
}

// lentConn is what eldest knows of the connection.
type lentConn struct {
	number   uint64
	openedAt int64
	uses     int
}

func (c *connection[T]) lent(w word) lentConn {
	return lentConn{c.number, c.openedAt, uses(w, c.before)}
}

// nameEldest tells the error of a Pop who has held a connection for longest.
// slots are the pool's. It is called without the lock. With few slots it looks at
// them all if the one that it knows has come back. With many it knows only the one
// that the keeper has found.
func nameEldest[T any](p *Pool[T], e *PopError, slots []*slot[T]) {
	now := p.clock()
	o := p.eldest.Load()
	holds := o != nil && o.slot >= 0 && o.slot < len(slots) && o.isOf(slots[o.slot].word.load())
	switch {
	case len(slots) > fewSlots:
		if !holds {
			return
		}
	case !holds || !o.known && now-o.at >= countEvery: // the keeper may have looked meanwhile
		o = findEldest(p)
	}
	if o.slot < 0 {
		return
	}
	o.write.Do(func() {
		o.text = Connection{ID: connectionID(p.name, o.lent.number), Slot: o.slot, State: stateNames[held], Uses: o.lent.uses}
		if h := o.taker; h != nil {
			o.text.Goroutine, o.text.Stack = h.goroutine, h.text()
		}
	})
	e.Oldest = o.text
	e.Oldest.For, e.Oldest.Age = time.Duration(max(now-o.since, 0)), time.Duration(now-o.lent.openedAt)
	if o.slot < len(slots) && slots[o.slot].word.load().state() == revoked {
		e.Oldest.State = stateNames[revoked]
	}
}

// findEldest looks at all slots of a pool that has few.
func findEldest[T any](p *Pool[T]) *eldest {
	p.lock()
	defer p.unlock()
	o := &eldest{slot: -1}
	slots := p.table.Load().slots
	for _, s := range slots[:min(len(slots), fewSlots)] {
		if w := s.word.load(); w.lent() {
			o.consider(&s.cell, w, s.conn.lent(w), p.now())
		}
	}
	p.eldest.Store(o)
	return o
}

// isOf reports whether w is the word of a slot whose lease is this one.
func (o *eldest) isOf(w word) bool { return w.lent() && w.lease() == o.lease }

// consider notes the slot with word w, which is lent, if it has been lent for
// longer than the one noted before. Under the lock.
func (o *eldest) consider(c *cell, w word, lent lentConn, now int64) {
	since, known := now, false
	switch {
	case c.use.lease == w.lease():
		since, known = c.use.from, true
	case c.sinceSeen(w):
		since, known = c.seenAt, true
	}
	if o.slot < 0 || known && (!o.known || since < o.since) {
		o.slot, o.lease, o.since, o.known, o.taker, o.at, o.lent = c.index, w.lease(), since, known, c.takerOf(w), now, lent
	}
}
