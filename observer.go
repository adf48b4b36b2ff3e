package pools

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

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
	if p.gate.Load()&made == 0 {
		return nil
	}
	p.lock()
	past := slices.Concat(p.past[p.oldest:], p.past[:p.oldest])
	p.unlock()
	all := make([]Event, len(past))
	for i, h := range past {
		all[i] = h.event(p.name, p.start)
	}
	return all
}

const (
	pastEvents = 64
	floodOf    = 10 // events of a kind within floodTime; more are a flood
	floodTime  = int64(10 * time.Second)
)

// watching is the part of the pool that observers and logs own.
type watching struct {
	happened []happening // unlock tells of these
	past     []happening // the latest of the seldom ones, a ring
	oldest   int         // in past
	floods   map[floodKey]*flood
	telling  atomic.Int64 // reports under way; raised under the lock
}

// happening is an event under the lock: what is dear to write out is written
// out afterwards.
type happening struct {
	e      Event
	number uint64 // of the connection; 0: none
	at     int64
	holder *holder
	log    bool
}

func (h *happening) event(pool string, start time.Time) Event {
	e := h.e
	e.Pool, e.Time = pool, start.Add(time.Duration(h.at))
	if h.number != 0 {
		e.ID = connectionID(pool, h.number)
	}
	if h.holder != nil {
		e.Goroutine, e.Stack = h.holder.goroutine, h.holder.text()
	}
	return e
}

// floodKey is what counts as one kind for a flood: connections that are closed
// because of an error are not drowned by those that end as they should.
type floodKey struct {
	kind   EventKind
	failed bool
}

// flood keeps too many events of a kind out of the log and the past.
type flood struct {
	since             int64
	count, suppressed int
}

// happen notes what unlock will tell. Under the lock.
func (p *Pool[T]) happen(e Event, about *connection[T], held *holder) {
	h := happening{e: e, at: p.now(), holder: held}
	if about != nil {
		h.number = about.number
	}
	to := p.settings.Observer.of(e.Kind)
	switch e.Kind {
	case EventPopped, EventPushed, EventWaited:
	default:
		if h.e.Suppressed = p.flooded(floodKey{e.Kind, e.Err != nil}); h.e.Suppressed < 0 {
			h.e.Suppressed = 0
			break
		}
		h.log = p.settings.Logger != nil
		if len(p.past) < pastEvents {
			p.past = append(p.past, h)
		} else {
			p.past[p.oldest] = h
			p.oldest = (p.oldest + 1) % pastEvents
		}
	}
	if to != nil || h.log {
		p.happened = append(p.happened, h)
	}
}

// flooded returns how many events of a kind were suppressed before one that
// is not, or -1 if this one is, too.
func (p *Pool[T]) flooded(key floodKey) int {
	if p.floods == nil {
		p.floods = make(map[floodKey]*flood)
	}
	f := p.floods[key]
	if f == nil {
		f = &flood{since: p.now()}
		p.floods[key] = f
	}
	if p.now()-f.since >= floodTime {
		f.since, f.count = p.now(), 0
	}
	if f.count == floodOf {
		f.suppressed++
		return -1
	}
	f.count++
	before := f.suppressed
	f.suppressed = 0
	return before
}

// of returns who is to be told of a kind of event, or nil.
func (o *Observer) of(kind EventKind) func(Event) {
	if o == nil {
		return nil
	}
	switch kind {
	case EventPopped:
		return o.Popped
	case EventPushed:
		return o.Pushed
	case EventWaited:
		return o.Waited
	}
	return o.Event
}

func (p *Pool[T]) observes(kind EventKind) bool { return p.settings.Observer.of(kind) != nil }

// report is what unlock has to tell when the lock is free.
type report struct {
	happened []happening
	pool     string
	start    time.Time
	observer *Observer
	logger   *slog.Logger
}

// report tells what has happened.
func (p *Pool[T]) report(r report) {
	if r.happened == nil {
		return
	}
	defer func() {
		// Close waits for us. It sets the gate before it looks at telling.
		if p.telling.Add(-1) == 0 && p.gate.Load()&closed != 0 {
			p.lock()
			defer p.unlock()
			p.ended()
		}
	}()
	r.tell()
}

// panicked logs that an Observer or a Logger did. If it was the Logger it may
// do so again, and no more can be done.
func (r *report) panicked(v any) {
	defer func() { _ = recover() }()
	if r.logger != nil {
		r.logger.Error("pools: an Observer or a Logger panicked", "pool", r.pool, "panic", v, "stack", string(debug.Stack()))
	}
}

func (r *report) tell() {
	for i := range r.happened {
		h := &r.happened[i]
		e := h.event(r.pool, r.start)
		if to := r.observer.of(e.Kind); to != nil {
			to(e)
		}
		if h.log && r.logger != nil {
			logEvent(r.logger, &e)
		}
	}
}

// logEvent writes an event to a log, at the level of what it means.
func logEvent(to *slog.Logger, e *Event) {
	level, message := slog.LevelWarn, ""
	switch e.Kind {
	case EventOpened:
		level, message = slog.LevelDebug, "a connection was opened"
	case EventOpenFailed:
		level, message = slog.LevelError, "open failed"
	case EventClosed:
		message = "a connection was closed"
		if e.Err == nil {
			level = slog.LevelDebug
		}
	case EventDown:
		level, message = slog.LevelError, "the server is down: until an open succeeds, one at a time is tried"
	case EventUp:
		level, message = slog.LevelInfo, "the server is up again"
	case EventLeaked:
		message = "a connection has been held for longer than LeakAfter"
	case EventLost:
		level, message = slog.LevelError, "a Conn was forgotten without Push"
	case EventMisused:
		message = "an ended lease was pushed, destroyed or detached again"
	case EventRevoked:
		message = "all leases were revoked"
	case EventHung:
		level, message = slog.LevelError, "a call hangs and is abandoned"
	case EventCallFailed:
		message = "a call failed"
	}
	if !to.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("pool", e.Pool)}
	add := func(there bool, a slog.Attr) {
		if there {
			attrs = append(attrs, a)
		}
	}
	add(e.ID != "", slog.String("connection", e.ID))
	add(e.Call != "", slog.String("call", "Connector."+e.Call))
	add(e.Reason != 0, slog.String("reason", e.Reason.String()))
	add(e.Took != 0, slog.Duration("took", e.Took))
	add(e.Count != 0, slog.Int("count", e.Count))
	add(e.RetryIn != 0, slog.Duration("next try in", e.RetryIn))
	add(e.Goroutine != 0, slog.Uint64("goroutine", e.Goroutine))
	add(e.Stack != "", slog.String("taken at", e.Stack))
	add(e.Err != nil, slog.Any("error", e.Err))
	add(e.Suppressed != 0, slog.Int("suppressed", e.Suppressed))
	to.LogAttrs(context.Background(), level, "pools: "+message, attrs...)
}
