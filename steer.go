package pools

import (
	"errors"
	"fmt"
	"time"
)

// What an operator does while the pool runs: Configure, Pause and Resume. Refresh
// is in refresh.go, RevokeAll in revoke.go.
//
// A larger Size makes the table longer. A smaller one closes the surplus: idle
// connections at once, others when they are returned, whichever come first.
// Until then the gate says shrunk, and every push goes the slow way. Slots
// beyond Size stay in the table until the last of them are vacant.

// steering is the state of Configure and Pause. Under the lock.
type steering struct {
	version uint64 // how often the settings were changed
	paused  bool
	since   int64 // when it was paused
}

// Configure changes settings while the pool runs. change modifies a copy of the
// current settings. If the result is not valid, one error reports all its faults
// and nothing changes. change runs without the pool's lock, may use the pool, and
// is called again if another Configure was faster.
//
// Every setting may change. A larger Size serves waiters at once. With a smaller
// one, surplus idle connections close at once and others when they are returned;
// once Configure has returned, no open starts beyond the new Size. New timeouts
// apply to calls that begin later, and a new WaitTimeout also to Pops that are
// already waiting. If the server is down, Configure makes a try due at once.
func (p *Pool[T]) Configure(change func(*Settings)) error {
	if !p.gate.has(gateMade) {
		return errZeroPool
	}
	if change == nil {
		return fieldError("Configure", "change is nil; give the function that changes the settings")
	}
	return configure([]AnyPool{p}, func(_ string, s *Settings) { change(s) })
}

// configurable is what configure needs of a pool of any type. The methods after
// lock are called under the locks of all pools.
type configurable interface {
	plan() plan
	suits(s *Settings) error
	lock()
	unlockLater() (tell, report func())
	stillAt(version uint64) (bool, error)
	apply(s Settings)
}

// configure changes the settings of all pools, or of none.
func configure(all []AnyPool, change func(name string, s *Settings)) error {
	for range configureTries {
		plans := make([]plan, len(all))
		var faults []error
		for i, p := range all {
			plans[i] = p.plan()
			change(p.Name(), &plans[i].settings)
			if err := p.suits(&plans[i].settings); err != nil {
				faults = append(faults, &settingsError{"Configure", p.Name(), err})
			}
		}
		if err := errors.Join(faults...); err != nil {
			return err
		}
		if applied, err := applyAll(all, plans); applied || err != nil {
			return err
		}
	}
	return errBusyConfigure
}

// configureTries bounds the tries, in case change itself calls Configure.
const configureTries = 100

var errBusyConfigure = fmt.Errorf("pools: Configure: somebody else changed the settings meanwhile, %d times in a row; do not call Configure in its own function", configureTries)

// plan is new settings, which may be applied if nobody has changed the current
// ones since that version.
type plan struct {
	settings Settings
	version  uint64
}

// applyAll applies all plans at once, unless one is out of date. It locks in the
// pools' order, so that two calls cannot block each other.
func applyAll(all []AnyPool, plans []plan) (applied bool, err error) {
	for _, p := range all {
		p.lock()
	}
	defer func() {
		// First unlock all, then do what must not happen under any lock.
		var tell, report []func()
		for _, p := range all {
			t, r := p.unlockLater()
			tell, report = append(tell, t), append(report, r)
		}
		for _, rest := range append(tell, report...) {
			rest()
		}
	}()
	var faults []error
	current := true
	for i, p := range all {
		ok, err := p.stillAt(plans[i].version)
		current = current && ok
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil || !current {
		return false, err
	}
	for i, p := range all {
		p.apply(plans[i].settings)
	}
	return true, nil
}

func (p *Pool[T]) plan() plan {
	p.lock()
	defer p.unlock()
	return plan{p.settings, p.version}
}

// suits fills in defaults and returns what is wrong with the settings for this
// pool.
func (p *Pool[T]) suits(s *Settings) error { return s.complete(p.connector.Check != nil) }

// stillAt reports whether the settings are still those of that version. It fails
// if the pool is closed.
func (p *Pool[T]) stillAt(version uint64) (bool, error) {
	if p.closed {
		return false, &settingsError{"Configure", p.name, ErrClosed}
	}
	return p.version == version, nil
}

// apply makes s the pool's settings.
func (p *Pool[T]) apply(s Settings) {
	p.settings = s
	p.version++
	p.gate.set(gateTracking, p.takers.want(&s))
	p.gate.set(gateObserving, s.Observer.wants(EventWaited))
	if s.Observer.everyUse() {
		p.sampling.all()
	}
	p.gate.set(gateCareful, p.connector.Broken != nil || p.connector.Reset != nil || p.settings.alwaysChecks() || s.MaxUses != NoLimit)
	if t := p.table.Load(); t == nil || len(t.slots) < s.Size {
		p.table.Store(newTable(s.Size, t))
		p.resize(s.Size)
	}
	p.shed()
	p.every = s.lookEvery(p.connector.Check != nil)
	p.lackIdle = 0 // the next look computes it
	if p.settings.alwaysChecks() {
		p.sweepIdle(stale, true)
	}
	p.pace.limit(p.now(), s.MaxOpensPerSecond)
	if p.taken() > 0 || s.MinIdle > 0 {
		p.lookNoLaterThan(p.now()) // with the new times
	}
	if p.version > 1 {
		p.pace.doubt(p.now())
		p.happen(Event{Kind: EventConfigured, Count: s.Size}, nil, nil)
		p.tellFills(nil) // Size may be less than they want
		p.settle()       // model: resize
		p.trim()
	}
}

// trim removes vacant slots beyond Size from the end of the table.
func (p *Pool[T]) trim() {
	t := p.table.Load()
	n := max(p.settings.Size, p.lastTaken()+1)
	if n < len(t.slots) {
		p.table.Store(newTable(n, &table[T]{slots: t.slots[:n]}))
		p.resize(n)
	}
}

// Pause makes Pops wait until Resume: nothing is lent, and no open starts. A Pop
// whose WaitTimeout ends meanwhile fails with ErrPaused. Holders keep their
// connections and can push them; running opens finish. Pause is idempotent.
func (p *Pool[T]) Pause() { p.setPaused(true) }

// Resume ends a Pause: waiters are served at once, in the order in which Pops are
// always served (see Waiting in the package's comment). If the server was down,
// an open is tried at once, and Pops wait for its result.
func (p *Pool[T]) Resume() { p.setPaused(false) }

func (p *Pool[T]) setPaused(on bool) {
	if !p.gate.has(gateMade) {
		return
	}
	p.lock()
	defer p.unlock()
	if p.closed || p.paused == on {
		return
	}
	p.paused = on
	p.gate.set(gatePaused, on)
	if on {
		p.steering.since = p.now()
		p.happen(Event{Kind: EventPaused}, nil, nil)
	} else {
		p.happen(Event{Kind: EventResumed, Took: time.Duration(p.now() - p.steering.since)}, nil, nil)
		p.pace.doubt(p.now())
		p.delays.restart(p.now())
	}
	p.tellFills(nil)
	p.settle() // model: pause, resume
}
