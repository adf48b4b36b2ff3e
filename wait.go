package pools

import (
	"context"
	"runtime"
	"time"
)

// The wait protocol. spec/pool.pml is its model; "model: name" says which step
// of the model a line is.
//
// Waiters stand in a queue, oldest first. Whatever frees something hands it on,
// see hand.go. Two orders make sure that nothing is missed:
//
//   - a waiter announces itself (queue, then gate) and then looks again;
//   - a push makes its slot idle and then looks at the gate.
//
// Each does first what the other looks at last, so no waiter sleeps beside an
// idle connection.
//
// Fairness is that of sync.Mutex. While the oldest waiter is young, a push
// wakes the one that pick names (pick.go; with equal deadlines the oldest) to
// race: it keeps its place and polls, while running goroutines may overtake it.
// That keeps connections busy instead of idle until a sleeper is scheduled. Once
// the oldest with time has waited for patience, the gate says starving: no Pop
// takes the fast path, and each connection goes from its holder directly to the
// waiter that pick names, until the oldest is young again.
const (
	patience    = int64(time.Millisecond)
	polls       = 32 // by a woken waiter before it sleeps again
	clockEvery  = 64 // while a waiter races, pushes read the clock once in this many leases of a slot
	breatheOnce = 16 // waiters that were handed a slot let others run once in this many leases of it
)

// wait queues and returns with a connection or an error.
func (p *Pool[T]) wait(ctx context.Context) (Conn[T], error) {
	pauseBefore("announce")
	done := ctx.Done()
	deadline := p.deadlineOf(ctx)
	var values context.Context
	if p.connector.Values != nil {
		values = p.connector.Values(ctx)
	}
	p.lock()
	now := p.now()
	if p.closed {
		defer p.unlock()
		return Conn[T]{}, p.failure(now, ErrClosed)
	}
	if err := p.refusal(deadline); err != nil {
		defer p.unlock()
		p.refused++
		return Conn[T]{}, p.failure(now, err)
	}
	w := p.spares.get()
	w.ctx, w.done, w.deadline, w.values, w.since = ctx, done, deadline, values, now
	p.queue.append(w) // model: announce
	if p.queue.len == 1 {
		p.gate.set(gateQueueing, true)
		p.settle() // model: look_again
	} else {
		// The gate has said queueing since the first waiter looked: whatever has
		// become idle since then is on its way to a waiter.
		p.oldest(nil) // waiters whose ctx has ended no longer count, even if they have not woken yet
		p.provide()
	}
	p.unlock()
	conn, err := p.await(w, now)
	if p.gate.has(gateObserving) {
		p.waited(conn, now, err)
	}
	return conn, err
}

// refusal returns why a newcomer may not wait, or nil.
func (p *Pool[T]) refusal(deadline int64) error {
	most := p.settings.mostWaiting(&p.census, !p.gate.has(gatePaused|gateSweeping))
	if p.queue.len >= most {
		// Those whose ctx has ended no longer count, even if they have not woken
		// yet.
		p.queue.scan(&p.visits, func(w *waiter[T]) {
			if w != p.racer && w.ended() {
				p.endWait(w)
			}
		})
	}
	if p.queue.len >= most && !(p.settings.MaxWaiting == NoQueue && p.queue.len == 0 && p.table.Load().anyIdle()) {
		return ErrTooManyWaiting
	}
	if p.settings.RefuseLate {
		open := p.alive()
		if !p.pace.down() {
			open = max(open, p.settings.Size-p.in[hung]) // what is not open will be
		}
		return p.queue.late(deadline, p.now(), &p.need, open)
	}
	return nil
}

// await returns when the wait is over.
func (p *Pool[T]) await(w *waiter[T], since int64) (Conn[T], error) {
	urgent := w.deadline != 0
	for {
		select { // model: park
		case <-w.token:
		default:
			select { // the token first: what a waiter was told counts, even if its ctx has ended
			case <-w.token:
			case <-w.done:
				return p.cancelled(w, false)
			}
		}
		pauseBefore("woken")
		conn := Conn[T]{w.handle, w.lease}
		switch {
		case w.err != nil:
			err := w.err
			w.finish()
			return Conn[T]{}, err
		case w.handle == nil:
			if conn.handle, conn.lease = p.race(w); conn.handle == nil {
				continue
			}
		case w.ended():
			return p.cancelled(w, true) // granted at the instant the ctx ended
		default:
			w.finish()
			if conn.lease.lease()%breatheOnce == 0 {
				breathe()
			}
		}
		p.lend(conn, urgent, since)
		return conn, nil
	}
}

