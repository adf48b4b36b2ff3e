package pools

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	pastEvents = 64
	floodOf    = 10 // events of a kind within floodTime; more are a flood
	floodTime  = int64(10 * time.Second)
)

// news keeps the latest events and suppresses floods of them. Under the lock,
// except for reports. Only this file writes its fields.
type news struct {
	past    []happening // the latest rare events, a ring
	oldest  int         // in past
	floods  map[floodKey]*flood
	reports atomic.Int64 // the number of reports being told; increased under the lock
}

// happening is an event under the lock. Expensive formatting happens after
// unlock.
type happening struct {
	e      Event
	number uint64 // of the connection; 0: none
	at     int64
	taker  *taker
	log    bool
}

func (h *happening) event(pool string, start time.Time) Event {
	e := h.e
	e.Pool, e.Time = pool, start.Add(time.Duration(h.at))
	if h.number != 0 {
		e.ID = connectionID(pool, h.number)
	}
	if h.taker != nil {
		e.Goroutine, e.Stack = h.taker.goroutine, h.taker.text()
	}
	return e
}

// floodKey is what counts as one kind for a flood. Connections that close because
// of an error are not suppressed because of those that close as they should, nor
// Closes that fail because of those of broken connections.
type floodKey struct {
	kind   EventKind
	failed bool
}

type flood struct {
	since             int64
	count, suppressed int
}

// happen notes an event, which unlock then tells. Under the lock.
func (p *Pool[T]) happen(e Event, about *connection[T], taker *taker) {
	h := happening{e: e, at: p.now(), taker: taker}
	if about != nil {
		h.number = about.number
	}
	if p.note(&h, p.settings.Observer, p.settings.Logger) {
		p.happened = append(p.happened, h)
	}
}

// note keeps an event, unless there are too many of its kind. It reports whether
// anybody is to be told of it.
func (n *news) note(h *happening, observer *Observer, logger *slog.Logger) bool {
	observed := observer.of(h.e.Kind) != nil
	switch h.e.Kind {
	case EventPopped, EventPushed, EventWaited:
		return observed
	}
	failed := h.e.Err != nil && !(h.e.Kind == EventCallFailed && h.e.Reason != "")
	before, flooded := n.flooded(floodKey{h.e.Kind, failed}, h.at)
	if flooded {
		return observed
	}
	h.e.Suppressed, h.log = before, logger != nil
	if len(n.past) < pastEvents {
		n.past = append(n.past, *h)
	} else {
		n.past[n.oldest] = *h
		n.oldest = (n.oldest + 1) % pastEvents
	}
	return observed || h.log
}

// latest returns the latest events, the oldest first.
func (n *news) latest() []happening { return slices.Concat(n.past[n.oldest:], n.past[:n.oldest]) }

// flooded counts an event, and reports whether there are too many of its kind. If
// not, it returns how many were suppressed since the latest that was kept.
func (n *news) flooded(key floodKey, now int64) (suppressed int, flooded bool) {
	if n.floods == nil {
		n.floods = make(map[floodKey]*flood)
	}
	f := n.floods[key]
	if f == nil {
		f = &flood{since: now}
		n.floods[key] = f
	}
	if now-f.since >= floodTime {
		f.since, f.count = now, 0
	}
	if f.count == floodOf {
		f.suppressed++
		return 0, true
	}
	f.count++
	suppressed, f.suppressed = f.suppressed, 0
	return suppressed, false
}

// of returns the function that is told of a kind of event, or nil.
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

// wants reports whether the Observer is told of a kind of event.
func (o *Observer) wants(kind EventKind) bool { return o.of(kind) != nil }

// everyUse reports whether the Observer is told of each use.
func (o *Observer) everyUse() bool { return o.wants(EventPopped) || o.wants(EventPushed) }

// report is events, and who is told of them.
type report struct {
	pool     string
	start    time.Time
	observer *Observer
	logger   *slog.Logger
	happened []happening
}

func (r *report) tell() {
	for i := range r.happened {
		h := &r.happened[i]
		e := h.event(r.pool, r.start)
		if to := r.observer.of(e.Kind); to != nil {
			to(e)
		}
		if h.log && r.logger != nil && !r.said(i) {
			logEvent(r.logger, &e)
		}
	}
}

// said reports whether the record of the event before or after this one says it
// too: an open that failed makes the server down, or is the call that hung.
func (r *report) said(i int) bool {
	logged := func(i int, kind EventKind) bool {
		return i >= 0 && i < len(r.happened) && r.happened[i].log && r.happened[i].e.Kind == kind
	}
	e := &r.happened[i].e
	return e.Kind == EventOpenFailed && (logged(i+1, EventDown) || logged(i-1, EventHung) && e.Err == ErrAbandoned)
}

