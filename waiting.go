package pools

import (
	"context"
	"runtime"
	"sync/atomic"
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
	patience     = int64(time.Millisecond)
	polls        = 32   // of a woken waiter before it sleeps again
	spareWaiters = 1024 // that are kept for reuse
	clockEvery   = 64   // while a waiter races, each so many leases of a slot a push looks at the clock
	breathEvery  = 16   // each so many leases of a slot a waiter that was handed it lets others run
)

// waiter is a Pop that waits.
type waiter[T any] struct {
	next, prev *waiter[T] // in the queue, or next among the spare ones
	ctx        context.Context
	since      int64 // on the pool's clock
	queued     bool

	// token wakes the waiter. It holds one, and one is enough: a waiter gets
	// a second token only after it has come back from the race that the
	// first one woke it for. unlock sends it, so that nobody waits for the
	// lock while the scheduler is at work.
	token    chan struct{}
	told     bool       // since it queued, or came back from a race; under the lock
	nextTold *waiter[T] // whom unlock tells next

	// What the token means; written under the lock that its sender holds
	// before. None of the three: race.
	handle *handle[T]
	lease  uint64
	err    error

	// back says that the Pop is through with this waiter. It is the last
	// that it writes here; who reads it may reuse the waiter.
	back atomic.Bool
}

// pause is where tests hold up a goroutine between two steps of the protocol.
// Only they can set it.
var pause atomic.Pointer[func(before string, call uint64)]

func pauseBefore(step string) { pauseCall(step, 0) }

// lockedMaybe stands for a call's number where the pool may be locked: only a
// test that knows better may hold up a goroutine there.
const lockedMaybe = ^uint64(0)

// pauseCall is pauseBefore for one of several calls that do the same step at
// one instant.
func pauseCall(step string, call uint64) {
	if f := pause.Load(); f != nil {
		(*f)(step, call)
	}
}

// wait queues and returns with a connection or an error.
func (p *Pool[T]) wait(ctx context.Context) (Conn[T], error) {
	pauseBefore("announce")
	p.lock()
	now := p.now()
	if p.closed {
		defer p.unlock()
		return Conn[T]{}, p.failure(now, ErrClosed)
	}
	if most := p.settings.MaxWaiting; most != NoLimit {
		p.live(nil) // who only has not noticed yet that its ctx has ended counts no more
		if p.queue.len >= most {
			defer p.unlock()
			return Conn[T]{}, p.failure(now, ErrTooManyWaiting)
		}
	}
	w := p.newWaiter()
	w.ctx, w.since = ctx, now
	p.queue.append(w) // model: announce
	if p.queue.len == 1 {
		p.setGate(queueing, true)
		p.settle() // model: look_again
	} else {
		// The gate has said queueing since the first one looked: whatever
		// became idle since is on somebody's way.
		p.live(nil) // who only has not noticed yet that its ctx has ended counts no more
		p.provide()
	}
	p.unlock()
	conn, err := p.await(ctx, w, now)
	if p.gate.Load()&observing != 0 {
		p.waited(conn, now, err)
	}
	return conn, err
}

// await returns when the wait is over.
func (p *Pool[T]) await(ctx context.Context, w *waiter[T], since int64) (Conn[T], error) {
	for {
		select { // model: park
		case <-w.token:
		default:
			select { // who was told something does not end by its ctx
			case <-w.token:
			case <-ctx.Done():
				return p.cancelled(w, false)
			}
		}
		pauseBefore("woken")
		conn := Conn[T]{w.handle, w.lease}
		switch {
		case w.err != nil:
			err := w.err
			w.leave()
			return Conn[T]{}, err
		case w.handle == nil:
			if conn.handle, conn.lease = p.race(w); conn.handle == nil {
				continue
			}
		case ctx.Err() != nil:
			return p.cancelled(w, true) // granted at the instant the ctx ended
		default:
			w.leave()
			if leases(conn.lease)%breathEvery == 0 {
				breathe()
			}
		}
		p.lend(conn, since)
		return conn, nil
	}
}

// breathe ends the time slice of the scheduler. Who is handed a connection
// runs next, in the slice of who handed it on, and does so to the next one:
// goroutines whose answers have come would wait until the slice is over, after
// ten milliseconds, each with a connection.
func breathe() { runtime.Gosched() }

