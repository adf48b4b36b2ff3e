package pools

import "time"

// timedUse is a lease whose use is being timed. Under the pool's lock.
type timedUse struct {
	lease  uint64 // its number; 0: none
	from   int64
	weight uint64 // the number of leases that it stands for
}

// lend records and reports the beginning of a lease, if it is tracked, timed or
// observed. since is when its Pop began to wait; 0: it did not wait.
func (p *Pool[T]) lend(conn Conn[T], since int64) {
	track, timed := p.gate.has(gateTracking), p.sampling.sampled(conn.handle.slot.index, conn.lease)
	if !track && !timed {
		return
	}
	var h *taker
	if track {
		h = newTaker(conn.lease)
	}
	p.lock()
	s := conn.handle.slot
	if h != nil {
		p.takers.record(&s.cell, h)
		s.conn.trace.taker.Store(h)
	}
	if timed && p.sampling.sampled(conn.handle.slot.index, conn.lease) { // asked again: samples may have become rarer meanwhile
		s.use = timedUse{conn.lease.lease(), p.now(), p.sampling.weight(p.now(), p.settings.Observer.everyUse())}
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

// useEnded records the end of a lease that lend has recorded. It returns how long
// the use took, or less than 0 if it was not timed.
func (p *Pool[T]) useEnded(s *slot[T], c Conn[T], at int64) int64 {
	p.takers.forget(&s.cell)
	if s.use.lease != c.lease.lease() {
		return -1
	}
	used := max(at-s.use.from, 0)
	p.useTimes.add(used, s.use.weight)
	s.use.lease = 0
	return used
}

// tellPushed tells an Observer of a use that has ended.
func (p *Pool[T]) tellPushed(c Conn[T], used int64) {
	if used >= 0 && p.settings.Observer.wants(EventPushed) {
		p.happen(Event{Kind: EventPushed, Took: time.Duration(used)}, c.handle.conn, nil)
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
