package pools

import (
	"context"
	"sync"
	"time"
)

// guard is the pool's one lock, with its clock and with what is left to do when
// it is free. It is held for a few instructions, and never while user code
// runs. An Observer, a Logger and the connector are user code: events and calls
// are noted under the lock, and told or begun after it.
type guard[T any] struct {
	mu    sync.Mutex
	epoch time.Time // when the pool's clock began
	at    int64     // what now has returned since mu was locked; 0: it was not called
	calendar

	visits visits // of slots, calls and waiters, see bulk.go

	told     tokens[T]   // waiters to send tokens to
	happened []happening // events to tell
	starting []*call     // calls to begin
	run      func(*call) // runs a call, in its own goroutine; set by New
}

const lockTries = 200

// lock takes mu. It tries for about as long as mu is held before it parks: the
// unlock that wakes a goroutine parked here would run it next, before the
// waiter that was just granted a connection.
func (g *guard[T]) lock() {
	for range lockTries {
		if g.mu.TryLock() {
			return
		}
	}
	g.mu.Lock()
}

// clock returns the nanoseconds since New, at least 1.
func (g *guard[T]) clock() int64 { return int64(time.Since(g.epoch)) }

// deadlineOf returns the deadline of a ctx on the pool's clock, or 0 if it has
// none. It calls the ctx's method, which is user code: never under the lock.
func (g *guard[T]) deadlineOf(ctx context.Context) int64 {
	if end, ok := ctx.Deadline(); ok {
		return max(int64(end.Sub(g.epoch)), 1)
	}
	return 0
}

// now returns what clock returned at the first call of now since the lock was
// taken: reading a clock takes longer than most of what is done under the lock.
func (g *guard[T]) now() int64 {
	if g.at == 0 {
		g.at = g.clock()
	}
	return g.at
}

// unlockMu unlocks mu. The caller must tell what it returns.
func (g *guard[T]) unlockMu() (tokens[T], []happening, []*call) {
	g.visits = visits{most: max(g.visits.most, g.visits.now)}
	told, happened, starting := g.told, g.happened, g.starting
	g.told, g.happened, g.starting, g.at = tokens[T]{}, nil, nil, 0
	g.mu.Unlock()
	return told, happened, starting
}

// telling is what one holding of the lock left to tell and to begin.
type telling[T any] struct {
	pool     *Pool[T]
	tokens   tokens[T]
	report   report
	starting []*call
}

// unlock unlocks, then tells.
func (p *Pool[T]) unlock() { p.unlockFirst().tell() }

// unlockFirst unlocks. The caller tells once it holds no other pool's lock
// either.
func (p *Pool[T]) unlockFirst() telling[T] {
	t := telling[T]{pool: p}
	if p.happened != nil {
		t.report = report{p.name, p.epoch, p.settings.Observer, p.settings.Logger, nil}
		p.reports.Add(1)
	}
	t.tokens, t.report.happened, t.starting = p.unlockMu()
	return t
}

// unlockLater is unlock for a caller that also holds other pools' locks.
func (p *Pool[T]) unlockLater() (tell, report func()) {
	t := p.unlockFirst()
	return t.begin, t.tellEvents
}

// unlockOwn is unlock in one of the pool's own goroutines, where a panic of an
// Observer or a Logger would end the program: it is logged instead.
func (p *Pool[T]) unlockOwn() {
	t := p.unlockFirst()
	defer func() {
		if v := recover(); v != nil {
			t.report.panicked(v)
		}
	}()
	t.tell()
}

func (t telling[T]) tell() {
	t.begin()
	t.tellEvents()
}

// begin sends the tokens and starts the calls.
func (t telling[T]) begin() {
	t.tokens.send()
	for _, c := range t.starting {
		go t.pool.guard.run(c)
	}
}

func (t telling[T]) tellEvents() {
	if t.report.happened == nil {
		return
	}
	p := t.pool
	defer func() {
		// Close waits for the reports. It sets the gate before it reads their
		// number.
		if p.reports.Add(-1) == 0 && p.gate.has(gateClosed) {
			p.lock()
			defer p.unlock()
			p.checkEnd()
		}
	}()
	t.report.tell()
}

// unlocked runs f without the lock, and has it again after f, also if f panics
// or ends its goroutine: the caller unlocks.
func (p *Pool[T]) unlocked(f func()) {
	defer p.lock()
	p.unlock()
	f()
}

// yield lets others have the lock between two slices. A panic of an Observer is
// logged then: it must not leave bulk work half done. An Observer may still end
// the goroutine, and then the caller unlocks.
func (p *Pool[T]) yield() {
	defer p.lock()
	p.unlockOwn()
}
