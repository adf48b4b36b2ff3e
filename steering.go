package pools

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What an operator does while the pool runs: Configure, Refresh, Pause,
// Resume and RevokeAll.
//
// Size is raised by a longer table and lowered by closing what is too many:
// idle ones at once, others as they come back, whichever come first. Until
// then the gate says shrunk, and every push goes the slow way. Slots beyond
// Size stay in the table until the last of them are vacant.

// steering is the part of the pool that steering owns.
type steering struct {
	version   uint64 // how often the settings were changed
	paused    bool
	trimmed   uint64 // lease numbers of slots that are not in the table any more
	refreshes []*refresh
	refreshed uint64 // Refreshes so far, and one
}

// Configure changes settings while the pool runs. change gets the settings in
// force and writes into them; if the result has faults, all of them come in
// one error and nothing changes. It holds no lock, may use the pool, and is
// called again if another Configure was faster.
//
// Everything may change. A larger Size serves waiters at once. With a smaller
// one, idle connections that are too many are closed at once and others as
// they come back; no open starts beyond it once Configure has returned.
// Timeouts hold for calls that begin later, WaitTimeout for those that wait
// already.
func (p *Pool[T]) Configure(change func(*Settings)) error {
	if p.gate.Load()&made == 0 {
		return ErrZero
	}
	if change == nil {
		return fieldError("Configure", "change is nil; give the function that changes the settings")
	}
	return configure([]AnyPool{p}, func(_ string, s *Settings) { change(s) })
}

