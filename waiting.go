package pools

import (
	"context"
	"runtime"
	"time"
)

// The wait protocol. spec/pool.pml is its model; "model: name" says which
// step of the model a line is.
//
// Waiters stand in a queue, oldest first. Whoever frees something hands it
// on: settle gives what is idle to the oldest waiters and starts opens for
// the others, and everything that changes what there is ends in settle or
// release. Two steps make it complete:
//
//   - a waiter announces itself (queue, then gate) and then looks again;
//   - a push makes its slot idle and then looks at the gate.
//
// Each does first what the other looks at last, so no waiter sleeps beside an
// idle connection.
//
// Fairness is that of sync.Mutex. While the oldest waiter is young, a push
// wakes it to race: it stays first in the queue and polls while running
// goroutines may overtake it, which keeps connections busy instead of idle
// until a sleeper is scheduled. Once it has waited for patience, the gate
// says starving: no Pop takes the fast path and each connection goes from
// holder to oldest waiter directly, until the oldest is young again.
const (
	patience    = int64(time.Millisecond)
	polls       = 32   // of a woken waiter before it sleeps again
	spareWaiter = 1024 // waiters that are kept for reuse
	clockEvery  = 64   // while a waiter races, each so many leases of a slot a push looks at the clock
)

// waiter is a Pop that waits.
type waiter[T any] struct {
	next, prev *waiter[T]
	ctx        context.Context
	since      int64 // on the pool's clock
	queued     bool

	// token wakes the waiter. It holds one, and one is enough: a waiter gets
	// a second token only after it has come back from the race that the
	// first one woke it for.
	token chan struct{}

	// What the token means; written before it is sent. None of the three:
	// race.
	handle *handle[T]
	lease  uint64
	err    error
}

// beforeQueueing is where tests let a goroutine pause that has found nothing
// and has not queued yet. Only tests can reach it.
var beforeQueueing func()

// wait queues and returns with a connection or an error.
func (p *Pool[T]) wait(ctx context.Context) (Conn[T], error) {
	if beforeQueueing != nil {
		beforeQueueing()
	}
	p.lock()
	now := p.now()
	if p.closed {
		defer p.unlock()
		return Conn[T]{}, p.failure(now, ErrClosed)
	}
	w := p.newWaiter()
	w.ctx, w.since = ctx, now
	p.queue.append(w) // model: announce
	p.setGate(queueing, true)
	p.settle() // model: look_again
	if most := p.settings.MaxWaiting; most != NoLimit && w.queued && p.queue.len > most {
		defer p.unlock()
		p.leaveQueue(w)
		p.drop(w)
		return Conn[T]{}, p.failure(now, ErrTooManyWaiting)
	}
	p.unlock()

	for {
		select { // model: park
		case <-w.token:
		case <-ctx.Done():
			return p.cancelled(w)
		}
		if w.handle == nil && w.err == nil {
			if h, lease := p.race(w); h != nil {
				return p.leave(w, h, lease)
			}
			continue
		}
		if w.handle != nil && ctx.Err() != nil {
			return p.cancelled(w) // granted at the instant the ctx ended
		}
		if w.err != nil {
			err := w.err
			p.lock()
			p.drop(w)
			p.unlock()
			return Conn[T]{}, err
		}
		return p.leave(w, w.handle, w.lease)
	}
}

// leave ends a wait that succeeded.
func (p *Pool[T]) leave(w *waiter[T], h *handle[T], lease uint64) (Conn[T], error) {
	var stack []uintptr
	if p.settings.TrackHolders {
		stack = holderStack()
	}
	p.lock()
	if stack != nil {
		h.slot.stack = stack
	}
	p.drop(w)
	p.unlock()
	return Conn[T]{h, lease}, nil
}

// race is what a woken waiter does: it polls, and yields to those who may
// push. It returns nil when it has to sleep again, or has been given
// something meanwhile.
func (p *Pool[T]) race(w *waiter[T]) (*handle[T], uint64) {
	for range polls {
		if p.gate.Load()&(starving|closed) != 0 || w.ctx.Err() != nil {
			break
		}
		if h, lease := p.take(); h != nil {
			p.lock()
			p.racer = nil // model: race_won
			p.leaveQueue(w)
			p.counters.waited(p.now() - w.since)
			p.passOn()
			p.unlock()
			return h, lease
		}
		runtime.Gosched()
	}
	p.lock()
	p.racer = nil // model: race_lost
	if p.overdue(w) {
		p.setGate(starving, true)
	}
	p.settle()
	p.unlock()
	return nil, 0
}

// cancelled ends a wait because the waiter's ctx has ended. A cancelled
// waiter takes nothing with it: neither a connection nor the chance it was
// woken for.
func (p *Pool[T]) cancelled(w *waiter[T]) (Conn[T], error) {
	p.lock()
	defer p.unlock()
	if w.handle != nil { // model: push_on
		s := w.handle.slot
		s.handle.Store(w.handle)               // if this took seconds the keeper has let go of it
		s.word.Store(with(w.lease, returning)) // nobody else has seen this lease
		p.release(s)
	}
	if p.racer == w { // model: pass_wake
		p.racer = nil
	}
	if w.queued { // model: cancelled
		p.leaveQueue(w)
		p.counters.waited(p.now() - w.since)
	}
	err := w.err
	if err == nil {
		p.refused++
		err = p.failure(w.since, ctxError(w.ctx))
	}
	p.drop(w)
	p.settle()
	return Conn[T]{}, err
}

