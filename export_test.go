package pools

import (
	"sync/atomic"
	"time"
)

// SetPause has f called before some steps of the protocol: a name of the
// model's, "token" before a waiter's token is sent, or "woken" after one was
// received. It returns a function that ends this.
func SetPause(f func(before string)) (end func()) {
	return SetPauses(func(before string, call uint64) {
		if call == 0 {
			f(before)
		}
	})
}

// SetPauses is SetPause with the steps of calls, by their number in the pool:
// "call" before the connector's function is called, "turn" before it is tried
// again, "no_try" when it is not tried again, "abandon" before it is abandoned.
func SetPauses(f func(before string, call uint64)) (end func()) {
	unlocked := func(before string, call uint64) {
		if call != lockedMaybe {
			f(before, call)
		}
	}
	pause.Store(&unlocked)
	return func() { pause.Store(nil) }
}

// SetPauseLocked has f called at a step at which the pool is locked, "head",
// "shed", "take_out" or "collect", or at "alarm", just before it is.
func SetPauseLocked(step string, f func()) (end func()) {
	at := func(before string, call uint64) {
		if before == step && call == lockedMaybe {
			f()
		}
	}
	pause.Store(&at)
	return func() { pause.Store(nil) }
}

// ErrGivenUp is the cause with which an open is given up.
var ErrGivenUp = errGivenUp

// SetBatch makes the slices of bulk work that long. No pool may be in use
// meanwhile.
func SetBatch(visits int) (end func()) {
	before := batch
	batch = visits
	return func() { batch = before }
}

// MostVisits returns how many slots, calls and waiters one holding of the lock
// has visited at the most since it was last asked.
func MostVisits[T any](p *Pool[T]) int {
	p.lock()
	defer p.unlock()
	most := p.visits.most
	p.visits.most = 0
	return most
}

// NumberCalls has the pool's calls numbered from the one after last.
func NumberCalls[T any](p *Pool[T], last uint64) {
	p.lock()
	defer p.unlock()
	p.calls.begun = last
}

// SetRandom has f draw what the pools of this process draw at random, and
// numbers connections from 1 on. No pool may be in use meanwhile.
func SetRandom(f func(below time.Duration) time.Duration) (end func()) {
	before, salt, number := randomly, lifetimeSalt, connections.Load()
	randomly, lifetimeSalt = f, uint64(f(time.Hour))
	connections.Store(0)
	return func() {
		randomly, lifetimeSalt = before, salt
		connections.Add(number)
	}
}

// Tests see the fast way of a Push unless they ask for samples: in a slow pool
// each use is timed, and then each push goes the slow way.
func init() { unsampled.Store(true) }

// Sample has the uses of pools that are made from now on timed, as they are
// in programs. It returns a function that ends this.
func Sample(on bool) (end func()) {
	before := unsampled.Swap(!on)
	return func() { unsampled.Store(before) }
}

// GateOpen reports whether the gate is as in a pool that nobody waits for.
func GateOpen[T any](p *Pool[T]) bool {
	return !p.gate.has(gateStarving | gateQueueing | gateRacing)
}

// Starving reports whether the pool keeps strict order.
func Starving[T any](p *Pool[T]) bool { return p.gate.has(gateStarving) }

// Need returns how much time a waiter must have left to be given a connection.
func Need[T any](p *Pool[T]) time.Duration {
	p.lock()
	defer p.unlock()
	return time.Duration(p.need.least)
}

// KeeperRuns reports whether the keeper's timer is set.
func KeeperRuns[T any](p *Pool[T]) bool {
	p.lock()
	defer p.unlock()
	if p.keeper.timer == nil || !p.keeper.timer.Stop() {
		return false
	}
	at := p.keeper.at
	p.keeper.at = 0
	p.keeper.by(at, p.now())
	return true
}

// Look has the keeper look at every slot.
func Look[T any](p *Pool[T]) {
	p.lock()
	defer p.unlock()
	p.look()
	p.settle()
}

// Lease is what is known of a Conn without keeping it alive.
type Lease[T any] struct {
	slot *slot[T]
	lost *atomic.Bool
}

// LeaseOf returns that of a Conn that was not given back.
func LeaseOf[T any](conn Conn[T]) Lease[T] {
	return Lease[T]{conn.handle.slot, &conn.handle.conn.trace.lost}
}

// LetGo reports whether only Conns keep the lease.
func (l Lease[T]) LetGo() bool { return l.slot.handle.Load() == nil }

// Lost reports whether the collector has found that no Conn is left.
func (l Lease[T]) Lost() bool { return l.lost.Load() }

// HoldKeeper has the keeper look in d and not before, as if the process had been
// stopped for so long.
func HoldKeeper[T any](p *Pool[T], d time.Duration) {
	p.lock()
	defer p.unlock()
	if p.keeper.at == 0 {
		return // it does not run
	}
	p.keeper.stop()
	p.keeper.by(p.now()+int64(d), p.now())
}

// Suspend has machines been suspended for d more, as far as pools can tell: the
// wall clock has gone on, and the other has not.
func Suspend(d time.Duration) { suspended.Add(int64(d)) }

var suspended atomic.Int64

func init() {
	real := wallAhead
	wallAhead = func(epoch time.Time) int64 { return real(epoch) + suspended.Load() }
}

// Resting returns how many connections rest.
func Resting[T any](p *Pool[T]) int {
	p.lock()
	defer p.unlock()
	return p.in[resting]
}

// Careful reports whether each Push goes the slow way to ask about the connection.
func Careful[T any](p *Pool[T]) bool { return p.gate.has(gateCareful) }
