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
		are[s.word.Load()&stateMask]++
	}
	n, gate := p.queue.len, p.gate.Load()
	live := 0
	queued := make(map[*waiter[T]]bool)
	for w := p.queue.first; w != nil; w = w.next {
		queued[w] = true
		if w.ctx.Err() == nil {
			live++
		}
		wrong(w.told || len(w.token) > 0, "a waiter in the queue was told")
	}
	wrong(len(queued) != n, "%d wait, %d were counted", len(queued), n)
	wrong(live != n, "%d waiters' ctx ended and they are still there", n-live)
	if n > 0 && !p.closed {
		wrong(are[idle] > 0 && !p.paused, "%d wait beside %d idle ones", n, are[idle])
		wrong(are[stale] > 0 && p.forWaiters < n && !p.paused && !p.checksSpent(), "%d wait beside %d that should be checked", n, are[stale])
		room := p.settings.Size - p.taken
		hopes := p.opening + p.aboutIdle
		if p.failingSince != 0 {
			hopes -= p.byKeeper
		}
		wrong(room > 0 && p.opening < p.window && n > hopes && !p.down() && !p.paused && p.nextTry <= p.now(),
			"%d wait beside room for %d, %d opens and a window of %d", n, room, p.opening, p.window)
		wrong(p.alarmAt == 0, "%d wait and no alarm is set", n)
	}
	wrong(p.excess() > 0 && are[idle]+are[stale] > 0, "%d are too many and %d are idle", p.excess(), are[idle]+are[stale])
	wrong(p.excess() > 0 && gate&shrunk == 0, "%d are too many and the gate does not say so", p.excess())
	wrong(p.taken > p.settings.Size+p.opening+are[closing] && are[idle]+are[stale] > 0 && !p.closed, "%d are taken, Size is %d, and %d are idle", p.taken, p.settings.Size, are[idle]+are[stale])
	wrong(p.taken <= p.settings.Size && gate&shrunk != 0 && !p.closed, "nothing is too many and the gate says shrunk")
	wrong((gate&pausing != 0) != p.paused, "paused: %v, and the gate says so: %v", p.paused, gate&pausing != 0)
	wrong(p.taken != len(p.table.Load().slots)-are[vacant], "%d are not vacant, %d were counted", len(p.table.Load().slots)-are[vacant], p.taken)
	wrong(p.opening != are[opening], "%d are opening, %d were counted", are[opening], p.opening)
	wrong(p.gone != are[closing]+are[abandoned], "%d are closing or hung, %d were counted", are[closing]+are[abandoned], p.gone)
	wrong(p.hung != are[abandoned], "%d are hung, %d were counted", are[abandoned], p.hung)
	wrong(p.aboutIdle != are[checking]+are[resetting], "%d are checked or reset, %d were counted", are[checking]+are[resetting], p.aboutIdle)
	open := p.taken - p.opening - p.hung
	wrong(open > 0 && !p.closed && p.lookAt == 0, "%d are open and the keeper sleeps", open)
	suspects := 0
	for i, s := range p.table.Load().slots {
		state := s.word.Load() & stateMask
		if s.suspected && state == stale {
			suspects++
		}
		wrong(s.index != i, "slot %d is at %d", s.index, i)
		wrong(s.suspected && state == idle, "slot %d is suspected and idle", i)
		wrong((s.generation != 0) != (s.conn != nil || state == opening), "slot %d is of generation %d, state %d", i, s.generation, state)
	}
	wrong(suspects != p.suspects, "%d are suspected, %d were counted", suspects, p.suspects)
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
	wrong(p.racer != nil || gate&racing != 0, "somebody races")
	wrong((gate&queueing != 0) != (n > 0), "%d wait and the gate says queueing: %v", n, gate&queueing != 0)
	wrong(gate&starving != 0 && n == 0, "nobody waits and the gate says starving")
	wrong(p.toldFirst != nil || p.toldLast != nil, "somebody is to be told")
	wrong(are[stale] != p.stales, "%d are stale, %d were counted", are[stale], p.stales)

	spare := make(map[*waiter[T]]bool)
	for w := p.spareFirst; w != nil && !spare[w]; w = w.next {
		spare[w] = true
		wrong(queued[w], "a spare waiter is in the queue")
		if !w.back.Load() {
			wrong(true, "a waiter's Pop has not come back")
			continue // its fields are the Pop's
		}
		wrong(len(w.token) > 0, "a spare waiter has a token")
		wrong(w.ctx != nil || w.handle != nil || w.err != nil || w.nextTold != nil, "a spare waiter keeps something alive")
		wrong(w.next == nil && w != p.spareLast, "the last spare waiter is not the last")
	}
	wrong(len(spare) != p.spares, "%d are spare, %d were counted", len(spare), p.spares)
	return errors.Join(faults...)
}
