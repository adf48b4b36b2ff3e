package pools

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// How long connections are lent is measured of some leases only: a clock costs
// more than all else that a Pop does. Samples become fewer while they come
// fast, and more when they do not, so that a slow pool measures every use and
// a fast one one in a million. A lease that is timed, or whose holder is
// tracked or observed, is marked watched by its own Pop, so that its end goes
// the slow way; see keeping.go.
const (
	sampleGap   = int64(5 * time.Millisecond) // samples that come faster than this are too many
	everySample = math.MaxUint64
	fewSamples  = everySample >> 30
)

// sampled reports whether the use of a lease is timed: whether its place on a
// circle is in the first part of it. From lease to lease of a slot the place
// moves on by the golden ratio (the number begins at bit 4), which spreads any
// part evenly over the leases, and in step with no rhythm of a load; each
// slot begins at another place.
func (p *Pool[T]) sampled(h *handle[T], lease word) bool {
	const golden, silver = 0x9E3779B97F4A7C15 >> stateBits, 0xD413CCCFE7799215
	return uint64(lease)*golden+uint64(h.slot.index)*silver <= p.sampling.Load()
}

// timing is the part of the pool that the samples own.
type timing struct {
	sampledAt int64 // when the last use began that is timed
}

// timedUse is a lease whose use is being timed, under the pool's lock.
type timedUse struct {
	lease  uint64 // its number; 0: none
	from   int64
	weight uint64 // how many leases it stands for
}

// everyUse reports whether somebody wants to know of each.
func (p *Pool[T]) everyUse() bool {
	return p.observes(EventPopped) || p.observes(EventPushed)
}

// lend does for a lease that begins what somebody wants to know of it. since
// is when its Pop began to wait; 0: it did not.
func (p *Pool[T]) lend(conn Conn[T], since int64) {
	track, timed := p.gate.has(gateTracking), p.sampled(conn.handle, conn.lease)
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
	if timed && p.sampled(conn.handle, conn.lease) { // others may have made it seldom meanwhile
		s.use = timedUse{conn.lease.lease(), p.now(), p.weight()}
		if p.observes(EventPopped) {
			e := Event{Kind: EventPopped}
			if since != 0 {
				e.Took = time.Duration(p.now() - since)
			}
			p.happen(e, conn.handle.conn, nil)
		}
	}
	p.move(&s.cell, conn.lease, conn.lease.with(watched)) // model: watch; else it was revoked
	p.unlockFor(conn)
}

// unlockFor is unlock in a Pop that is about to return conn, or an error and a
// zero one. If an Observer does not return, nor does the Pop: then conn goes
// back.
func (p *Pool[T]) unlockFor(conn Conn[T]) {
	p.unlockOr(func() { _ = conn.Push() })
}

// unlockOr is unlock in a call whose result nobody gets if an Observer does not
// return: undo takes it back then.
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

// weight returns how many leases the one that is about to be timed stands
// for, and lets the next ones stand for more when they come too fast.
func (p *Pool[T]) weight() uint64 {
	part := p.sampling.Load()
	if !p.everyUse() && p.sampledAt != 0 && p.now()-p.sampledAt < sampleGap && part > fewSamples {
		p.sampling.Store(part >> 1)
	}
	p.sampledAt = p.now()
	return 1 << bits.LeadingZeros64(part)
}

// sampleMore lets samples stand for fewer leases when they come seldom.
func (p *Pool[T]) sampleMore() {
	if p.now()-p.sampledAt > 20*sampleGap && !unsampled.Load() {
		p.sampling.Store(p.sampling.Load()<<2 | 3)
	}
}

// unsampled is set by tests only: then no use is timed but for an Observer,
// and each push may go the fast way, which in a slow pool none does.
var unsampled atomic.Bool

// useEnded is the rest of lend, when the lease ends. It returns how long the
// use took, or less than 0.
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
	if used >= 0 && p.observes(EventPushed) {
		p.happen(Event{Kind: EventPushed, Took: time.Duration(used)}, c.handle.conn, nil)
	}
}

// waited tells an Observer of a wait that has ended.
func (p *Pool[T]) waited(conn Conn[T], since int64, err error) {
	p.lock()
	if p.observes(EventWaited) {
		p.happen(Event{Kind: EventWaited, Took: time.Duration(p.now() - since), Err: err}, nil, nil)
	}
	p.unlockFor(conn)
}