// breathe ends the scheduler's time slice. A goroutine that is handed a
// connection runs next, in the time slice of the one that handed it on, and may
// hand it on in the same slice. Goroutines whose answers have come would wait
// for the end of the slice, up to ten milliseconds, each holding a connection.
func breathe() { runtime.Gosched() }

// race is what a woken waiter does: it polls, and yields to goroutines that may
// push. It returns nil if the waiter found nothing and has to sleep again.
func (p *Pool[T]) race(w *waiter[T]) (*handle[T], word) {
	for range polls {
		if p.gate.has(popsStop) || w.ended() {
			break
		}
		if h, lease := p.take(); h != nil {
			pauseBefore("race_won")
			p.lock()
			p.racer = nil // model: race_won
			p.endWait(w)
			p.passOn()
			p.spares.put(w)
			p.unlock()
			w.finish()
			return h, lease
		}
		runtime.Gosched()
	}
	pauseBefore("race_lost")
	p.lock()
	p.racer, w.told = nil, false // model: race_lost
	if p.queue.overdue(p.now()) {
		p.gate.set(gateStarving, true)
	}
	p.settle()
	p.unlock()
	return nil, 0
}

// cancelled ends a wait because the waiter's ctx has ended. Nothing is lost with
// a cancelled waiter, neither a connection nor the chance that it was woken for.
// took says whether it has taken its token.
func (p *Pool[T]) cancelled(w *waiter[T], took bool) (Conn[T], error) {
	pauseBefore("cancelled")
	asked := false
	defer func() {
		if !asked { // the ctx panicked: that is the caller's problem, but no connection may be lost
			_ = p.leave(w, took, context.Canceled, nil)
		}
	}()
	kind, ended := ctxError(w.ctx)
	asked = true
	return Conn[T]{}, p.leave(w, took, kind, ended)
}

// leave removes a waiter whose ctx has ended, and returns the error of its Pop.
func (p *Pool[T]) leave(w *waiter[T], took bool, kind, ended error) error {
	p.lock()
	granted, refused := w.handle != nil, w.err
	if granted { // model: push_on
		p.passedUp++ // no Pop returned this lease
		s := w.handle.slot
		was := s.word.load() // no other goroutine has this lease, and the lock keeps the keeper and RevokeAll away
		p.put(&s.cell, returning)
		if was.state() == revoked {
			p.close(s, ReasonRevoked, nil)
		} else {
			s.handle.Store(w.handle) // if this took seconds, the keeper has cleared it
			p.handBack(s)
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
		p.waitFailed(kind)
		err = p.failure(w.since, ended)
	}
	if !granted && refused == nil {
		p.spares.put(w) // otherwise grant or refuse has done that
	}
	owed := w.told && !took
	p.settle()
	p.unlock()
	if owed {
		// Its token is about to be sent. The next Pop that uses this waiter must
		// not get it.
		<-w.token // model: take_owed
	}
	w.finish()
	return err
}

// pushed is the rest of a Push whose slot is already idle and that saw bits set
// at the gate.
func (p *Pool[T]) pushed(gate uint32, lease word) {
	if gate&(gateStarving|gateClosed|gateShrunk|gateRacing) == gateRacing && lease.lease()%clockEvery != 0 {
		return // the racer is running and will look
	}
	p.lock()
	defer p.unlock()
	if gate&gateShrunk != 0 {
		p.shed()
	}
	if p.racer != nil && !p.closed {
		if p.queue.overdue(p.now()) {
			p.gate.set(gateStarving, true)
		}
		return
	}
	p.passOn()
}

// passOn hands on what is idle after a push or a race: it wakes the waiter that
// pick names to race. If the oldest has waited for too long, a settle grants.
func (p *Pool[T]) passOn() { // model: pass_on
	p.gate.set(gateRacing, false) // before the look: a push that saw it set has already made its slot idle
	if p.queue.overdue(p.now()) {
		p.gate.set(gateStarving, true)
	}
	var w *waiter[T]
	if !p.gate.has(popsStop|gateShrunk) && p.table.Load().anyIdle() {
		w = p.pick()
	}
	if w == nil {
		p.settle()
		return
	}
	p.racer = w // model: wake_racer
	p.gate.set(gateRacing, true)
	p.told.add(w)
}
