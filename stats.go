package pools

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stats is a snapshot of a pool. The states add up to Size and Excess. Times
// are in nanoseconds when marshalled to JSON.
type Stats struct {
	Name string
	Size int

	// What each slot was at one moment of the snapshot.
	Vacant    int // may be opened
	Opening   int
	Idle      int
	Stale     int // idle for longer than CheckAfter: checked before they are lent
	Held      int
	Revoked   int // lent, but the lease was ended by RevokeAll
	Checking  int
	Resetting int
	Returning int
	Closing   int
	Hung      int // kept by an abandoned call
	Excess    int // how many of these are beyond Size, after Size was lowered

	Paused    bool
	Waiting   int // goroutines that wait now
	Abandoned int // calls of the connector that hang, past their timeout

	// Counters since New.
	Leases       uint64        // connections lent
	Waits        uint64        // Pops that had to wait, however they ended
	WaitsFailed  uint64        // of these, how many ended without a connection
	WaitTime     time.Duration // of all Waits
	LongestWait  time.Duration
	Opened       uint64
	OpenErrors   uint64 // opens that failed with all their tries
	Closed       uint64 // Opened = open now + Closed + Detached, when nothing hangs
	Detached     uint64
	Expired      uint64 // taken out for MaxLifetime, MaxUses or Refresh
	IdledOut     uint64 // taken out for IdleTimeout
	Leaks        uint64 // leases that lasted longer than LeakAfter
	Lost         uint64 // Conns forgotten without a Push
	Misused      uint64 // ended leases that were pushed, destroyed or detached again
	Abandonments uint64
}

// counters are guarded by the pool's lock.
type counters struct {
	waits, refused                                      uint64
	waitTime, longestWait                               int64
	opened, openErrors, closes, detached, lost, misused uint64
	abandonments, expired, idledOut, leaks              uint64
}

// waited counts a wait that has ended.
func (c *counters) waited(ns int64) {
	c.waits++
	c.waitTime += ns
	c.longestWait = max(c.longestWait, ns)
}

// Stats returns a snapshot. It reads each slot once, under the pool's lock:
// about a nanosecond a slot.
func (p *Pool[T]) Stats() Stats {
	if p.gate.Load()&made == 0 {
		return Stats{}
	}
	p.lock()
	defer p.unlock()
	st := Stats{
		Name: p.name, Size: p.settings.Size, Waiting: p.queue.len,
		Waits: p.waits, WaitsFailed: p.refused,
		WaitTime: time.Duration(p.waitTime), LongestWait: time.Duration(p.longestWait),
		Opened: p.opened, OpenErrors: p.openErrors, Closed: p.closes, Detached: p.detached,
		Expired: p.expired, IdledOut: p.idledOut, Leaks: p.leaks,
		Lost: p.lost, Misused: p.misused, Abandonments: p.abandonments,
		Paused: p.paused, Excess: max(p.taken-p.settings.Size, 0),
	}
	for c := range p.calls {
		if c.abandoned {
			st.Abandoned++
		}
	}
	var in [states]int
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		in[word&stateMask]++
		st.Leases += leases(word)
	}
	st.Leases += p.trimmed - p.spent
	// Slots beyond Size are there until they are not needed any more.
	st.Vacant = st.Size + st.Excess - p.taken
	st.Opening, st.Idle, st.Stale = in[opening], in[idle], in[stale]
	st.Held, st.Revoked, st.Checking, st.Resetting = in[held]+in[watched], in[revoked], in[checking], in[resetting]
	st.Returning, st.Closing, st.Hung = in[returning], in[closing], in[abandoned]
	return st
}

// failure is the error of a Pop that began to wait at since and is not in the
// queue (any more), without what count adds. Under the lock.
func (p *Pool[T]) failure(since int64, reason error) *PopError {
	e := &PopError{
		Pool: p.name, Size: p.settings.Size, Opening: p.opening, Waiting: p.queue.len,
		Waited: time.Duration(p.now() - since), Err: reason,
	}
	if p.down() {
		e.OpenErr, e.openErrIsOurs = p.openErr, p.openErrAt >= since
	}
	return e
}

// count adds what the slots are to the error of a Pop, in the goroutine of
// that Pop. It needs no lock (but with TrackHolders), so that ten thousand
// Pops that fail at once do not hold it for long.
func (p *Pool[T]) count(e *PopError) {
	for _, s := range p.table.Load().slots {
		switch word := s.word.Load(); {
		case out(word):
			e.Held++
		case unused(word):
			e.Idle++
		}
	}
	if p.gate.Load()&tracking != 0 {
		e.Own = p.heldBy(goroutineID())
	}
}

// ctxError is the error of a ctx that has ended, with its cause.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
