package pools_test

import (
	"slices"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
)

// rules lets everything come to rest and checks what must hold then; what is
// due at this instant is done only when some time has passed (slept). The
// server checks the rest at every use: a connection has one user, is closed
// once and not under its user.
func (s *simulation) rules(slept bool) {
	synctest.Wait()
	for _, side := range s.sides {
		side.inOrder()
		side.harvest()
		if slept {
			side.inTime()
		}
		if s.longest == 0 {
			if err := pools.AtRest(side.pool); err != nil {
				s.t.Errorf("%s: at rest: %v", side.name, err)
			}
			side.counts()
		} else {
			side.before = side.pool.Stats()
		}
	}
}

// harvest takes the pops that are over.
func (s *side) harvest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pops = slices.DeleteFunc(s.pops, func(p *pop) bool {
		if p.over {
			p.cancel()
			if p.lease != nil {
				s.held = append(s.held, p.lease)
			}
		}
		return p.over
	})
}

// inOrder: who was served had waited longest, but for the bounded time of a race.
// Only one whose deadline is earlier may overtake, and one for one; but anybody
// may overtake one that had no time left for a typical use.
func (s *side) inOrder() {
	if s.longest > 0 {
		return
	}
	const slack = 4 // turns of waiters whose ctx ended at that instant
	s.need = max(s.need, pools.Need(s.pool))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.pops {
		if p.compared || !p.over || p.lease == nil {
			continue
		}
		p.compared = true
		for k, other := range s.pops {
			if other.over || other.ctx.Err() != nil || p.ended.Sub(other.began) <= time.Millisecond {
				continue
			}
			if !other.deadline.IsZero() && other.deadline.Sub(p.ended) < s.need {
				continue // it may have been passed over
			}
			if i < k {
				other.older++
				continue
			}
			other.younger++
			urgent := !p.deadline.IsZero() && (other.deadline.IsZero() || p.deadline.Before(other.deadline))
			if !urgent || other.younger > other.older+slack {
				s.t.Errorf("%s: pop %d (until %v) was served before %d (until %v), which had waited for %v and was overtaken by %d, while %d were older",
					s.name, p.number, p.deadline, other.number, other.deadline, p.ended.Sub(other.began), other.younger, other.older)
			}
		}
	}
}

// inTime: no Pop waits beyond its ctx or its WaitTimeout, or for a closed
// pool.
func (s *side) inTime() {
	most := s.pool.Settings().WaitTimeout
	for _, p := range s.pops {
		slack := 50 * s.longest // a teller is held up before each of its tokens
		now := time.Now()
		since := p.began
		if now.Sub(s.changed) <= slack {
			since = now // who must go after a shorter WaitTimeout is still being told
		}
		switch {
		case !p.deadline.IsZero() && now.After(p.deadline.Add(slack)):
			s.t.Errorf("%s: pop %d waits for %v after its ctx ended", s.name, p.number, now.Sub(p.deadline))
		case now.Sub(since) > most+slack:
			s.t.Errorf("%s: pop %d has waited for %v, WaitTimeout is %v", s.name, p.number, now.Sub(p.began), most)
		case s.closing && s.longest == 0:
			s.t.Errorf("%s: pop %d waits for a closed pool", s.name, p.number)
		}
	}
}

// counts: the numbers add up, agree with the server's and the program's, and
// only grow.
func (s *side) counts() {
	st, was := s.pool.Stats(), s.before
	s.before = st
	s.mu.Lock()
	defer s.mu.Unlock()
	wrong := func(bad bool, what string) {
		if bad {
			s.t.Errorf("%s: %s: %+v", s.name, what, st)
		}
	}
	sum := st.Vacant + st.Opening + st.Idle + st.Stale + st.Held + st.Revoked + st.Checking + st.Resetting + st.Returning + st.Closing + st.Hung
	wrong(sum != st.Size+st.Excess, "the states do not add up")
	wrong(st.Returning != 0, "at rest, and something is returning")
	wrong(st.Waiting > len(s.pops)+s.busy, "more wait than there are")
	wrong(st.Misused != s.misused, "misuse is not counted right")
	wrong(st.Detached != s.detached, "what was detached is not counted right")
	wrong(st.Lost > s.collected, "more leases are lost than were")
	wrong(st.Leases < s.leases, "leases are missing")
	wrong(s.everyUse && st.Leases != s.observed[pools.EventPopped], "not as many leases as Pops were told")
	wrong(st.Opened > uint64(s.server.Opened()), "more were opened than the server knows of")
	wrong(st.WaitsFailed > st.Waits+uint64(len(s.pops)+s.busy), "more waits failed than there were")
	for _, c := range [][2]uint64{{was.Leases, st.Leases}, {was.Waits, st.Waits}, {was.WaitsFailed, st.WaitsFailed}, {was.Opened, st.Opened},
		{was.OpenErrors, st.OpenErrors}, {was.Closed, st.Closed}, {was.TimedOut, st.TimedOut}, {st.TimedOut, st.WaitsFailed}, {was.Abandonments, st.Abandonments},
		{was.Wait.Count, st.Wait.Count}, {was.Open.Count, st.Open.Count}, {was.Use.Count, st.Use.Count}} {
		wrong(c[0] > c[1], "a counter has fallen")
	}
	closed := uint64(0)
	for reason, n := range st.ClosedBy {
		closed += n
		wrong(was.ClosedBy[reason] > n, "a reason's counter has fallen")
	}
	wrong(closed != st.Closed, "the reasons do not add up")
	for kind, n := range map[pools.EventKind]uint64{
		pools.EventOpened: st.Opened, pools.EventOpenFailed: st.OpenErrors, pools.EventClosed: st.Closed, pools.EventHung: st.Abandonments,
		pools.EventLost: st.Lost, pools.EventMisused: st.Misused, pools.EventUnfinished: st.Unfinished, pools.EventLeaked: st.Leaks,
	} {
		// Who is held up before it tells may not have told yet.
		wrong(s.observed[kind] > n || s.observed[kind] < n && s.longest == 0, "not all was observed: "+string(kind))
	}
	wrong(s.observed[pools.EventReturned] > st.Leaks, "more leaks came back than there were")
	wrong(s.observed[pools.EventPopped] > st.Leases || s.observed[pools.EventPushed] > s.observed[pools.EventPopped], "more was observed than happened")
	wrong(st.Wait.Count != st.Waits || st.Open.Count > st.Opened, "a histogram counts something else")
	// After a smaller Size what is out comes back later; what is open may
	// only become less then.
	open := s.server.IsOpen()
	s.allowed = max(st.Size, min(s.allowed, open+st.Opening+st.Hung))
	if s.pool.Settings().Strict || !s.stormy {
		wrong(open > s.allowed, "more are open than Size")
	}
	s.limit = 0
	s.raise(s.allowed)
}

// raise has the server watch that no more than so many are open at once, from
// now on. What is abandoned does not count.
func (s *side) raise(size int) {
	s.limit = max(s.limit, size)
	if s.longest > 0 || s.stormy {
		s.server.Limit(0)
	} else {
		s.server.Limit(s.limit)
	}
}
