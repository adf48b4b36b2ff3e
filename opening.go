package pools

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// Opens run in goroutines of the pool and belong to nobody: a caller that
// gives up does not stop the open that it caused, and its connection goes to
// the oldest waiter or becomes idle.
//
// How many run at once is bounded by a window (slow start). It is firstWindow
// while nothing is known, doubles with each success, and is one after a
// failure. Two corrections:
//
//   - after a lull, when no open is under way any more, it is firstWindow
//     again: a short spike on a warm pool opens two connections more and not
//     all that there is room for, because most are served by returns before
//     an open could be done;
//   - it doubles when the oldest waiter has waited for longer than an open
//     takes: the opens under way hang, or uses are long.
//
// When an open has failed with all its tries the server counts as down.
// Waiters with no other hope get the error at once, and so does every Pop
// until a prober, which tries alone and with growing pauses, succeeds.
const (
	firstWindow  = 2
	unknownOpen  = time.Second // what an open is taken to last until one has succeeded
	shortestSlow = 20 * time.Millisecond
	longestProb  = 30 * time.Second
)

// opens is the part of the pool that opening owns.
type opens struct {
	opening      int    // under way, abandoned ones aside
	spent        uint64 // lease numbers that went to opens, and to waiters that gave up at that instant
	window       int
	widenedAt    int64
	typicalOpen  time.Duration // how long the latest successful one took
	typicalReset time.Duration // the same of a Reset; 0: none has succeeded
	firstVacant  int           // no slot before it is vacant

	failures   int   // opens failed in a row; more than none: the server is down
	downSince  int64 // when the first of these began
	probing    bool
	probeAt    int64
	failedAt   int64 // when the latest of these did
	openErr    error // the latest
	openErrAt  int64
	filling    int       // how many connections the Fills and Refreshes under way want open, at the most
	nextTry    int64     // MaxOpensPerSecond allows none before
	fills      []*filler // told of each open's end
	alarm      *time.Timer
	alarmAt    int64 // when it will fire; 0: it is not set
	aboutIdle  int   // resets and checks under way: connections about to be idle
	gone       int   // slots whose connection is being closed, or whose call hangs and keeps them
	overstayed bool  // the oldest waiter has waited longer than a slow open takes
}

// down reports whether opening is known not to work.
func (o *opens) down() bool { return o.failures > 0 }

// openErrNow returns the latest error while it is down.
func (o *opens) openErrNow() error {
	if o.down() {
		return o.openErr
	}
	return nil
}

// slow is how long a call may take before it is thought to hang: half as long
// again as the latest one, or every second would be thought so, and at least
// shortestSlow, since a busy machine adds some milliseconds to all.
func slow(latest time.Duration) int64 {
	return max(int64(latest+latest/2), int64(shortestSlow))
}

func (o *opens) slowOpen() int64 { return slow(o.typicalOpen) }

// wanted is how many more connections should be under way.
func (p *Pool[T]) wanted() int {
	// A connection that is being reset or checked will be idle sooner than a
	// new one would; without this, one sequential user would open a second.
	hopes := p.opening + p.aboutIdle
	if p.failingSince != 0 {
		hopes -= p.byKeeper // of connections that are as dead as the others, probably
	}
	if p.overstayed {
		// What has been under way for longer than an open takes may hang. A
		// Reset may take longer than an open and be no worse for it: one user
		// must not open a second connection.
		hopes = 0
		for c := range p.calls {
			took := p.now() - c.since
			if !c.over && (c.name == "Open" && took < p.slowOpen() ||
				c.name == "Reset" && (p.typicalReset == 0 || took < max(slow(p.typicalReset), p.slowOpen()))) {
				hopes++
			}
		}
	}
	return max(p.queue.len-hopes, p.filling-(p.taken-p.gone), p.lackIdle, p.lackFresh)
}

// startOpens starts what is wanted and allowed.
func (p *Pool[T]) startOpens() {
	if p.opening == 0 && !p.down() {
		p.window = firstWindow // a lull
	}
	if p.down() {
		return // the prober alone
	}
	p.overstayed = false
	if w := p.queue.first; w != nil && p.taken < p.settings.Size {
		// A waiter older than a slow open, or one that has waited so long
		// again since the window was last widened, is not helped by what is
		// under way.
		since := max(w.since, p.widenedAt)
		now := p.now()
		p.overstayed = now-w.since >= p.slowOpen()
		if now-since >= p.slowOpen() {
			p.widenedAt = now
			if p.opening >= p.window {
				p.window = min(2*p.window, p.settings.Size)
			}
		}
	}
	for p.opening < p.window && p.wanted() > 0 && p.nextTry <= p.now() {
		s := p.vacantSlot()
		if s == nil {
			return
		}
		p.open(s, p.settings.ReconnectAttempts, nil)
		p.lackIdle--
		p.lackFresh--
	}
}

