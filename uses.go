package pools

import (
	"context"
	"time"
)

// timedUse is a lease whose use is being timed. Under the pool's lock.
type timedUse struct {
	lease  uint64 // its number; 0: none
	from   int64
	rare   uint8 // it stands for two to the power of this many leases
	urgent bool  // its Pop had a deadline
}

// hurries reports whether the Pop that took conn had a deadline. The ctx's method
// is user code: if it panics, the connection goes back.
func hurries[T any](ctx context.Context, conn Conn[T]) bool {
	asked := false
	defer func() {
		if !asked {
			_ = conn.Push()
		}
	}()
	_, ok := ctx.Deadline()
	asked = true
	return ok
}

// lend records and reports the beginning of a lease, if it is tracked, timed or
// observed. urgent says that its Pop had a deadline. since is when its Pop began
// to wait; 0: it did not wait.
func (p *Pool[T]) lend(conn Conn[T], urgent bool, since int64) {
	track, timed := p.gate.has(gateTracking), p.sampling.sampled(conn.handle.slot.index, conn.lease)
	if !track && !timed {
		return
	}
	var h *taker
	if track {
		h = p.takers.describe(conn.lease)
	}
	p.lock()
	s := conn.handle.slot
	if h != nil {
		p.takers.record(&s.cell, h)
		s.conn.trace.taker.Store(h)
	}
	if timed && p.sampling.sampled(conn.handle.slot.index, conn.lease) { // asked again: samples may have become rarer meanwhile
		s.use = timedUse{conn.lease.lease(), p.now(), p.sampling.rare(p.now(), p.settings.Observer.everyUse()), urgent}
		if p.settings.Observer.wants(EventPopped) {
			e := Event{Kind: EventPopped}
			if since != 0 {
				e.Took = time.Duration(p.now() - since)
			}
			p.happen(e, conn.handle.conn, nil)
		}
	}
	p.move(&s.cell, conn.lease, conn.lease.with(watched)) // model: watch; fails if it was revoked
	p.unlockOr(func() { _ = conn.Push() })
}

// unlockOr is unlock in a call whose result is lost if an Observer does not
// return (it may panic or call Goexit): then undo takes the result back.
func (p *Pool[T]) unlockOr(undo func()) {
	told := false
	defer func() {
		if !told {
			undo()
		}
	}()
	p.unlock()
	told = true
}

// endedUse is what is told of a use that has ended.
type endedUse struct {
	took   int64  // less than 0: it was not timed
	leaked int64  // how long it lasted, at least, if it was told as leaked; 0: it was not
	taker  *taker // with TrackHolders and the like
}

var untimed = endedUse{took: -1}

// useEnded records the end of a lease that lend has recorded, or that has leaked.
func (p *Pool[T]) useEnded(s *slot[T], c Conn[T], at int64) endedUse {
	used := untimed
	used.taker = s.takerOf(c.lease)
	if s.reported == c.lease.lease() {
		used.leaked = max(at-s.seenAt, 1)
	}
	p.takers.forget(&s.cell)
	if s.use.lease == c.lease.lease() {
		used.took = max(at-s.use.from, 0)
		p.useTimes.add(used.took, 1<<s.use.rare)
		s.use.lease = 0
	}
	return used
}

// tellPushed tells an Observer of a use that has ended.
func (p *Pool[T]) tellPushed(c Conn[T], used endedUse) {
	if used.leaked > 0 {
		p.happen(Event{Kind: EventReturned, Took: time.Duration(used.leaked)}, c.handle.conn, used.taker)
	}
	if used.took >= 0 && p.settings.Observer.wants(EventPushed) {
		p.happen(Event{Kind: EventPushed, Took: time.Duration(used.took)}, c.handle.conn, nil)
	}
}

// waited tells an Observer of a wait that has ended.
func (p *Pool[T]) waited(conn Conn[T], since int64, err error) {
	p.lock()
	if p.settings.Observer.wants(EventWaited) {
		p.happen(Event{Kind: EventWaited, Took: time.Duration(p.now() - since), Err: err}, nil, nil)
	}
	p.unlockOr(func() { _ = conn.Push() })
}