// configurable is what configure needs of a pool of any type. What follows
// the locks is called under them.
type configurable interface {
	plan() plan
	suits(s *Settings) error
	lock()
	unlockFirst() (rest func())
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

// configureTries bounds a change that itself calls Configure.
const configureTries = 100

var errBusyConfigure = fmt.Errorf("pools: Configure: somebody else changed the settings meanwhile, %d times in a row; do not call Configure in its own function", configureTries)

// plan is settings that may come into force if nobody has changed them since.
type plan struct {
	settings Settings
	version  uint64
}

// applyAll puts the plans into force at once, unless one is out of date. All
// is in the pools' order, so that two of them cannot block each other.
func applyAll(all []AnyPool, plans []plan) (applied bool, err error) {
	for _, p := range all {
		p.lock()
	}
	defer func() {
		// First all locks, then what must not happen under any.
		rest := make([]func(), len(all))
		for i, p := range all {
			rest[i] = p.unlockFirst()
		}
		for _, r := range rest {
			r()
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

// suits completes settings and returns what is wrong with them for this pool.
func (p *Pool[T]) suits(s *Settings) error { return s.complete(p.connector.Check != nil) }

// stillAt reports whether the settings are those of that version. It fails
// when there are none to change any more.
func (p *Pool[T]) stillAt(version uint64) (bool, error) {
	if p.closed {
		return false, &settingsError{"Configure", p.name, ErrClosed}
	}
	return p.version == version, nil
}

// apply puts settings into force.
func (p *Pool[T]) apply(s Settings) {
	p.settings = s
	p.version++
	p.setGate(tracking, s.TrackHolders)
	p.setGate(careful, p.connector.Broken != nil || p.connector.Reset != nil || p.alwaysChecks() || s.MaxUses != NoLimit)
	if t := p.table.Load(); t == nil || len(t.slots) < s.Size {
		p.table.Store(newTable(s.Size, t))
	}
	p.setGate(shrunk, p.excess() > 0)
	p.setPace()
	p.lackIdle = 0 // the next look knows
	p.nextTry = min(p.nextTry, p.now()+p.tryGap())
	if p.taken > 0 || s.MinIdle > 0 {
		p.lookNoLaterThan(p.now()) // by the new times
	}
	if p.version > 1 {
		p.settle() // model: resize
		p.trim()
	}
}

// excess is how many connections are to be closed because Size was lowered.
func (p *Pool[T]) excess() int { return p.taken - p.gone - p.settings.Size }

// shed closes idle connections that are too many.
func (p *Pool[T]) shed() {
	slots := p.table.Load().slots
	for i := len(slots) - 1; i >= 0 && p.excess() > 0; i-- {
		s := slots[i]
		word := s.word.Load()
		if state := word & stateMask; (state == idle || state == stale) && p.takeOut(s, word) {
			p.close(s)
		}
	}
	p.setGate(shrunk, p.excess() > 0)
}

// trim takes vacant slots beyond Size out of the table.
func (p *Pool[T]) trim() {
	t := p.table.Load()
	n := len(t.slots)
	for ; n > p.settings.Size; n-- {
		word := t.slots[n-1].word.Load()
		if word&stateMask != vacant {
			break
		}
		p.trimmed += leases(word)
	}
	if n < len(t.slots) {
		p.table.Store(newTable(n, &table[T]{slots: t.slots[:n]}))
		p.firstVacant = min(p.firstVacant, n)
	}
}

// Pause lets Pops wait, until Resume: nothing is lent, and no open starts. A
// Pop whose WaitTimeout ends meanwhile fails with ErrPaused. Those who hold
// connections go on and push them; opens under way finish. To pause twice is
// to pause once.
func (p *Pool[T]) Pause() { p.setPaused(true) }

// Resume ends a Pause: waiters are served at once, first come, first served.
func (p *Pool[T]) Resume() { p.setPaused(false) }

func (p *Pool[T]) setPaused(on bool) {
	if p.gate.Load()&made == 0 {
		return
	}
	p.lock()
	defer p.unlock()
	if p.closed || p.paused == on {
		return
	}
	p.paused = on
	p.setGate(pausing, on)
	for _, f := range p.fills {
		f.tell(nil)
	}
	p.settle() // model: pause, resume
}

// RevokeAll ends every lease and returns how many there were. It is a tool
// for operators whose connections do not come back. Nothing is closed under
// its holder: [Connector.Abort], if there is one, interrupts what the holder
// is doing, and its Push then closes the connection and returns ErrRevoked.
// Until then the slot is taken, since the holder may still be using it.
func (p *Pool[T]) RevokeAll() int {
	if p.gate.Load()&made == 0 {
		return 0
	}
	p.lock()
	inUse := p.revokeAll()
	p.unlock()
	p.abortAll(inUse)
	return len(inUse)
}

// revokeAll marks every lease as ended and returns the resources.
func (p *Pool[T]) revokeAll() (inUse []T) {
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		state := word & stateMask
		if (state == held || state == watched) && s.word.CompareAndSwap(word, with(word, revoked)) { // model: revoke
			inUse = append(inUse, s.conn.resource)
		}
	}
	if len(inUse) > 0 {
		p.log(levelWarn, "pools: all leases were revoked", "leases", len(inUse))
	}
	return inUse
}

// abortAll calls Connector.Abort, which may panic.
func (p *Pool[T]) abortAll(inUse []T) {
	if p.connector.Abort == nil {
		return
	}
	for _, resource := range inUse {
		func() {
			defer func() {
				if v := recover(); v != nil {
					p.lock()
					p.log(levelError, "pools: panic in Connector.Abort", "value", v)
					p.unlock()
				}
			}()
			p.connector.Abort(resource)
		}()
	}
}

// refresh is a Refresh under way.
type refresh struct {
	filler            // wants as many connections open as there were
	generation uint64 // connections of an older one are to go
	left       int    // so many are still there
}

// Refresh replaces every connection that is open or being opened, for new
// credentials, certificates or servers behind one name. Over is the time
// across which the replacements are spread; 0: as fast as new ones can be
// opened. Idle connections are closed when their turn comes, others when they
// come back after that. New ones are opened in their place, by slow start,
// and never more than half of the connections are missing at a time; when the
// server refuses new ones, the old ones stay until it is back. (A paused pool
// opens nothing: there all old ones go.)
//
// It returns when no old connection is left, with nil, or when ctx ends or
// the pool is closed, with an error that says how many are left. These are
// still closed when their turn comes.
func (p *Pool[T]) Refresh(ctx context.Context, over time.Duration) error {
	if p.gate.Load()&made == 0 {
		return ErrZero
	}
	if over < 0 || over > longest {
		return fieldError("Refresh", "over is %v; give a duration from 0 to %v", over, longest)
	}
	p.lock()
	defer p.unlock()
	if p.closed {
		return &refreshError{p.name, 0, ErrClosed, nil}
	}
	r := p.newRefresh(over)
	defer func() {
		p.refreshes = remove(p.refreshes, r)
		p.endFill(&r.filler)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, _ := p.tend()
		p.settle()
		open := p.taken - p.gone - p.opening
		switch {
		case p.closed:
			return &refreshError{p.name, r.left, ErrClosed, nil}
		case r.left == 0 && (p.paused || open >= min(r.n, p.settings.Size-p.hung)):
			return nil
		}
		timer.Reset(time.Duration(next - p.now()))
		p.unlock()
		var ended error
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			ended = ctxError(ctx)
		}
		p.lock()
		if ended != nil {
			return &refreshError{p.name, r.left, ended, p.openErrNow()}
		}
	}
}

// newRefresh gives every connection its turn.
func (p *Pool[T]) newRefresh(over time.Duration) *refresh {
	p.refreshed++
	r := &refresh{filler: filler{wake: make(chan struct{}, 1)}, generation: p.refreshed}
	slots := p.table.Load().slots
	old := func(s *slot[T]) bool { return s.generation != 0 }
	for _, s := range slots {
		if old(s) {
			r.left++
		}
	}
	turn := 0
	for _, s := range slots {
		if old(s) {
			turn++
			at := p.now() + int64(over)/int64(r.left)*int64(turn)
			if s.refreshAt == 0 || at < s.refreshAt {
				s.refreshAt = at
			}
		}
	}
	r.n = p.taken - p.gone
	p.refreshes = append(p.refreshes, r)
	p.fills = append(p.fills, &r.filler)
	p.countFilling()
	return r
}

// mayRefresh reports whether a connection may go because of a Refresh: new
// ones can be opened, and most of the others are there.
func (p *Pool[T]) mayRefresh() bool {
	want := min(p.filling, p.settings.Size-p.hung)
	return p.paused || !p.down() && p.taken-p.gone-p.opening > want-max(want/2, 1)
}

// replaced tells the Refreshes that a connection of that generation is gone.
func (p *Pool[T]) replaced(generation uint64) {
	for _, r := range p.refreshes {
		if generation < r.generation {
			r.left--
			r.tell(nil)
		}
	}
}

// refreshError says how far a Refresh came.
type refreshError struct {
	pool    string
	left    int
	err     error
	openErr error // the latest failure of Open while the server is down
}

// Error is where the text of a user's error is asked for: under the lock, its
// methods could not use the pool.
func (e *refreshError) Error() string {
	text := fmt.Sprintf("pools: refresh %q: %d old connections left: %v", e.pool, e.left, e.err)
	if e.openErr != nil {
		text += fmt.Sprintf(": open: %v", e.openErr)
	}
	return text
}
func (e *refreshError) Unwrap() error { return e.err }