// openNow is how many connections are open and not being closed.
func (p *Pool[T]) openNow() int { return p.taken - p.gone - p.opening }

// vacantSlot returns the first vacant slot, or nil if Size are taken. Slots
// beyond Size count: they may be taken still.
func (p *Pool[T]) vacantSlot() *slot[T] {
	if p.taken >= p.settings.Size {
		return nil
	}
	slots := p.table.Load().slots
	for ; p.firstVacant < len(slots); p.firstVacant++ {
		if s := slots[p.firstVacant]; s.word.Load()&stateMask == vacant {
			return s
		}
	}
	return nil
}

// open starts an open in a vacant slot. told, if not nil, learns its end.
func (p *Pool[T]) open(s *slot[T], attempts int, told func(error)) {
	// A lease number of its own: a Pop that read the idle word of the slot's
	// last connection and slept since must not find that word again, or it
	// would lend a connection that is closed.
	s.word.Store(with(s.word.Load()+oneLease, opening))
	s.kept = kept{generation: p.refreshed}
	p.spent++
	p.taken++
	p.opening++
	values := context.Background()
	if w := p.queue.first; w != nil {
		values = context.WithoutCancel(w.ctx)
	}
	var resource T
	var got bool
	began := p.now()
	p.nextTry = began + p.tryGap()
	t := tries{p.begun + 1, attempts, p.settings.OpenTimeout, p.settings.ReconnectSleep}
	p.run("Open", values, t.timeout, func(ctx context.Context) (err error) {
		resource, err = p.tryOpen(ctx, t)
		got = err == nil
		return err
	}, func(c *call, err error) {
		p.opening--
		if err == nil {
			p.opened++
			p.window = min(2*p.window, p.settings.Size)
			p.typicalOpen = time.Duration(p.now() - began)
			p.openTimes.add(p.now()-began, 1)
			p.adopt(s, resource, began)
			p.happen(Event{Kind: EventOpened, Took: p.typicalOpen}, s.conn, nil)
			p.up()
			p.prove(s.generation)
			p.release(s) // model: open_done
		} else {
			p.vacate(s, c) // model: open_failed
			if !p.closed {
				p.openFailed(err, began)
			}
		}
		if told != nil {
			told(err)
		}
		for _, f := range p.fills {
			f.tell(err)
		}
	}, func(c *call, err error) {
		// It was abandoned and comes back: what it brings is not wanted any
		// more.
		if got {
			p.opened++
			conn := &connection[T]{resource: resource, number: connections.Add(1), openedAt: p.now()}
			p.happen(Event{Kind: EventOpened, Took: time.Duration(p.now() - began)}, conn, nil)
			p.closeLate(s, conn, c.keepsSlot)
		} else if c.keepsSlot {
			p.free(s)
		}
	})
}

// tries is how an open goes on: the settings when it began.
type tries struct {
	call     uint64 // its number
	attempts int
	timeout  time.Duration
	pause    time.Duration // the longest before the second
}

// tryGap is how long after a try MaxOpensPerSecond allows the next.
func (p *Pool[T]) tryGap() int64 {
	rate := p.settings.MaxOpensPerSecond
	if rate == NoLimit {
		return 0
	}
	return int64(time.Second) / int64(rate)
}

// awaitTurn waits until MaxOpensPerSecond allows a further try, and takes it.
// It returns false if ctx ends before, and if no further try may begin: the
// pool was paused, or Size lowered.
func (p *Pool[T]) awaitTurn(ctx context.Context, call uint64) bool {
	for {
		p.lock()
		wait := time.Duration(p.nextTry - p.now())
		stop := p.paused || p.taken > p.settings.Size
		if wait <= 0 && !stop {
			p.nextTry = p.now() + p.tryGap()
		}
		p.unlock()
		if wait <= 0 || stop {
			return !stop
		}
		if !sleep(ctx, wait) {
			return false
		}
		pauseCall("turn", call)
	}
}

// tryOpen calls Connector.Open until it succeeds.
func (p *Pool[T]) tryOpen(ctx context.Context, t tries) (T, error) {
	for try := 0; ; try++ {
		resource, err := p.connector.Open(ctx)
		if err == nil && isNil(resource) {
			err = errors.New("pools: Connector.Open returned nil and no error")
		}
		if err == nil {
			return resource, nil
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = &hidden{fmt.Sprintf("OpenTimeout (%v) ended it: %v", t.timeout, err), ErrOpenTimeout}
		}
		if try+1 == t.attempts || ctx.Err() != nil || !sleep(ctx, jitter(t.pause, try)) || !p.awaitTurn(ctx, t.call) {
			var none T
			if try > 0 {
				err = fmt.Errorf("%w (after %d tries)", err, try+1)
			}
			return none, err
		}
	}
}

