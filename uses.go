package pools

import (
	"math"
	"math/bits"
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

// sampled reports whether the use of a lease is timed: whether its word,
// scattered, is in the first part of all numbers. Scattered, since what is
// used in a rhythm would else be met at one beat only.
func (p *Pool[T]) sampled(lease uint64) bool {
	return lease*0x9E3779B97F4A7C15 <= p.sampling.Load()
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
	track, timed := p.gate.Load()&tracking != 0, p.sampled(conn.lease)
	if !track && !timed {
		return
	}
	var h *holder
	if track {
		h = newHolder(conn.lease)
	}
	p.lock()
	defer p.unlock()
	s := conn.handle.slot
	if h != nil {
		s.holder = h
	}
	if timed {
		s.use = timedUse{leases(conn.lease), p.now(), p.weight()}
		if p.observes(EventPopped) {
			e := Event{Kind: EventPopped}
			if since != 0 {
				e.Took = time.Duration(p.now() - since)
			}
			p.happen(e, conn.handle.conn, nil)
		}
	}
	s.word.CompareAndSwap(conn.lease, with(conn.lease, watched)) // model: watch; else it was revoked
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
	if p.now()-p.sampledAt > 20*sampleGap {
		p.sampling.Store(p.sampling.Load()<<2 | 3)
	}
}

// useEnded is the rest of lend, when the lease ends.
func (p *Pool[T]) useEnded(s *slot[T], c Conn[T]) {
	s.forget()
	if s.use.lease != leases(c.lease) {
		return
	}
	took := p.now() - s.use.from
	p.useTimes.add(took, s.use.weight)
	s.use.lease = 0
	if p.observes(EventPushed) {
		p.happen(Event{Kind: EventPushed, Took: time.Duration(took)}, c.handle.conn, nil)
	}
}

// waited tells an Observer of a wait that has ended.
func (p *Pool[T]) waited(since int64, err error) {
	if e, ok := err.(*PopError); ok && e.Waited == 0 {
		return // it was refused at once
	}
	p.lock()
	defer p.unlock()
	if p.observes(EventWaited) {
		p.happen(Event{Kind: EventWaited, Took: time.Duration(p.now() - since), Err: err}, nil, nil)
	}
}