// panicked logs a panic of an Observer or a Logger. If the Logger panics again,
// nothing more can be done.
func (r *report) panicked(v any) {
	defer func() { _ = recover() }()
	if r.logger != nil {
		r.logger.Error("pools: an Observer or a Logger panicked", "pool", r.pool, "panic", v, "stack", string(debug.Stack()))
	}
}

// logEvent logs an event, at a level that fits its kind.
func logEvent(to *slog.Logger, e *Event) {
	level, message := e.says()
	if to.Enabled(context.Background(), level) {
		to.LogAttrs(context.Background(), level, "pools: "+message, e.attrs()...)
	}
}

// says is how a log calls an event, and at what level.
func (e *Event) says() (level slog.Level, message string) {
	switch e.Kind {
	case EventOpened:
		return slog.LevelDebug, "a connection was opened"
	case EventOpenFailed:
		return slog.LevelError, "open failed"
	case EventClosed:
		if e.Err == nil {
			return slog.LevelDebug, "a connection was closed"
		}
		return slog.LevelWarn, "a connection was closed"
	case EventDown:
		return slog.LevelError, "the server is down; one open at a time is tried until one succeeds"
	case EventUp:
		return slog.LevelInfo, "the server is up again"
	case EventLeaked:
		return slog.LevelWarn, "a connection has been held for longer than LeakAfter"
	case EventLost:
		return slog.LevelError, "a Conn was forgotten without Push"
	case EventMisused:
		return slog.LevelWarn, "an ended lease was pushed, destroyed or detached again"
	case EventRevoked:
		if e.ID != "" {
			return slog.LevelWarn, "a lease was revoked"
		}
		return slog.LevelWarn, "all leases were revoked"
	case EventHung:
		return slog.LevelError, "a connector call hung and was abandoned"
	case EventCallFailed:
		if e.Reason != "" {
			return slog.LevelDebug, "a connector call failed"
		}
		return slog.LevelWarn, "a connector call failed"
	case EventReturned:
		return slog.LevelInfo, "a connection that was held for longer than LeakAfter has come back"
	case EventUnfinished:
		return slog.LevelWarn, "a use left something unfinished, which the next one does not find"
	case EventPaused:
		return slog.LevelInfo, "the pool is paused"
	case EventResumed:
		return slog.LevelInfo, "the pool goes on"
	case EventConfigured:
		return slog.LevelInfo, "the settings were changed"
	case EventRefresh:
		return slog.LevelInfo, "a Refresh has begun"
	case EventPopped:
		return slog.LevelDebug, "a connection was lent"
	case EventPushed:
		return slog.LevelDebug, "a lease ended"
	case EventWaited:
		return slog.LevelDebug, "a wait is over"
	}
	return slog.LevelWarn, string(e.Kind)
}

// attrs are the fields of an event as a log has them.
func (e *Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("pool", e.Pool)}
	add := func(there bool, a slog.Attr) {
		if there {
			attrs = append(attrs, a)
		}
	}
	add(e.ID != "", slog.String("connection", e.ID))
	add(e.Call != "", slog.String("call", "Connector."+e.Call))
	add(e.Reason != "", slog.String("reason", string(e.Reason)))
	took := "took"
	switch e.Kind {
	case EventClosed:
		took = "age"
	case EventLeaked, EventReturned:
		took = "held"
	}
	add(e.Took != 0, slog.Duration(took, e.Took))
	add(e.Count != 0, slog.Int("count", e.Count))
	add(e.RetryIn != 0, slog.Duration("next try in", e.RetryIn))
	add(e.Goroutine != 0, slog.Uint64("goroutine", e.Goroutine))
	add(e.Stack != "", slog.String("taken at", e.Stack))
	add(e.Err != nil, slog.Any("error", e.Err))
	add(e.Suppressed != 0, slog.Int("suppressed", e.Suppressed))
	return attrs
}

// String is the event in one line, as a log has it. Of the stack it has the place
// at which the holder took the connection.
func (e Event) String() string {
	level, message := e.says()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v %s", e.Time.Format("2006-01-02 15:04:05.000"), level, message)
	separator := ": "
	for _, a := range e.attrs() {
		value := a.Value.String()
		if a.Value.Kind() == slog.KindDuration {
			value = roundly(a.Value.Duration())
		}
		if a.Key == "taken at" {
			value = place(e.Stack)
		}
		b.WriteString(separator + a.Key + " " + oneLine(value))
		separator = ", "
	}
	return b.String()
}

// oneLine quotes what would not be one line.
func oneLine(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// roundly writes a duration with about three digits.
func roundly(d time.Duration) string {
	unit := time.Nanosecond
	for unit < time.Second && d >= 1000*unit {
		unit *= 1000
	}
	return d.Round(max(unit/100, 1)).String()
}
