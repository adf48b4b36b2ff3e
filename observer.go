package pools

import "time"

// Observer is told what happens in a pool. Each function may be nil. The
// functions are called without any lock, by the goroutine in which the event
// happened, so they must be quick. They may use the pool. They should not panic:
// no connection is lost by a panic, but other events that were due are. In the
// pool's own goroutines a panic is caught and logged. Events of different
// goroutines may arrive concurrently and slightly out of order. Close returns
// when all events have been told, so a function that calls it waits for itself.
type Observer struct {
	// Event is told rare events: every kind except the three below.
	Event func(Event)

	// These are told of each use. While Popped or Pushed is set, each Pop and
	// each Push takes the lock, which costs some 400 ns more for the two.
	Popped func(Event) // a connection was lent; Took: the wait
	Pushed func(Event) // a lease ended that began after this was set, and was not lost; Took: the use
	Waited func(Event) // a Pop had to wait, and its wait is over; Took: the wait; Err: why it failed
}

// Observers returns an Observer that calls all of the given ones, in this order.
// Some may be nil.
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

// EventKind says what happened. Each kind documents which fields of the Event it
// sets besides Kind, Pool and Time.
type EventKind string

const (
	EventOpened     EventKind = "opened"      // Took: the open, including all its tries
	EventOpenFailed EventKind = "open failed" // all tries failed, or as many connections (ID: the last) broke at their first use: Took, Err, Count of failures in a row, RetryIn
	EventClosed     EventKind = "closed"      // Took: its age; Reason; Err: the error because of which it closed
	EventDown       EventKind = "down"        // opens fail from now on: as the EventOpenFailed before it
	EventUp         EventKind = "up"          // an open has succeeded again, or none is needed any more: Took: how long it was down
	EventLeaked     EventKind = "leaked"      // held for longer than LeakAfter: Took, Goroutine, Stack
	EventLost       EventKind = "lost"        // a Conn was forgotten without a Push: Goroutine, Stack
	EventMisused    EventKind = "misused"     // an ended lease was pushed, destroyed or detached again
	EventRevoked    EventKind = "revoked"     // by RevokeAll: Count leases; by Revoke: one connection, Goroutine, Stack
	EventHung       EventKind = "hung"        // a call was abandoned: Call, Took
	EventCallFailed EventKind = "call failed" // Close or Abort: Call, Err; Reason, if it is the Close of a connection that was broken already
	EventReturned   EventKind = "returned"    // a connection that was told as leaked has come back: Took: how long it was held, at least; Goroutine, Stack

	EventUnfinished EventKind = "unfinished" // a use left something unfinished: Err says what; Goroutine, Stack

	EventPaused     EventKind = "paused"     // by Pause
	EventResumed    EventKind = "resumed"    // by Resume: Took: how long it was paused
	EventConfigured EventKind = "configured" // by Configure: Count is the Size now
	EventRefresh    EventKind = "refresh"    // a Refresh has begun: Count connections to be replaced

	EventPopped EventKind = "popped"
	EventPushed EventKind = "pushed"
	EventWaited EventKind = "waited"
)

// Event is something that happened in a pool. Kind, Pool and Time are always
// set; each [EventKind] documents which other fields it sets.
type Event struct {
	Kind      EventKind
	Pool      string
	Time      time.Time
	ID        string        // of the connection, if the event is about one
	Took      time.Duration `json:"TookNanoseconds"`
	Reason    Reason
	Call      string // a function of the Connector: "Open", "Close" ...
	Count     int
	RetryIn   time.Duration `json:"RetryInNanoseconds"` // when the prober tries next, if somebody asks
	Goroutine uint64        // the holder's, with TrackGoroutines
	Stack     string        // of the holder's Pop, with TrackHolders
	Err       error

	// Suppressed is the number of events of this kind before this one that were
	// neither logged nor kept for [Pool.Events], because there were too many.
	Suppressed int
}

// Events returns the latest events, the oldest first: at most 64, of the kinds
// that [Observer.Event] is told. Of one kind it keeps at most ten in ten seconds;
// Suppressed of the next one says how many were dropped.
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
