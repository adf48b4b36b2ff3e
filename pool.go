package pools

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Pool holds up to Size connections of one kind. Any number of goroutines may use
// it. A Push happens before the Pop that receives the same connection. An
// uncontended Pop and Push cost two atomic operations and allocate nothing. Make
// one with [New].
type Pool[T any] struct {
	// Read by every Pop and Push, rarely written.
	gate gate
	search[T]
	sampling sampling

	// Set by New.
	name      string
	serial    uint64 // the order in which several pools are locked or popped from
	connector Connector[T]
	settings  Settings // under the lock

	counted atomic.Pointer[counted] // for errors; see countSlots
	eldest  atomic.Pointer[eldest]
	vain    vain

	_ [64]byte // a contended lock does not slow the words above

	guard[T] // its lock guards everything below, and the writing of gate

	queue  queue[T]
	racer  *waiter[T] // the waiter that was woken to race and has not come back
	spares spares[T]
	alarm  timer // see alarm.go
	keeper timer // for the keeper's looks

	census
	calls  calls
	pace   pace
	need   need
	delays delays
	opens
	checks
	failing failing
	sweep   sweep
	demand
	turns turns
	takers
	keeping
	steering
	news
	ending
	counters
}

var poolsMade atomic.Uint64 // in this process

// New makes a pool. It opens nothing itself: connections are opened when they are
// first needed, and with MinIdle in the background; see also Fill. One error
// reports all faults of name, connector and settings.
func New[T any](name string, connector Connector[T], settings Settings) (*Pool[T], error) {
	var faults []error
	if name == "" {
		faults = append(faults, fieldError("name", "is empty; give the name that logs, errors and statistics call the pool by"))
	}
	if !utf8.ValidString(name) {
		faults = append(faults, fieldError("name", "is %q; give valid UTF-8, which logs, metrics and pages need", name))
	}
	faults = append(faults, connector.complete(), settings.complete(connector.Check != nil))
	if err := errors.Join(faults...); err != nil {
		return nil, &settingsError{"New", name, err}
	}
	p := &Pool[T]{
		name:      name,
		serial:    poolsMade.Add(1),
		connector: connector,
	}
	p.epoch = time.Now().Add(-1)
	p.asleep()
	p.alarm, p.keeper = newTimer(p, (*Pool[T]).onAlarm), newTimer(p, (*Pool[T]).onKeeper)
	p.calls.scope = newScope()
	p.guard.run = p.runCall
	p.pace, p.need = newPace(), newNeed()
	p.ending.done = make(chan struct{})
	p.refreshed = 1
	p.closedBy = make(Reasons, len(allReasons))
	for _, reason := range allReasons {
		p.closedBy[reason] = 0
	}
	if !unsampled.Load() {
		p.sampling.all()
	}
	p.gate.set(gateMade, true)
	p.lock()
	defer p.unlock()
	p.apply(settings)
	return p, nil
}

// Pop takes a connection: an idle one, or else the first that is pushed or has
// opened. It waits until ctx ends, at most WaitTimeout. Its error is a
// [*PopError]. Give the connection back with [Conn.PushErr], or with
// [Conn.Push] if the resource cannot break.
func (p *Pool[T]) Pop(ctx context.Context) (Conn[T], error) {
	if p.gate.load()&popsLook == gateMade && ctx.Err() == nil {
		if h, lease := p.take(); h != nil {
			conn := Conn[T]{h, lease}
			if p.sampling.sampled(h.slot.index, lease) {
				p.lend(conn, hurries(ctx, conn), 0)
			}
			return conn, nil
		}
	}
	return p.popSlow(ctx)
}

// popSlow is Pop off the fast path.
func (p *Pool[T]) popSlow(ctx context.Context) (Conn[T], error) {
	conn, err := p.popAnyhow(ctx)
	if e, ok := err.(*PopError); ok {
		p.countSlots(e)
	}
	return conn, err
}

func (p *Pool[T]) popAnyhow(ctx context.Context) (Conn[T], error) {
	if !p.gate.has(gateMade) {
		return Conn[T]{}, errZeroPool
	}
	if ctx.Err() != nil {
		_, ended := ctxError(ctx)
		p.lock()
		defer p.unlock()
		return Conn[T]{}, p.failure(p.now(), ended)
	}
	if p.gate.mayTake() {
		if conn, ok := p.takeConn(ctx); ok {
			return conn, nil
		}
	}
	return p.wait(ctx)
}