// leave is the last that a Pop does with its waiter.
func (w *waiter[T]) leave() {
	w.ctx, w.handle, w.err = nil, nil, nil // a spare waiter keeps nothing alive, a lost lease least of all
	w.back.Store(true)
}

// race is what a woken waiter does: it polls, and yields to those who may
// push. It returns nil when it has to sleep again, or has been given
// something meanwhile.
func (p *Pool[T]) race(w *waiter[T]) (*handle[T], uint64) {
	for range polls {
		if p.gate.Load()&popsStop != 0 || w.ctx.Err() != nil {
			break
		}
		if h, lease := p.take(); h != nil {
			pauseBefore("race_won")
			p.lock()
			p.racer = nil // model: race_won
			p.endWait(w)
			p.passOn()
			p.keepSpare(w)
			p.unlock()
			w.leave()
			return h, lease
		}
		runtime.Gosched()
	}
	pauseBefore("race_lost")
	p.lock()
	p.racer, w.told = nil, false // model: race_lost
	if p.overdue(w) {
		p.setGate(starving, true)
	}
	p.settle()
	p.unlock()
	return nil, 0
}

// cancelled ends a wait because the waiter's ctx has ended. A cancelled
// waiter takes nothing with it: neither a connection nor the chance it was
// woken for. took says whether it has taken its token.
func (p *Pool[T]) cancelled(w *waiter[T], took bool) (Conn[T], error) {
	pauseBefore("cancelled")
	ended := ctxError(w.ctx) // off the lock: the cause is the user's, with methods
	p.lock()
	granted, refused := w.handle != nil, w.err
	if granted { // model: push_on
		p.spent++ // no Pop returned this lease
		s := w.handle.slot
		was := s.word.Swap(with(w.lease, returning)) // nobody else has this lease; the lock keeps keeper and RevokeAll away
		if was&stateMask == revoked {
			p.close(s, ReasonRevoked, nil)
		} else {
			s.handle.Store(w.handle) // if this took seconds the keeper has let go of it
			p.release(s)
		}
	}
	if p.racer == w { // model: pass_wake
		p.racer = nil
	}
	if w.queued { // model: cancelled
		p.endWait(w)
	}
	err := refused
	if err == nil {
		p.waitFailed(w.ctx.Err())
		err = p.failure(w.since, ended)
	}
	if !granted && refused == nil {
		p.keepSpare(w) // else who granted or refused has
	}
	owed := w.told && !took
	p.settle()
	p.unlock()
	if owed {
		// Whoever told it has let go of the lock and is about to send. The
		// token must not meet the next Pop that uses this waiter.
		<-w.token // model: take_owed
	}
	w.leave()
	return Conn[T]{}, err
}

// pushed is the rest of a Push whose slot is idle already and that saw
// something at the gate.
func (p *Pool[T]) pushed(gate uint32, lease uint64) {
	if gate&(starving|closed|shrunk|racing) == racing && leases(lease)%clockEvery != 0 {
		return // the racer is on its way and will look
	}
	p.lock()
	defer p.unlock()
	if gate&shrunk != 0 {
		p.shed()
	}
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
	if w != nil && p.overdue(w) {
		p.setGate(starving, true)
	}
	if w == nil || p.gate.Load()&(popsStop|shrunk) != 0 || !p.anyIdle() {
		p.settle()
		return
	}
	p.racer = w // model: wake_racer
	p.setGate(racing, true)
	p.tell(w)
}

// settle hands out what there is. Everything that may leave more for the
// waiters than before calls it, under the lock.
func (p *Pool[T]) settle() { // model: settle
	if p.closed {
		p.settleClosed()
		return
	}
	p.setGate(shrunk, p.excess() > 0)
	if p.racer == nil {
		p.setGate(racing, false)
		for w := p.live(nil); w != nil && !p.paused; w = p.live(nil) {
			h, lease := p.search(p.table.Load(), 0)
			if h == nil {
				break
			}
			p.grant(w, h, lease)
		}
	}
	p.setGate(queueing, p.queue.len > 0)
	p.calmQueue()
	p.provide()
}

// provide sees to it that what the waiters may hope for is under way.
func (p *Pool[T]) provide() {
	if !p.paused {
		p.failHopeless()
		p.startChecks()
		p.startOpens()
	}
	p.arm()
}

