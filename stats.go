package pools

import (
	"context"
	"fmt"
	"maps"
	"strings"
)

// Stats is a snapshot of a pool. The states add up to Size plus Excess. In JSON, as
// in that of a [Connection] and an [Event], the names of durations say their unit:
// MaxNanoseconds.
type Stats struct {
	Name string
	Size int

	// The number of slots in each state. Each slot was in its state at one
	// moment of the snapshot.
	Vacant    int // a connection may be opened
	Opening   int
	Idle      int
	Stale     int // idle, and checked before they are lent: idle for CheckAfter, or suspected since another one failed
	Held      int
	Revoked   int // lent, but RevokeAll or Revoke has ended the lease
	Checking  int
	Resetting int
	Returning int
	Closing   int
	Hung      int // kept by an abandoned call
	Excess    int // slots in the states above that are beyond Size, after Size was lowered

	Paused bool
	// Down means that the latest open failed with all its tries, or that as
	// many connections in a row broke at their first use. Only the prober
	// opens connections then, and only while somebody asks for one or MinIdle
	// lacks one: if nobody does, Down says how the last try ended, however
	// long ago. While connections are open, the server may just be full.
	// While the pool is paused nothing is tried. A closed pool is not down.
	Down      bool
	Waiting   int // goroutines that wait now
	Abandoned int // connector calls that hang past their timeout

	// Counters since New.
	Leases       uint64 // connections lent
	Waits        uint64 // Pops that had to wait, with or without success
	WaitsFailed  uint64 // Waits that ended without a connection
	TimedOut     uint64 // WaitsFailed because of WaitTimeout or a deadline of the ctx
	Refused      uint64 // Pops that MaxWaiting or RefuseLate refused at once; they are no Waits
	PassedOver   uint64 // Waits whose ctx left no time for a typical use; they are served when nobody else wants a connection
	Opened       uint64
	OpenErrors   uint64  // opens that failed with all their tries
	Closed       uint64  // Opened = open now + Closed + Detached, when nothing hangs
	ClosedBy     Reasons // Closed by reason
	Detached     uint64
	Leaks        uint64 // leases that lasted longer than LeakAfter
	Lost         uint64 // Conns forgotten without a Push
	Misused      uint64 // ended leases that were pushed, destroyed or detached again
	Unfinished   uint64 // leases that left something unfinished ([Connector].Unfinished)
	Abandonments uint64

	// Durations since New.
	Wait Histogram // all Waits
	Open Histogram // opens that succeeded, including all their tries
	// Use is how long connections were lent. Unless an [Observer] observes
	// uses, it contains samples: at most about 200 leases a second, each
	// counted for all the leases that it represents.
	Use Histogram
}

// String is the snapshot in one line: the slots in each state, those that wait,
// and what went wrong since New. What is 0 is left out.
func (st Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: size %d", oneLine(st.Name), st.Size)
	separator := ": "
	add := func(n uint64, what string) {
		if n > 0 {
			fmt.Fprintf(&b, "%s%d %s", separator, n, what)
			separator = ", "
		}
	}
	for _, s := range []struct {
		n    int
		what string
	}{
		{st.Held, "held"}, {st.Idle, "idle"}, {st.Stale, "stale"}, {st.Vacant, "vacant"}, {st.Opening, "opening"}, {st.Revoked, "revoked"},
		{st.Returning, "returning"}, {st.Checking, "checking"}, {st.Resetting, "resetting"}, {st.Closing, "closing"}, {st.Hung, "hung"},
		{st.Excess, "beyond size"},
	} {
		add(uint64(s.n), s.what)
	}
	separator = "; "
	add(uint64(st.Waiting), "waiting")
	if st.Paused {
		b.WriteString("; paused")
	}
	if st.Down {
		b.WriteString("; down")
	}
	separator = "; "
	add(st.Leases, "leases")
	add(st.WaitsFailed, "waits failed")
	add(st.Refused, "refused")
	add(st.OpenErrors, "opens failed")
	add(st.Abandonments, "calls abandoned")
	add(st.Leaks, "leaks")
	add(st.Lost, "lost")
	add(st.Misused, "misused")
	add(st.Unfinished, "unfinished")
	return b.String()
}

// Reason says why a connection was closed, in one word.
type Reason string

const (
	ReasonLifetime  Reason = "lifetime"  // MaxLifetime
	ReasonUses      Reason = "uses"      // MaxUses
	ReasonIdle      Reason = "idle"      // IdleTimeout
	ReasonBroken    Reason = "broken"    // Connector.Broken, or an error that breaks
	ReasonDestroyed Reason = "destroyed" // Destroy, Discard, or a Use whose function did not return
	ReasonCheck     Reason = "check"     // Connector.Check failed
	ReasonReset     Reason = "reset"     // Connector.Reset failed
	ReasonLost      Reason = "lost"      // its Conn was forgotten
	ReasonRefresh   Reason = "refresh"   // Refresh
	ReasonResize    Reason = "resize"    // Size was lowered
	ReasonRevoked   Reason = "revoked"   // RevokeAll, Revoke, or a Close that aborted its holder
	ReasonAbandoned Reason = "abandoned" // an abandoned call returned and left it behind
	ReasonClose     Reason = "close"     // the pool was closed
)

var allReasons = [...]Reason{
	ReasonLifetime, ReasonUses, ReasonIdle, ReasonBroken, ReasonDestroyed, ReasonCheck, ReasonReset,
	ReasonLost, ReasonRefresh, ReasonResize, ReasonRevoked, ReasonAbandoned, ReasonClose,
}

// broke reports whether the connection was of no use before its Close.
func (r Reason) broke() bool {
	switch r {
	case ReasonBroken, ReasonDestroyed, ReasonCheck, ReasonReset, ReasonRevoked:
		return true
	}
	return false
}

// Reasons contains a count for each [Reason], including those with a count of 0.
type Reasons map[Reason]uint64

// String returns those that are not 0, such as "3 idle, 1 broken".
func (r Reasons) String() string {
	var parts []string
	for _, reason := range allReasons {
		if n := r[reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, string(reason)))
		}
	}
	return strings.Join(parts, ", ")
}

// counters are guarded by the pool's lock.
type counters struct {
	failed, timedOut                            uint64 // of the waits
	refused                                     uint64 // at arrival
	passedUp                                    uint64 // grants cancelled at hand-off
	opened, openErrors, detached, lost, misused uint64
	abandonments, leaks, unfinished             uint64
	closedBy                                    Reasons
	leasesSeen                                  uint64 // Leases of the latest snapshot
	waitTimes, openTimes, useTimes              times
}

// waitFailed counts a wait that has ended without a connection.
func (c *counters) waitFailed(reason error) {
	c.failed++
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
		Waits: waits.count, WaitsFailed: p.failed, Refused: p.refused, TimedOut: p.timedOut, PassedOver: p.queue.passedOver,
		Opened: p.opened, OpenErrors: p.openErrors, ClosedBy: maps.Clone(p.closedBy), Detached: p.detached,
		Leaks: p.leaks, Lost: p.lost, Misused: p.misused, Unfinished: p.unfinished, Abandonments: p.abandonments,
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
	st.Opening, st.Idle, st.Stale = in[opening], in[idle]+in[resting], in[stale]+in[suspected]
	st.Held, st.Revoked, st.Checking, st.Resetting = in[held]+in[watched], in[revoked], in[checking], in[resetting]
	st.Returning, st.Closing, st.Hung = in[returning], in[closing], in[hung]
	return st, waits, opens, uses
}
