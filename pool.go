package pools

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Pool holds up to Size connections of one kind. It is safe for any number of
// goroutines. A Push happens before the Pop that receives the same
// connection. An uncontended Pop and Push cost two atomic operations and
// allocate nothing. Make one with [New].
type Pool[T any] struct {
	// Read by every Pop and Push, seldom written.
	gate     atomic.Uint32 // what is unusual; written under mu only
	prefix   atomic.Uint32 // how many of the first slots searches start in
	salt     atomic.Uint32 // shakes the starts after a collision
	table    atomic.Pointer[table[T]]
	sampling atomic.Uint64 // which uses are timed, see sampled; written under mu

	// Set by New.
	name      string
	serial    uint64 // the order in which several pools are popped from
	connector Connector[T]
	settings  Settings
	start     time.Time // the pool's clock begins

	_ [64]byte // a contended lock does not slow the words above

	// mu guards all that follows and the writing of gate. It is held for a
	// few instructions and never while user code runs, the Logger included:
	// unlock logs.
	mu sync.Mutex
	at int64 // what now returned since mu was locked; 0: it was not called

	// The wait protocol's, see waiting.go.
	queue                 queue[T]
	racer                 *waiter[T] // the one that was woken to race and has not come back
	toldFirst, toldLast   *waiter[T] // unlock sends them their tokens, in this order
	spareFirst, spareLast *waiter[T] // for reuse, linked by next
	spares                int

	opens
	checks
	keeping
	steering
	refreshing
	watching
	timing
	ending

	taken   int                // slots that are not vacant
	hung    int                // of these, kept by an abandoned call
	calls   map[*call]struct{} // of the connector's functions that have not come back
	running int                // of these, how many are not abandoned
	begun   uint64             // calls so far

	counters
}

// The gate says what is unusual. Its zero value lets no Pop pass, so that a
// zero Pool is found out off the fast path.
const (
	made      uint32 = 1 << iota // by New
	starving                     // the oldest waiter has waited too long: strict order, no overtaking
	queueing                     // somebody waits for what is pushed
	racing                       // a woken waiter is on its way
	closed                       // Close was called
	pausing                      // Pause was called: nothing is lent
	shrunk                       // Size was lowered, and more is open
	tracking                     // pops leave their stack
	careful                      // pushes ask Broken, Reset, a Check or MaxUses
	observing                    // an Observer wants to know of waits

	popsStop   = starving | closed | pausing           // a newcomer may not take what is idle
	popsLook   = made | popsStop | tracking            // a Pop takes the fast path when this is just made
	pushesSlow = starving | closed | shrunk | careful  // a Push decides under the lock
	pushesLook = queueing | starving | closed | shrunk // a Push that has made its slot idle has more to do
)

var pools atomic.Uint64 // made in this process

// New makes a pool. It opens nothing itself: connections are opened when they
// are first needed, and in the background with MinIdle; see also Fill. All
// faults of name, connector and settings come in one error.
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
		serial:    pools.Add(1),
		connector: connector,
		start:     time.Now().Add(-1),
		calls:     make(map[*call]struct{}),
	}
	p.window = firstWindow
	p.typicalOpen = unknownOpen
	p.done = make(chan struct{})
	p.refreshed = 1
	if !unsampled.Load() {
		p.sampling.Store(everySample)
	}
	p.gate.Store(made)
	p.lock()
	defer p.unlock()
	p.apply(settings)
	return p, nil
}

