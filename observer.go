package pools

import "time"

// Observer is told what happens in a pool. Each function may be nil. They are
// called outside of all locks, by the goroutine in which it happened, so they
// must be quick and should not panic: no connection is lost by that, but what
// else there was to tell is. In a goroutine of the pool's own the panic ends
// there, and is logged. They may use the pool. Events of different goroutines
// may come at once, and not quite in order. Close returns when all has been
// told, so a function that calls it waits for itself.
type Observer struct {
	// Event is told what happens seldom: every kind of event but the three
	// below.
	Event func(Event)

	// These are told what happens with each use. While Popped or Pushed is
	// set, each Pop and Push takes the lock: some 400 ns more for the two.
	Popped func(Event) // a connection was lent; Took: the wait
	Pushed func(Event) // a lease ended that began since this was set, and was not lost; Took: the use
	Waited func(Event) // a Pop had to wait; Took: the wait; Err: why it failed
}

// Observers returns one that tells all of them, in this order; some may be nil.
func Observers(all ...*Observer) *Observer {
	both := func(a, b func(Event)) func(Event) {
		switch {
		case a == nil:
			return b
		case b == nil:
			return a
		}
		return func(e Event) { a(e); b(e) }
	}
	o := new(Observer)
	for _, a := range all {
		if a != nil {
			o = &Observer{both(o.Event, a.Event), both(o.Popped, a.Popped), both(o.Pushed, a.Pushed), both(o.Waited, a.Waited)}
		}
	}
	return o
}

// EventKind says what happened.
type EventKind string

const (
	EventOpened     EventKind = "opened"      // Took: the open with all its tries
	EventOpenFailed EventKind = "open failed" // with all its tries: Took, Err, Count in a row, RetryIn
	EventClosed     EventKind = "closed"      // Took: how old it was; Reason; Err: what made it go
	EventDown       EventKind = "down"        // opens fail from now on: Err
	EventUp         EventKind = "up"          // an open has succeeded again, or none is needed any more: Took since down
	EventLeaked     EventKind = "leaked"      // held for longer than LeakAfter: Took, Goroutine, Stack
	EventLost       EventKind = "lost"        // a Conn was forgotten without a Push: Goroutine, Stack
	EventMisused    EventKind = "misused"     // an ended lease was pushed, destroyed or detached again
	EventRevoked    EventKind = "revoked"     // by RevokeAll: Count leases
	EventHung       EventKind = "hung"        // a call was abandoned: Call, Took
	EventCallFailed EventKind = "call failed" // Close or Abort: Call, Err

	EventPopped EventKind = "popped"
	EventPushed EventKind = "pushed"
	EventWaited EventKind = "waited"
)

// Event is something that happened in a pool. What else than Kind, Pool and
// Time is set, the kind's comment says.
type Event struct {
	Kind      EventKind
	Pool      string
	Time      time.Time
	ID        string // of the connection, if it is about one
	Took      time.Duration
	Reason    Reason
	Call      string // a function of the Connector: "Open", "Close" ...
	Count     int
	RetryIn   time.Duration // when the prober tries next
	Goroutine uint64        // with TrackHolders: the holder's, and the stack of its Pop
	Stack     string
	Err       error

	// Suppressed is how many of this kind were neither logged nor kept for
	// [Pool.Events] before this one, because there were too many.
	Suppressed int
}

// Events returns what happened last, the oldest first: at most 64 events, of
// the kinds that [Observer.Event] is told. When many of one kind come, it has
// ten of them in ten seconds, and Suppressed of the next says how many not.
func (p *Pool[T]) Events() []Event {
	if !p.gate.has(gateMade) {
		return nil
	}
	p.lock()
	past := p.news.latest()
	p.unlock()
	all := make([]Event, len(past))
	for i, h := range past {
		all[i] = h.event(p.name, p.epoch)
	}
	return all
}