// TryPop takes an idle connection if there is one. It never waits, opens or
// checks, so it takes no connection that has to be checked first: with
// CheckAfter Always, or after Suspect with a Check, it finds nothing.
func (p *Pool[T]) TryPop() (Conn[T], bool) {
	if !p.gate.mayTake() {
		return Conn[T]{}, false
	}
	conn, ok := p.takeConn(context.Background())
	if !ok {
		p.vain.note()
	}
	return conn, ok
}

// Push gives conn back, as [Conn.Push] does. If conn belongs to another pool,
// nothing happens, and the error matches ErrNotHeld.
func (p *Pool[T]) Push(conn Conn[T]) error {
	if conn.handle != nil && conn.handle.pool != p {
		return errForeign
	}
	return conn.Push()
}

// Use pops a connection, calls fn with its resource and gives the connection
// back. If fn panics or calls runtime.Goexit, the connection is closed, and also
// after a timeout, a network error or io.EOF ([Breaks], or [Connector.Broken] if
// there is one). Use returns the error of fn unchanged. If no connection is to be
// had, fn does not run and the error is a [*PopError]. See also
// [Settings].FailUnfinished.
func (p *Pool[T]) Use(ctx context.Context, fn func(resource T) error) error {
	conn, err := p.Pop(ctx)
	if err != nil {
		return err
	}
	ended := false
	// The deferred call keeps conn reachable while fn runs, which has only the
	// resource.
	defer func() {
		if !ended {
			_ = conn.Destroy() // fn did not return; Destroy reports it if this lease has already ended
		}
	}()
	err = fn(conn.handle.conn.resource)
	ended = true
	if err == nil {
		if left, is := conn.Push().(*unfinished); is {
			return left
		}
		return nil
	}
	_ = conn.PushErr(err)
	if d, ok := err.(*discard); ok {
		return d.err
	}
	return err
}

// UseResult is Use for a function with a result.
func UseResult[T, R any](ctx context.Context, p *Pool[T], fn func(resource T) (R, error)) (R, error) {
	var result R
	err := p.Use(ctx, func(resource T) (err error) {
		result, err = fn(resource)
		return err
	})
	return result, err
}

// Name returns the pool's name.
func (p *Pool[T]) Name() string { return p.name }

// Settings returns the current settings, with the defaults filled in.
func (p *Pool[T]) Settings() Settings {
	p.lock()
	defer p.unlock()
	return p.settings
}

// Available returns how many connections can be taken without waiting for a
// holder: those that are idle, including those that Pop checks first and TryPop
// does not take, and those that may still be opened. A closed or paused pool has
// none.
func (p *Pool[T]) Available() int {
	if p.gate.load()&(gateMade|gateClosed|gatePaused) != gateMade {
		return 0
	}
	p.lock()
	n := max(p.settings.Size-p.taken(), 0)
	p.unlock()
	for _, s := range p.table.Load().slots {
		if s.word.load().unused() {
			n++
		}
	}
	return n
}

// takeConn takes an idle connection, or one that rests.
func (p *Pool[T]) takeConn(ctx context.Context) (Conn[T], bool) {
	h, lease := p.take()
	for h == nil && p.gate.has(gateResting) && p.gate.mayTake() {
		p.lock()
		if p.gate.mayTake() {
			h, lease = p.takeUnused(false)
		}
		p.unlock()
		if h != nil && p.connector.Peek != nil && !peeks(Conn[T]{h, lease}) {
			h = nil
		}
	}
	if h == nil {
		return Conn[T]{}, false
	}
	conn := Conn[T]{h, lease}
	p.lend(conn, hurries(ctx, conn), 0)
	return conn, true
}

// settingsError is the faults that New or Configure found.
type settingsError struct {
	in, pool string
	err      error
}

func (e *settingsError) Error() string {
	return "pools: " + e.in + "(" + strconv.Quote(e.pool) + "):\n" + e.err.Error()
}
func (e *settingsError) Unwrap() error { return e.err }
