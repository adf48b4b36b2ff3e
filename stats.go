package pools

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
)

// Stats is a snapshot of a pool. The states add up to Size plus Excess. JSON
// contains durations in nanoseconds.
type Stats struct {
	Name string
	Size int

	// The number of slots in each state. Each slot was in its state at one
	// moment of the snapshot.
	Vacant    int // a connection may be opened
	Opening   int
	Idle      int
	Stale     int // idle for longer than CheckAfter: checked before they are lent
	Held      int
	Revoked   int // lent, but RevokeAll has ended the lease
	Checking  int
	Resetting int
	Returning int
	Closing   int
	Hung      int // kept by an abandoned call
	Excess    int // slots in the states above that are beyond Size, after Size was lowered

	Paused bool
	// Down means that the latest open failed with all its tries. Only the
	// prober opens connections then, and while the pool is paused not even the
	// prober. A closed pool is not down.
	Down      bool
	Waiting   int // goroutines that wait now
	Abandoned int // connector calls that hang past their timeout

	// Counters since New.
	Leases       uint64 // connections lent
	Waits        uint64 // Pops that had to wait, with or without success
	WaitsFailed  uint64 // Waits that ended without a connection
	TimedOut     uint64 // WaitsFailed because of WaitTimeout or a deadline of the ctx
	Opened       uint64
	OpenErrors   uint64  // opens that failed with all their tries
	Closed       uint64  // Opened = open now + Closed + Detached, when nothing hangs
	ClosedBy     Reasons // Closed by reason
	Detached     uint64
	Leaks        uint64 // leases that lasted longer than LeakAfter
	Lost         uint64 // Conns forgotten without a Push
	Misused      uint64 // ended leases that were pushed, destroyed or detached again
	Abandonments uint64

	// Durations since New.
	Wait Histogram // all Waits
	Open Histogram // opens that succeeded, including all their tries
	// Use is how long connections were lent. Unless an [Observer] observes
	// uses, it contains samples: at most about 200 leases a second, each
	// counted for all the leases that it represents.
	Use Histogram
}

// Reason says why a connection was closed.
type Reason uint8

const (
	ReasonLifetime  Reason = 1 + iota // MaxLifetime
	ReasonUses                        // MaxUses
	ReasonIdle                        // IdleTimeout
	ReasonBroken                      // Connector.Broken, or an error that breaks
	ReasonDestroyed                   // Destroy, Discard, or a Use whose function did not return
	ReasonCheck                       // Connector.Check failed
	ReasonReset                       // Connector.Reset failed
	ReasonLost                        // its Conn was forgotten
	ReasonRefresh                     // Refresh
	ReasonResize                      // Size was lowered
	ReasonRevoked                     // RevokeAll, or a Close that aborted its holder
	ReasonAbandoned                   // an abandoned call returned and left it behind
	ReasonClose                       // the pool was closed
	reasons
)

var reasonNames = [reasons]string{
	"", "lifetime", "uses", "idle", "broken", "destroyed", "check", "reset", "lost",
	"refresh", "resize", "revoked", "abandoned", "close",
}

// String returns the reason as one word, such as "lifetime".
func (r Reason) String() string {
	if r >= reasons {
		return fmt.Sprintf("Reason(%d)", uint8(r))
	}
	return reasonNames[r]
}

// MarshalText returns the word that String returns.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Reasons contains a count for each [Reason]. The Reason is the index.
type Reasons [reasons]uint64

// All returns each reason and its count, including those with a count of 0.
func (r Reasons) All() iter.Seq2[Reason, uint64] {
	return func(yield func(Reason, uint64) bool) {
		for reason := ReasonLifetime; reason < reasons; reason++ {
			if !yield(reason, r[reason]) {
				return
			}
		}
	}
}

// MarshalJSON writes an object that maps each reason's word to its count.
func (r Reasons) MarshalJSON() ([]byte, error) {
	counts := make(map[Reason]uint64, reasons)
	maps.Insert(counts, r.All())
	return json.Marshal(counts)
}

// UnmarshalJSON reads the output of MarshalJSON.
func (r *Reasons) UnmarshalJSON(data []byte) error {
	var counts map[string]uint64
	if err := json.Unmarshal(data, &counts); err != nil {
		return err
	}
	*r = Reasons{}
	for reason := ReasonLifetime; reason < reasons; reason++ {
		r[reason] = counts[reason.String()]
	}
	return nil
}

// counters are guarded by the pool's lock.
type counters struct {
	refused, timedOut                           uint64 // of the waits
	passedUp                                    uint64 // grants cancelled at hand-off
	opened, openErrors, detached, lost, misused uint64
	abandonments, leaks                         uint64
	closedBy                                    Reasons
	leasesSeen                                  uint64 // Leases of the latest snapshot
	waitTimes, openTimes, useTimes              times
}

// waitFailed counts a wait that has ended without a connection.
func (c *counters) waitFailed(reason error) {
	c.refused++
	if reason == ErrWaitTimeout || reason == ErrPaused || reason == context.DeadlineExceeded {
		c.timedOut++
	}
}

// Stats returns a snapshot. It reads each slot once, under the pool's lock:
// about a nanosecond a slot, and a microsecond or two for the histograms.
func (p *Pool[T]) Stats() Stats {
	if !p.gate.has(gateMade) {
		return Stats{}
	}
	st, waits, opens, uses := p.snapshot()
	st.Wait, st.Open, st.Use = waits.histogram(), opens.histogram(), uses.histogram()
	return st
}

// snapshot is Stats with histograms that have not been written out yet.
func (p *Pool[T]) snapshot() (st Stats, waits, opens, uses times) {
	p.lock()
	defer p.unlock()
	waits, opens, uses = p.waitTimes.copied(), p.openTimes.copied(), p.useTimes.copied()
	st = Stats{
		Name: p.name, Size: p.settings.Size, Waiting: p.queue.len,
		Waits: waits.count, WaitsFailed: p.refused, TimedOut: p.timedOut,
		Opened: p.opened, OpenErrors: p.openErrors, ClosedBy: p.closedBy, Detached: p.detached,
		Leaks: p.leaks, Lost: p.lost, Misused: p.misused, Abandonments: p.abandonments,
		Abandoned: p.calls.abandoned.len,
		Paused:    p.paused, Down: p.pace.down(), Excess: max(p.taken()-p.settings.Size, 0),
	}
	for _, n := range p.closedBy {
		st.Closed += n
	}
	var in [states]int
	for _, s := range p.table.Load().slots {
		w := s.word.load()
		in[w.state()]++
		if w.state() != vacant {
			st.Leases += w.lease()
		}
	}
	st.Leases += p.census.leases - p.opens.begun - p.passedUp
	// A lease counts from its grant, but not if its waiter turns out to have given
	// up. The counter must not fall because of that.
	st.Leases = max(st.Leases, p.leasesSeen)
	p.leasesSeen = st.Leases
	// Slots beyond Size stay in the table until the last of them are vacant.
	st.Vacant = st.Size + st.Excess - p.taken()
	st.Opening, st.Idle, st.Stale = in[opening], in[idle], in[stale]+in[suspected]
	st.Held, st.Revoked, st.Checking, st.Resetting = in[held]+in[watched], in[revoked], in[checking], in[resetting]
	st.Returning, st.Closing, st.Hung = in[returning], in[closing], in[hung]
	return st, waits, opens, uses
}