// calmQueue ends strict order when the oldest waiter is young.
func (p *Pool[T]) calmQueue() {
	if p.gate.Load()&starving != 0 && (p.queue.len == 0 || !p.overdue(p.queue.first)) {
		p.setGate(starving, false)
	}
}

// release makes a slot that the pool owns (an open, a reset, a check or a
// cancelled grant that ended well, or a slow push) somebody's: the oldest
// waiter's, or anybody's. It reports whether a waiter got it.
func (p *Pool[T]) release(s *slot[T]) bool { // model: give_back, hand_on
	word := s.word.Load()
	if why := p.leaves(s); why != 0 {
		p.close(s, why, nil)
		return false
	}
	if w := p.live(p.racer); w != nil && !p.paused {
		lease := with(word+oneLease, held)
		s.word.Store(lease)
		p.grant(w, s.handle.Load(), lease)
		return true
	}
	if p.alwaysChecks() {
		s.word.Store(with(word, stale))
		p.stales++
		return false
	}
	s.word.Store(with(word, idle))
	s.hint()
	return false
}

// grant gives a connection, already held for it, to a waiter.
func (p *Pool[T]) grant(w *waiter[T], h *handle[T], lease uint64) {
	p.endWait(w)
	w.handle, w.lease = h, lease
	p.keepSpare(w)
	p.tell(w)
}

// refuse ends a wait with an error. Not the racer's: it is awake, and finds
// out when it comes back.
func (p *Pool[T]) refuse(w *waiter[T], reason error) {
	p.endWait(w)
	p.waitFailed(reason)
	w.err = p.failure(w.since, reason)
	p.keepSpare(w)
	p.tell(w)
}

// tellAll sends waiters their tokens.
func tellAll[T any](told *waiter[T]) {
	for told != nil {
		w := told
		told, w.nextTold = w.nextTold, nil // before the token: then w is its Pop's
		pauseBefore("token")
		w.token <- struct{}{}
	}
}

// tell has unlock send w its token.
func (p *Pool[T]) tell(w *waiter[T]) {
	w.told = true
	if p.toldLast == nil {
		p.toldFirst = w
	} else {
		p.toldLast.nextTold = w
	}
	p.toldLast = w
}

// refuseAll ends every wait but the racer's.
func (p *Pool[T]) refuseAll(reason error) {
	for w := p.live(p.racer); w != nil; w = p.live(p.racer) {
		p.refuse(w, reason)
	}
}

// live returns the oldest waiter that is not skip and whose ctx has not
// ended; Err is the one method of users' that is called under the lock. Those whose ctx has are taken out on the way: each is met once, so
// ten thousand of them delay one push once.
func (p *Pool[T]) live(skip *waiter[T]) *waiter[T] {
	for w := p.queue.first; w != nil; {
		next := w.next
		if w != skip && w != p.racer && w.ctx.Err() != nil {
			p.endWait(w) // it will wake by its own ctx
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

// endWait takes w out of the queue, and counts its wait.
func (p *Pool[T]) endWait(w *waiter[T]) {
	p.leaveQueue(w)
	p.waitTimes.add(p.now()-w.since, 1)
}

// leaveQueue takes w out. The last one opens the gate: nobody is starving in
// an empty queue.
func (p *Pool[T]) leaveQueue(w *waiter[T]) {
	p.queue.remove(w)
	if p.queue.len == 0 {
		p.setGate(queueing|starving, false)
	}
}

// newWaiter returns a spare waiter whose Pop is through with it, or a new
// one. Those that were spared first are looked at first.
func (p *Pool[T]) newWaiter() *waiter[T] {
	for range min(p.spares, 4) {
		w := p.spareFirst
		p.spareFirst = w.next
		if p.spareFirst == nil {
			p.spareLast = nil
		}
		p.spares--
		w.next = nil
		if w.back.Load() {
			w.told = false
			w.back.Store(false)
			return w
		}
		p.keepSpare(w)
	}
	return &waiter[T]{token: make(chan struct{}, 1)}
}

// keepSpare keeps a waiter for reuse. It is called once a wait, by whoever
// ends it under the lock; its Pop may not be back yet.
func (p *Pool[T]) keepSpare(w *waiter[T]) {
	if p.spares == spareWaiters {
		return
	}
	p.spares++
	if p.spareLast == nil {
		p.spareFirst = w
	} else {
		p.spareLast.next = w
	}
	p.spareLast = w
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