// pushed is the rest of a Push whose slot is idle already and that saw
// something at the gate.
func (p *Pool[T]) pushed(gate uint32, lease uint64) {
	if gate&(starving|closed|racing) == racing && leases(lease)%clockEvery != 0 {
		return // the racer is on its way and will look
	}
	p.lock()
	defer p.unlock()
	if p.racer != nil && !p.closed {
		if p.overdue(p.racer) {
			p.setGate(starving, true)
		}
		return
	}
	p.passOn()
}

// passOn hands on what is idle after a push or a race: to the oldest waiter,
// by waking it to race or, when it has waited too long, directly.
func (p *Pool[T]) passOn() { // model: pass_on
	p.setGate(racing, false) // then look: a push that saw it set has made its slot idle before
	w := p.live(nil)
	if p.closed || w == nil || p.gate.Load()&starving != 0 || p.overdue(w) {
		if w != nil && p.overdue(w) {
			p.setGate(starving, true)
		}
		p.settle()
		return
	}
	if !p.anyIdle() {
		p.settle()
		return
	}
	p.racer = w // model: wake_racer
	p.setGate(racing, true)
	w.token <- struct{}{}
}

// settle hands out what there is. Everything that changes what there is calls
// it, under the lock.
func (p *Pool[T]) settle() { // model: settle
	if p.closed {
		p.settleClosed()
		return
	}
	if p.racer == nil {
		p.setGate(racing, false)
		for w := p.live(nil); w != nil; w = p.live(nil) {
			h, lease := p.search(p.table.Load(), 0)
			if h == nil {
				break
			}
			p.grant(w, h, lease)
		}
	}
	p.failHopeless()
	p.startChecks()
	p.startOpens()
	p.setGate(queueing, p.queue.len > 0)
	if p.gate.Load()&starving != 0 && (p.queue.len == 0 || !p.overdue(p.queue.first)) {
		p.setGate(starving, false)
	}
	p.arm()
}

// release makes a slot that the pool owns (an open, a reset, a check or a
// cancelled grant that ended well, or a slow push) somebody's: the oldest
// waiter's, or anybody's.
func (p *Pool[T]) release(s *slot[T]) { // model: give_back, hand_on
	word := s.word.Load()
	if p.closed {
		p.close(s)
		return
	}
	if w := p.live(p.racer); w != nil {
		lease := with(word+oneLease, held)
		s.word.Store(lease)
		p.grant(w, s.handle.Load(), lease)
		return
	}
	if p.settings.CheckAfter == Always && p.connector.Check != nil {
		s.word.Store(with(word, stale))
		p.stales++
		return
	}
	s.word.Store(with(word, idle))
	if s.group != nil {
		s.hint()
	}
}

// grant gives a connection, already held for it, to a waiter.
func (p *Pool[T]) grant(w *waiter[T], h *handle[T], lease uint64) {
	p.leaveQueue(w)
	p.counters.waited(p.now() - w.since)
	w.handle, w.lease = h, lease
	w.token <- struct{}{}
}

// refuse ends a wait with an error. Not the racer's: it is awake, and finds
// out when it comes back.
func (p *Pool[T]) refuse(w *waiter[T], reason error) {
	p.leaveQueue(w)
	p.counters.waited(p.now() - w.since)
	p.refused++
	w.err = p.failure(w.since, reason)
	w.token <- struct{}{}
}

// refuseAll ends every wait but the racer's.
func (p *Pool[T]) refuseAll(reason error) {
	for w := p.live(p.racer); w != nil; w = p.live(p.racer) {
		p.refuse(w, reason)
	}
}

// live returns the oldest waiter that is not skip and whose ctx has not
// ended. Those whose ctx has are taken out on the way: each is met once, so
// ten thousand of them delay one push once.
func (p *Pool[T]) live(skip *waiter[T]) *waiter[T] {
	for w := p.queue.first; w != nil; {
		next := w.next
		if w != skip && w != p.racer && w.ctx.Err() != nil {
			p.leaveQueue(w) // it will wake by its own ctx
			p.counters.waited(p.now() - w.since)
		} else if w != skip {
			return w
		}
		w = next
	}
	return nil
}

func (p *Pool[T]) overdue(w *waiter[T]) bool { return p.now()-w.since >= patience }

// anyIdle reports whether a woken waiter may find something.
func (p *Pool[T]) anyIdle() bool {
	t := p.table.Load()
	for i := range t.heads {
		if t.heads[i].Load() != 0 {
			return true
		}
	}
	if t.groups != nil {
		return false
	}
	for _, s := range t.slots {
		if s.word.Load()&stateMask == idle {
			return true
		}
	}
	return false
}

// leaveQueue takes w out. The last one opens the gate: nobody is starving in
// an empty queue.
func (p *Pool[T]) leaveQueue(w *waiter[T]) {
	p.queue.remove(w)
	if p.queue.len == 0 {
		p.setGate(queueing|starving, false)
	}
}

func (p *Pool[T]) newWaiter() *waiter[T] {
	w := p.spare
	if w == nil {
		return &waiter[T]{token: make(chan struct{}, 1)}
	}
	p.spare, w.next = w.next, nil
	p.spares--
	return w
}

// drop keeps a waiter that nobody points to any more for reuse.
func (p *Pool[T]) drop(w *waiter[T]) {
	select {
	case <-w.token:
	default:
	}
	w.ctx, w.handle, w.lease, w.err = nil, nil, 0, nil
	if p.spares < spareWaiter {
		w.next, p.spare = p.spare, w
		p.spares++
	}
}

// queue is an intrusive list of waiters.
type queue[T any] struct {
	first, last *waiter[T]
	len         int
}

func (q *queue[T]) append(w *waiter[T]) {
	w.prev, w.queued = q.last, true
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.len++
}

func (q *queue[T]) remove(w *waiter[T]) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	q.len--
}
