package pools

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	trimmed   uint64     // lease numbers of slots that are not in the table any more
	refreshes []*refresh // with old connections left, whether somebody waits for it or not
	lackFresh int        // new connections that the last Refresh did not live to see begun
	refreshed uint64     // Refreshes so far, and one
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
	unlockFirst() (tell, log func())
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
		var tell, log []func()
		for _, p := range all {
			t, l := p.unlockFirst()
			tell, log = append(tell, t), append(log, l)
		}
		for _, rest := range append(tell, log...) {
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
	p.shed()
	p.setPace()
	p.lackIdle = 0 // the next look knows
	if p.alwaysChecks() {
		p.makeStale()
	}
	p.nextTry = min(p.nextTry, p.now()+p.tryGap())
	if p.taken > 0 || s.MinIdle > 0 {
		p.lookNoLaterThan(p.now()) // by the new times
	}
	if p.version > 1 {
		for _, f := range p.fills {
			f.tell(nil) // Size may be less than it wants
		}
		p.settle() // model: resize
		p.trim()
	}
}

// excess is how many connections are to be closed because Size was lowered.
// Opens under way do not count before they have succeeded: a connection that
// is there is worth more than one that may hang. Hung calls that keep their
// slot count, since the server may still see them.
func (p *Pool[T]) excess() int {
	return p.taken - p.opening - (p.gone - p.hung) - p.settings.Size
}

// shed closes idle connections that are too many. It is called when there may
// be more idle ones, or more in excess; what comes back otherwise leaves.
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
	defer p.unlock()
	return p.revokeAll()
}

// revokeAll marks every lease as ended, and aborts what its holder does.
func (p *Pool[T]) revokeAll() (n int) {
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		state := word & stateMask
		if (state == held || state == watched) && s.word.CompareAndSwap(word, with(word, revoked)) { // model: revoke
			n++
			p.abort(s.conn.resource)
		}
	}
	if n > 0 {
		p.log(levelWarn, "pools: all leases were revoked", "leases", n)
	}
	return n
}

// abort calls Connector.Abort, if there is one, in the background.
func (p *Pool[T]) abort(resource T) {
	if p.connector.Abort == nil {
		return
	}
	ended := func(_ *call, err error) {
		if err != nil {
			p.log(levelWarn, "pools: abort failed", "error", err)
		}
	}
	p.run("Abort", context.Background(), p.settings.CloseTimeout, func(context.Context) error {
		p.connector.Abort(resource)
		return nil
	}, ended, ended)
}

// refresh is a Refresh that is not over: old connections are left.
type refresh struct {
	filler            // wants as many connections open as there were
	generation uint64 // connections of an older one are to go
	left       int    // so many are still there
	proved     bool   // a new one could be opened
}

// Refresh replaces every connection that is open or being opened, for new
// credentials, certificates or servers behind one name. Over is the time
// across which the replacements are spread; 0: as fast as new ones can be
// opened. Idle connections are closed when their turn comes, others when they
// come back after that. New ones are opened in their place, by slow start.
//
// It is careful: before a new connection could be opened, it closes none, or
// one if there is no room beside; and after that never more than half of them
// are missing at a time. So while the server refuses new ones, the old ones
// stay. (A paused pool opens nothing: there all old ones go.)
//
// It returns nil when no old connection is left; the last new ones may still
// be opening. When ctx ends or the pool is closed before, it returns an error
// that says how many are left; the replacing goes on without it. A holder
// that calls it waits for itself: give ctx a deadline.
func (p *Pool[T]) Refresh(ctx context.Context, over time.Duration) error {
	if p.gate.Load()&made == 0 {
		return ErrZero
	}
	if over < 0 || over > longest {
		return fieldError("Refresh", "over is %v; give a duration from 0 to %v", over, longest)
	}
	if ctx.Err() != nil {
		return &refreshError{p.name, -1, ctxError(ctx), nil}
	}
	r := p.beginRefresh(over)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, err := p.goOn(r)
		if next == 0 {
			return err
		}
		timer.Reset(next)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			return p.refreshLeft(r, ctxError(ctx))
		}
	}
}