// randomly returns a random duration below that one. Tests that are to go the
// same way each time set it.
var randomly = rand.N[time.Duration]

// jitter returns a random pause up to first, doubled n times.
func jitter(first time.Duration, n int) time.Duration {
	return randomly(doubled(first, n, time.Hour)) + 1
}

// doubled returns first, doubled n times, but not beyond limit.
func doubled(first time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// adopt makes resource the connection of the slot.
func (p *Pool[T]) adopt(s *slot[T], resource T, began int64) {
	s.conn = &connection[T]{
		resource: resource,
		number:   connections.Add(1),
		openedAt: p.now(),
		before:   leases(s.word.Load()),
		trace:    new(trace),
	}
	s.seen, s.seenAt = s.word.Load(), p.now()
	h := &handle[T]{slot: s, pool: p, conn: s.conn}
	s.handle.Store(h)
	// Once a connection, not once a lease. The argument is small and knows
	// neither slot nor pool: the collector holds on to it, and it would keep
	// a dropped pool for good. The function may run outside the pool's
	// synctest bubble, so it touches atomics, and pprof's own lock.
	s.conn.cleanup = runtime.AddCleanup(h, (*trace).lose, s.conn.trace)
	p.keep()
}

// openFailed notes that an open, begun at that time, has failed with all its
// tries. Opens that were under way together are one failure: the pause before
// the next try doubles with the tries, not with how many failed.
func (p *Pool[T]) openFailed(err error, began int64) {
	wasDown := p.down()
	if p.failures == 0 || began >= p.failedAt {
		p.failures++
		p.failedAt = p.now()
		pause := doubled(p.settings.ReconnectSleep, p.failures-1, longestProb)
		p.probeAt = p.now() + int64(pause/2+randomly(pause/2+1))
	}
	p.window = 1
	p.openErrors++
	p.openErr, p.openErrAt = err, p.now()
	e := Event{
		Kind: EventOpenFailed, Took: time.Duration(p.now() - began), Err: err,
		Count: p.failures, RetryIn: time.Duration(p.probeAt - p.now()),
	}
	p.happen(e, nil, nil)
	if !wasDown {
		p.downSince = began
		p.happen(Event{Kind: EventDown, Err: err}, nil, nil)
	}
}

// up ends that the server counts as down.
func (p *Pool[T]) up() {
	if p.down() {
		p.happen(Event{Kind: EventUp, Took: time.Duration(p.now() - p.downSince)}, nil, nil)
	}
	p.failures = 0
}

// failHopeless gives the latest error to the waiters when the server is down
// and there is nothing else that they could wait for.
func (p *Pool[T]) failHopeless() {
	if !p.down() || p.hope() {
		return
	}
	p.refuseAll(ErrOpenFailed)
}

// hope reports whether a waiter may get something while the server is down:
// a connection is open, or an open that is not the prober's is under way.
func (p *Pool[T]) hope() bool {
	probes := 0
	if p.probing {
		probes = 1
	}
	lost := 0
	if p.checksSpent() {
		lost = p.suspects
	}
	return p.opening-probes > 0 || p.taken-p.opening-p.gone-lost > 0
}

// probe tries whether the server is back.
func (p *Pool[T]) probe() {
	s := p.vacantSlot()
	if s == nil {
		if p.openNow() >= p.settings.Size {
			p.up() // nothing is to be opened: Size was lowered since
		} else {
			p.probeAt = p.now() + int64(time.Second) // what is being closed leaves room
		}
		return
	}
	p.probing = true
	p.open(s, 1, func(error) { p.probing = false })
}

// arm sets the alarm for what is due next: the oldest waiter's WaitTimeout, a
// wider window, the prober.
func (p *Pool[T]) arm() {
	due := int64(0)
	at := func(t int64) {
		if due == 0 || t < due {
			due = max(t, 1)
		}
	}
	w := p.queue.first
	if w != nil && w == p.racer {
		w = w.next // a racer looks at its own time when it comes back
	}
	if w != nil {
		if limit := p.settings.WaitTimeout; limit != Never {
			at(w.since + int64(limit))
		}
	}
	if !p.paused {
		room := p.taken < p.settings.Size && !p.down()
		if w != nil && room {
			at(max(w.since, p.widenedAt) + p.slowOpen())
		}
		if room && p.nextTry > p.now() && p.opening < p.window && p.wanted() > 0 {
			at(p.nextTry)
		}
		if p.down() && !p.probing {
			at(max(p.probeAt, p.nextTry))
		}
	}
	if due == 0 || p.alarmAt != 0 && p.alarmAt <= due {
		return // it fires early enough, and then looks again
	}
	p.alarmAt = due
	after := max(time.Duration(due-p.now()), 0)
	if p.alarm == nil {
		p.alarm = afterFunc(p, after, (*Pool[T]).onAlarm)
	} else {
		p.alarm.Reset(after)
	}
}

// onAlarm does what is due.
func (p *Pool[T]) onAlarm() {
	p.lock()
	defer p.unlockOwn()
	p.alarmAt = 0
	if p.closed {
		return
	}
	if limit := p.settings.WaitTimeout; limit != Never {
		for w := p.live(p.racer); w != nil && p.now()-w.since >= int64(limit); w = p.live(p.racer) {
			reason := ErrWaitTimeout
			if p.paused {
				reason = ErrPaused
			}
			p.refuse(w, reason)
		}
	}
	if !p.paused && p.down() && !p.probing && p.now() >= max(p.probeAt, p.nextTry) {
		p.probe()
	}
	p.settle()
}

// Fill opens connections until n are open, and returns when they are. The
// first is opened alone and tried once, so that a server that is not there is
// known at once; the rest follows slow start. If ctx ends before, the opens
// under way go on. Slots that hung calls keep (see [Settings]) are not waited
// for in any other way.
func (p *Pool[T]) Fill(ctx context.Context, n int) error {
	if p.gate.Load()&made == 0 {
		return ErrZero
	}
	p.lock()
	if size := p.settings.Size; n < 0 || n > size {
		defer p.unlock()
		return fieldError("Fill", "n is %d; give a number from 0 to the pool's Size, %d", n, size)
	}
	f := p.newFiller()
	p.fills = append(p.fills, f)
	defer func() {
		p.lock()
		defer p.unlock()
		p.endFill(f)
	}()
	first := p.vacantSlot()
	if n > 0 && !p.closed && !p.paused && p.taken-p.gone == 0 && first != nil && p.nextTry <= p.now() {
		p.open(first, 1, func(err error) {
			if err == nil {
				f.n = n // now the rest
			}
		})
	} else {
		f.n = n
	}
	for {
		open := p.openNow()
		switch {
		case p.closed:
			defer p.unlock()
			return &fillError{p.name, open, n, ErrClosed}
		case p.paused && open < n:
			defer p.unlock()
			return &fillError{p.name, open, n, ErrPaused}
		case n > p.settings.Size:
			defer p.unlock()
			return &fillError{p.name, open, n, fmt.Errorf("Size was lowered to %d", p.settings.Size)}
		case f.err != nil && open < n:
			defer p.unlock()
			return &fillError{p.name, open, n, f.err}
		case open >= n:
			p.unlock()
			return nil
		}
		p.countFilling()
		p.settle()
		p.unlock()
		select {
		case <-f.wake:
			pauseCall("fill", f.number)
		case <-ctx.Done():
			ended := ctxError(ctx)
			p.lock()
			defer p.unlock()
			return &fillError{p.name, p.openNow(), n, ended}
		}
		p.lock()
	}
}

// filler is a Fill under way.
type filler struct {
	n      int
	err    error // of an open that failed meanwhile
	wake   chan struct{}
	number uint64 // among the pool's calls, for tests that hold them up
}

func (p *Pool[T]) newFiller() *filler {
	p.begun++
	return &filler{wake: make(chan struct{}, 1), number: p.begun}
}

func (f *filler) tell(err error) {
	if err != nil {
		f.err = err
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// countFilling is called when the fillers have changed.
func (p *Pool[T]) countFilling() {
	p.filling = 0
	for _, f := range p.fills {
		p.filling = max(p.filling, f.n)
	}
	for _, r := range p.refreshes {
		if !r.proved && r.n > 0 {
			p.filling = max(p.filling, r.n+1) // the first new one beside the old, if there is room
		}
	}
}

// inFill reports whether a Fill is under way: what it opens is not idle yet.
func (p *Pool[T]) inFill() bool { return len(p.fills) > len(p.refreshes) }

func (p *Pool[T]) endFill(f *filler) {
	p.fills = remove(p.fills, f)
	p.countFilling()
}

func remove[E comparable](all []E, e E) []E {
	return slices.DeleteFunc(all, func(other E) bool { return other == e })
}

// fillError says how far a Fill came.
type fillError struct {
	pool    string
	open, n int
	err     error
}

func (e *fillError) Error() string {
	return fmt.Sprintf("pools: fill %q: %d of %d open: %v", e.pool, e.open, e.n, e.err)
}
func (e *fillError) Unwrap() error { return e.err }
