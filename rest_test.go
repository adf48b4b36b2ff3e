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
		wrong(are[idle] > 0, "%d wait beside %d idle ones", n, are[idle])
		wrong(are[stale] > 0 && p.aboutIdle < n, "%d wait beside %d that should be checked", n, are[stale])
		wrong(are[vacant] > 0 && p.opening < p.window && n > p.opening+p.aboutIdle && !p.down(),
			"%d wait beside %d vacant slots, %d opens and a window of %d", n, are[vacant], p.opening, p.window)
		wrong(p.alarmAt == 0, "%d wait and no alarm is set", n)
	}
	wrong(n > 0 && p.closed, "%d wait for a closed pool", n)
	wrong(p.racer != nil || gate&racing != 0, "somebody races")
	wrong((gate&queueing != 0) != (n > 0), "%d wait and the gate says queueing: %v", n, gate&queueing != 0)
	wrong(gate&starving != 0 && n == 0, "nobody waits and the gate says starving")
	wrong(p.toldFirst != nil || p.toldLast != nil, "somebody is to be told")
	wrong(are[stale] != p.stales && !p.closed, "%d are stale, %d were counted", are[stale], p.stales)

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