// Pop takes a connection: an idle one, or else the first that is pushed or
// finished opening. It waits until ctx ends, at most WaitTimeout; its error
// is then a [*PopError]. Give the connection back with [Conn.Push].
func (p *Pool[T]) Pop(ctx context.Context) (Conn[T], error) {
	if p.gate.Load()&popsLook == made && ctx.Err() == nil {
		if h, lease := p.take(); h != nil {
			conn := Conn[T]{h, lease}
			if p.sampled(h, lease) {
				p.lend(conn, 0)
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
		p.count(e)
	}
	return conn, err
}

func (p *Pool[T]) popAnyhow(ctx context.Context) (Conn[T], error) {
	if p.gate.Load()&made == 0 {
		return Conn[T]{}, ErrZero
	}
	if ctx.Err() != nil {
		ended := ctxError(ctx)
		p.lock()
		defer p.unlock()
		return Conn[T]{}, p.failure(p.now(), ended)
	}
	if p.mayTake() {
		if conn, ok := p.takeConn(); ok {
			return conn, nil
		}
	}
	return p.wait(ctx)
}

// mayTake reports whether a newcomer may take what is idle.
func (p *Pool[T]) mayTake() bool { return p.gate.Load()&(made|popsStop) == made }

// TryPop takes an idle connection if there is one. It never waits, opens or
// checks, so it takes none that would have to be checked first: with CheckAfter
// Always it finds nothing.
func (p *Pool[T]) TryPop() (Conn[T], bool) {
	if !p.mayTake() {
		return Conn[T]{}, false
	}
	return p.takeConn()
}

// Push gives conn back, as [Conn.Push] does, and refuses a Conn of another
// pool with ErrForeign.
func (p *Pool[T]) Push(conn Conn[T]) error {
	if conn.handle != nil && conn.handle.pool != p {
		return ErrForeign
	}
	return conn.Push()
}

// Use pops a connection, calls fn with its resource and gives it back, also
// when fn panics or calls runtime.Goexit; then the connection is closed. The
// error of fn is returned as it is, after [Connector.Broken] has seen it.
func (p *Pool[T]) Use(ctx context.Context, fn func(resource T) error) error {
	conn, err := p.Pop(ctx)
	if err != nil {
		return err
	}
	ended := false
	// The deferred call keeps conn reachable while fn runs, which may hold
	// the resource alone.
	defer func() {
		if !ended {
			_ = conn.Destroy() // fn did not return; who ended this lease is logged by Destroy
		}
	}()
	err = fn(conn.handle.conn.resource)
	ended = true
	if err == nil {
		_ = conn.Push()
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

// Size returns how many connections may be open at once.
func (p *Pool[T]) Size() int { return p.Settings().Size }

// Settings returns the settings in force, with the defaults filled in.
func (p *Pool[T]) Settings() Settings {
	p.lock()
	defer p.unlock()
	return p.settings
}

// Available returns how many connections can be had without waiting for a
// holder: those that are idle (also if they are checked first, which TryPop
// does not do) and those that may still be opened. A pool that is closed or
// paused has none.
func (p *Pool[T]) Available() int {
	if p.gate.Load()&(made|closed|pausing) != made {
		return 0
	}
	p.lock()
	defer p.unlock()
	n := max(p.settings.Size-p.taken, 0)
	for _, s := range p.table.Load().slots {
		if unused(s.word.Load()) {
			n++
		}
	}
	return n
}

// takeConn takes an idle connection.
func (p *Pool[T]) takeConn() (Conn[T], bool) {
	h, lease := p.take()
	if h == nil {
		return Conn[T]{}, false
	}
	conn := Conn[T]{h, lease}
	p.lend(conn, 0)
	return conn, true
}

// clock is nanoseconds since New, and at least 1.
func (p *Pool[T]) clock() int64 { return int64(time.Since(p.start)) }

// now is clock as of its first call since the lock was taken: to read a clock
// takes longer than most else that is done under the lock.
func (p *Pool[T]) now() int64 {
	if p.at == 0 {
		p.at = p.clock()
	}
	return p.at
}

// lock takes mu. It tries for about as long as mu is held before it parks:
// the unlock that wakes a goroutine parked here would run it next, before the
// waiter that was just granted a connection.
func (p *Pool[T]) lock() {
	for range lockTries {
		if p.mu.TryLock() {
			return
		}
	}
	p.mu.Lock()
}

// unlock unlocks and then does what must not happen under the lock: it tells
// the waiters, and observers and the log, which may use the pool.
func (p *Pool[T]) unlock() {
	told, r := p.unlockOnly()
	tellAll(told)
	p.report(r)
}

// unlockOwn is unlock in a goroutine of the pool's own, where a panic of an
// Observer or a Logger would end the program.
func (p *Pool[T]) unlockOwn() {
	told, r := p.unlockOnly()
	tellAll(told)
	defer func() {
		if v := recover(); v != nil {
			r.panicked(v)
		}
	}()
	p.report(r)
}

// unlockFirst is unlock for who holds other locks too: the rest is for later.
func (p *Pool[T]) unlockFirst() (tell, report func()) {
	told, r := p.unlockOnly()
	return func() { tellAll(told) }, func() { p.report(r) }
}

func (p *Pool[T]) unlockOnly() (told *waiter[T], r report) {
	if p.happened != nil {
		p.telling.Add(1)
		r = report{p.happened, p.name, p.start, p.settings.Observer, p.settings.Logger}
		p.happened = nil
	}
	told = p.toldFirst
	p.toldFirst, p.toldLast, p.at = nil, nil, 0
	p.mu.Unlock()
	return told, r
}

const lockTries = 200

// setGate sets or clears bits of the gate. Under the lock.
func (p *Pool[T]) setGate(bits uint32, on bool) {
	gate := p.gate.Load()
	switch {
	case on && gate&bits != bits:
		p.gate.Store(gate | bits)
	case !on && gate&bits != 0:
		p.gate.Store(gate &^ bits)
	}
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
