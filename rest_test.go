package pools

import (
	"errors"
	"fmt"
)

// AtRest returns what is wrong with a pool while every goroutine of its
// bubble is blocked: then whatever can be handed out has been, and all that
// the lock guards agrees with itself.
func AtRest[T any](p *Pool[T]) error {
	p.lock()
	defer p.unlock()
	var faults []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	var are [states]int
	for _, s := range p.table.Load().slots {
		are[s.word.load().state()]++
	}
	unused := are[idle] + are[stale] + are[suspected] + are[resting]
	n, gate := p.queue.len, p.gate.load()
	live := 0
	queued := make(map[*waiter[T]]bool)
	for w := p.queue.first; w != nil; w = w.next {
		queued[w] = true
		if !w.ended() {
			live++
		}
		wrong(w.told || len(w.token) > 0, "a waiter in the queue was told")
	}
	timely, urgent, passed := 0, 0, 0
	for w := p.queue.timely.first; w != nil; w = w.line.next {
		timely++
		wrong(!queued[w] || w.passedOver, "in line, but not in the queue or passed over")
		wrong((w.deadline != 0) != (w.urgent != 0), "deadline %d, place in the heap %d", w.deadline, w.urgent)
		if w.urgent != 0 {
			urgent++
			wrong(p.queue.urgent[w.urgent-1] != w, "another has its place in the heap")
		}
	}
	for w := p.queue.passed.first; w != nil; w = w.line.next {
		passed++
		wrong(!queued[w] || !w.passedOver || w.urgent != 0, "passed over, but not in the queue, or in the heap")
	}
	wrong(timely+passed != n || urgent != len(p.queue.urgent), "%d with time, %d passed over, %d urgent of %d; %d wait", timely, passed, urgent, len(p.queue.urgent), n)
	wrong(len(queued) != n, "%d wait, %d were counted", len(queued), n)
	wrong(live != n, "%d waiters' ctx ended and they are still there", n-live)
	if n > 0 && !p.closed {
		wrong(are[idle]+are[resting] > 0 && !p.paused, "%d wait beside %d idle ones", n, are[idle]+are[resting])
		wrong(are[stale]+are[suspected] > 0 && p.forWaiters < n && !p.paused && !p.checks.spent(p.now(), p.settings.CheckTimeout), "%d wait beside %d that should be checked", n, are[stale]+are[suspected])
		room := p.settings.Size - p.taken()
		hopes := p.in[opening] + p.aboutIdle()
		if p.failingSince != 0 {
			hopes -= p.byKeeper
		}
		wrong(room > 0 && p.in[opening] < p.pace.window && n > hopes && !p.pace.down() && !p.paused && p.pace.nextTry <= p.now(),
			"%d wait beside room for %d, %d opens and a window of %d", n, room, p.in[opening], p.pace.window)
		wrong(p.alarm.at == 0, "%d wait and no alarm is set", n)
		wrong(p.pace.down() && !p.probing && room > 0 && !p.paused && gate&gateSweeping == 0 && p.pace.probeDue(true, false) < p.now(),
			"%d wait beside room for %d, and the try that is due has not begun", n, room)
		wrong(p.pace.down() && !p.paused && p.in[closing] == 0 && !p.hope(), "%d wait without hope", n) // the end of a close refuses them
	}
	wrong(p.pace.leaving < 0 || p.calls.running == 0 && p.pace.leaving != 0, "%d closes are under way, %d make room", p.in[closing], p.pace.leaving)
	wrong(gate&gateProving != 0 && p.pace.breaks == 0, "no first use has to prove anything, and the gate says so")
	size, taken := p.settings.Size, p.taken()
	wrong(p.excess(size) > 0 && unused > 0, "%d are too many and %d are idle", p.excess(size), unused)
	wrong(p.excess(size) > 0 && gate&gateShrunk == 0, "%d are too many and the gate does not say so", p.excess(size))
	wrong(taken > size+are[opening]+are[closing] && unused > 0 && !p.closed, "%d are taken, Size is %d, and %d are idle", taken, size, unused)
	wrong(taken <= size && gate&gateShrunk != 0 && !p.closed, "nothing is too many and the gate says shrunk")
	wrong((gate&gatePaused != 0) != p.paused, "paused: %v, and the gate says so: %v", p.paused, gate&gatePaused != 0)
	slots := p.table.Load().slots
	wrong(p.slots != len(slots), "%d slots, %d were counted", len(slots), p.slots)
	var counted [states]int
	for s, n := range are {
		counted[class[s]] += n
	}
	wrong(counted != p.in, "the slots are %v, %v were counted", counted, p.in)
	open := taken - are[opening] - are[hung]
	wrong(open > 0 && !p.closed && p.keeper.at == 0, "%d are open and the keeper sleeps", open)
	wrong(are[resting] > 0 && gate&gateResting == 0, "%d rest and the gate does not say so", are[resting])
	for i, s := range slots {
		w := s.word.load()
		wrong(s.index != i, "slot %d is at %d", s.index, i)
		wrong((s.generation != 0) != (s.conn != nil || w.state() == opening), "slot %d is of generation %d, state %d", i, s.generation, w.state())
		wrong((p.vacancies.next(i) == i) != (w.state() == vacant), "slot %d is of state %d, vacant: %v", i, w.state(), p.vacancies.next(i) == i)
		wrong((p.rested.next(i) == i) != (w.state() == resting), "slot %d is of state %d, resting: %v", i, w.state(), p.rested.next(i) == i)
		wrong((p.stales.next(i) == i) != (w.state() == stale) || (p.suspects.next(i) == i) != (w.state() == suspected), "slot %d is of state %d: %v, %v", i, w.state(), p.stales.next(i) == i, p.suspects.next(i) == i)
	}
	for _, r := range p.refreshes {
		left := 0
		for _, s := range p.table.Load().slots {
			if s.generation != 0 && s.generation < r.generation {
				left++
			}
		}
		wrong(left != r.left, "a Refresh has %d left, %d were counted", left, r.left)
	}
	wrong(n > 0 && p.closed, "%d wait for a closed pool", n)
	wrong(p.racer != nil || gate&gateRacing != 0, "somebody races")
	wrong((gate&gateQueueing != 0) != (n > 0), "%d wait and the gate says queueing: %v", n, gate&gateQueueing != 0)
	wrong(gate&gateStarving != 0 && n == 0, "nobody waits and the gate says starving")
	wrong(p.told.first != nil || p.told.last != nil, "somebody is to be told")

	spare := make(map[*waiter[T]]bool)
	for w := p.spares.first; w != nil && !spare[w]; w = w.next {
		spare[w] = true
		wrong(queued[w], "a spare waiter is in the queue")
		if !w.back.Load() {
			wrong(true, "a waiter's Pop has not come back")
			continue // its fields are the Pop's
		}
		wrong(len(w.token) > 0, "a spare waiter has a token")
		wrong(w.ctx != nil || w.handle != nil || w.err != nil || w.nextTold != nil, "a spare waiter keeps something alive")
		wrong(w.next == nil && w != p.spares.last, "the last spare waiter is not the last")
	}
	wrong(len(spare) != p.spares.len, "%d are spare, %d were counted", len(spare), p.spares.len)
	return errors.Join(faults...)
}