// beginRefresh gives every connection its turn.
func (p *Pool[T]) beginRefresh(over time.Duration) *refresh {
	p.lock()
	defer p.unlock()
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
	if r.left > 0 && !p.closed {
		r.n = p.taken - p.gone - p.opening
		p.refreshes = append(p.refreshes, r)
		p.fills = append(p.fills, &r.filler)
		p.countFilling()
	}
	return r
}

// goOn takes the turns that are due. It returns after which time to come
// back, or 0 when the Refresh is over.
func (p *Pool[T]) goOn(r *refresh) (next time.Duration, err error) {
	p.lock()
	defer p.unlock()
	if p.closed {
		return 0, &refreshError{p.name, r.left, ErrClosed, nil}
	}
	at := p.takeTurns()
	p.settle()
	if r.left == 0 {
		return 0, nil
	}
	return time.Duration(at-p.now()) + 1, nil
}

// takeTurns closes idle connections whose turn to be replaced has come, and
// sees to it that others are when they come back. It returns when the next
// turn is, or a while from now.
func (p *Pool[T]) takeTurns() (next int64) {
	now := p.now()
	next = now + int64(longestLook)
	if len(p.refreshes) == 0 {
		return next
	}
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		state := word & stateMask
		switch {
		case s.refreshAt == 0:
		case s.refreshAt > now:
			next = min(next, s.refreshAt)
		case state == held:
			s.word.CompareAndSwap(word, with(word, watched)) // model: watch
		case (state == idle || state == stale) && p.mayRefresh() && p.takeOut(s, word):
			p.expired++
			p.close(s)
		}
	}
	return next
}

// mayRefresh reports whether a connection may go because of a Refresh.
func (p *Pool[T]) mayRefresh() bool {
	if p.paused || len(p.refreshes) == 0 {
		return p.paused
	}
	want := min(p.filling, p.settings.Size-p.hung)
	open := p.taken - p.gone - p.opening
	switch {
	case p.down():
		return false
	case p.refreshes[len(p.refreshes)-1].proved:
		return open > want-max(want/2, 1)
	}
	return open >= want && p.taken >= p.settings.Size
}

// prove notes that an open that began after the latest Refresh has succeeded.
func (p *Pool[T]) prove(generation uint64) {
	for _, r := range p.refreshes {
		if generation >= r.generation && !r.proved {
			r.proved = true
			p.countFilling()
		}
	}
}

// refreshLeft ends the waiting for a Refresh.
func (p *Pool[T]) refreshLeft(r *refresh, err error) error {
	p.lock()
	defer p.unlock()
	return &refreshError{p.name, r.left, err, p.openErrNow()}
}

// replaced tells the Refreshes that a connection of that generation is gone.
func (p *Pool[T]) replaced(generation uint64) {
	for _, r := range slices.Clone(p.refreshes) {
		if generation >= r.generation {
			continue
		}
		r.left--
		r.tell(nil)
		if r.left == 0 {
			// What is missing now is still opened, but nobody insists on it.
			p.lackFresh = max(min(r.n, p.settings.Size)-(p.taken-p.gone), 0)
			p.refreshes = remove(p.refreshes, r)
			p.endFill(&r.filler)
		}
	}
}

// wantFewer lets the Refreshes want a connection less: this one was not
// replaced but not needed any more.
func (p *Pool[T]) wantFewer() {
	for _, r := range p.refreshes {
		r.n = max(r.n-1, 0)
	}
	p.countFilling()
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
	if e.left < 0 {
		text = fmt.Sprintf("pools: refresh %q: not begun: %v", e.pool, e.err)
	}
	if e.openErr != nil {
		text += fmt.Sprintf(": open: %v", e.openErr)
	}
	return text
}
func (e *refreshError) Unwrap() error { return e.err }
