package pools

import (
	"errors"
	"time"
)

// Conn is a lease: the right to use one connection from a Pop until its Push,
// PushErr, Destroy or Detach. It is a small value. Copies share the lease, which
// ends once for all of them.
//
// Keep the Conn for as long as the resource is in use. A Conn that is forgotten
// counts as lost, even if its resource is still used. Never store a Conn where its
// own resource refers to it: the pool keeps the resource, and with it the Conn, so
// that a lease that is forgotten is never found (LeakAfter still reports it).
type Conn[T any] struct {
	handle *handle[T]
	lease  word // written by the pop: held, and this lease's number
}

// Resource returns the value that Connector.Open returned. It panics if this Conn
// was pushed, destroyed or detached, or is zero.
func (c Conn[T]) Resource() T {
	h := c.handle
	if h == nil {
		panic("pools: Resource of a zero Conn; Conns come from Pop")
	}
	// A revoked Conn still answers: the errors of its resource tell more.
	if w := h.slot.word.load(); w != c.lease && w != c.lease.with(watched) && w != c.lease.with(revoked) {
		panic("pools: Resource of a Conn whose lease has ended (it was pushed, destroyed or detached)")
	}
	return h.conn.resource
}

// Push gives the connection back. If this lease has already ended, Push does
// nothing and returns ErrNotHeld. If it was revoked, Push closes the connection
// and returns ErrRevoked. The same holds for PushErr, Destroy and Detach. With
// [Settings].FailUnfinished an ErrUnfinished of Push or PushErr says that the use
// left something unfinished; the connection was given back.
func (c Conn[T]) Push() error {
	h := c.handle
	if h == nil {
		return errZeroConn
	}
	p := h.pool
	if p.gate.has(pushesSlow) {
		return p.giveBack(c, nil, false)
	}
	s := h.slot
	if !s.word.swap(c.lease, c.lease-pushStep) { // model: push_idle
		return p.giveBack(c, nil, false)
	}
	s.hint() // before the look at the gate: a woken waiter must find the slot
	// The gate is read only now that the slot is visibly idle. A waiter does it
	// in the other order (announce, then look at the slots), so one of the two
	// sees the other.
	if gate := p.gate.load(); gate&pushesLook != 0 { // model: look_at_gate
		p.pushed(gate, c.lease)
	}
	return nil
}

// PushErr gives the connection back after err. Connector.Broken decides whether
// the connection is broken. It is closed if it is, or if err came from Discard.
// PushErr returns ErrNotHeld if this lease has already ended.
func (c Conn[T]) PushErr(err error) error {
	if err == nil {
		return c.Push()
	}
	if c.handle == nil {
		return errZeroConn
	}
	return c.handle.pool.giveBack(c, err, false)
}

// Destroy closes the connection in the background, which then frees its slot. It
// returns ErrNotHeld if this lease has already ended. It tells nothing of the
// server: if the connection turned out to be broken, PushErr(err) does, so that
// opens to a server that accepts and closes slow down.
func (c Conn[T]) Destroy() error {
	if c.handle == nil {
		return errZeroConn
	}
	return c.handle.pool.giveBack(c, nil, true)
}

// Detach removes the connection from the pool for good: the caller owns the
// resource and must close it. The slot is free at once. It returns ErrNotHeld if
// this lease has already ended.
func (c Conn[T]) Detach() (T, error) {
	if c.handle == nil {
		var none T
		return none, errZeroConn
	}
	return c.handle.pool.detach(c)
}

// ID returns the name of the connection, even after the lease has ended: the
// pool's name, some characters that identify this process, and a number that is
// unique within this process.
func (c Conn[T]) ID() string {
	if c.handle == nil {
		return ""
	}
	return connectionID(c.handle.pool.name, c.handle.conn.number)
}

// Age returns how long ago the connection was opened; 0 for a zero Conn.
func (c Conn[T]) Age() time.Duration {
	if c.handle == nil {
		return 0
	}
	return time.Duration(c.handle.pool.clock() - c.handle.conn.openedAt)
}

// Uses returns how often the connection had been lent when this lease began,
// including this lease and grants cancelled at hand-off; 0 for a zero Conn.
func (c Conn[T]) Uses() int {
	if c.handle == nil {
		return 0
	}
	return uses(c.lease, c.handle.conn.before)
}

// end ends the lease: the slot passes from the holder to the pool, in state
// returning. If the lease was revoked, end closes the connection and returns
// ErrRevoked. If it has already ended, end counts and reports the misuse and
// returns ErrNotHeld. The caller passes used to tellPushed when it has given the
// slot away, since an Observer may panic, or pop.
func (p *Pool[T]) end(c Conn[T]) (used endedUse, err error) {
	s := c.handle.slot
	if s.word.swap(c.lease, c.lease.with(returning)) {
		return untimed, nil
	}
	at := p.clock() // before the lock: waiting for it is not part of the use
	p.lock()
	defer p.unlock()
	// The lock keeps the keeper and RevokeAll away. A watched or revoked lease
	// stays so, unless another call that ends it was faster.
	if p.move(&s.cell, c.lease.with(watched), c.lease.with(returning)) {
		s.handle.Store(c.handle)
		return p.useEnded(s, c, at), nil
	}
	if p.move(&s.cell, c.lease.with(revoked), c.lease.with(returning)) {
		used := p.useEnded(s, c, at)
		p.close(s, ReasonRevoked, nil)
		p.tellPushed(c, used)
		return untimed, ErrRevoked
	}
	p.misused++
	p.happen(Event{Kind: EventMisused}, c.handle.conn, nil)
	return untimed, ErrNotHeld
}

// giveBack ends the lease and decides what becomes of the connection. All ways
// back but the fast path and Detach go through it.
func (p *Pool[T]) giveBack(c Conn[T], err error, destroy bool) (refused error) {
	used, ended := p.end(c)
	if ended != nil {
		return ended
	}
	s := c.handle.slot
	k := &p.connector
	if err == nil && !destroy && k.Broken == nil && k.Dirty == nil && k.Unfinished == nil {
		p.lock()
		p.need.observe(&s.use, used.took, true, false, p.pace.typical)
		p.returned(s, true, nil)
		p.tellPushed(c, used)
		p.unlock()
		return nil
	}
	// Broken, Unfinished and Dirty may panic or call Goexit: then the connection is
	// closed, and the panic continues.
	broken, dirty, userFault, useless := true, true, false, false
	var left error
	defer func() {
		p.lock()
		defer p.unlock()
		p.need.observe(&s.use, used.took, !destroy && !broken && !userFault, destroy || broken, p.pace.typical)
		why := ReasonBroken
		if destroy {
			why = ReasonDestroyed
		} else if broken {
			p.suspectIdle(!userFault)
		}
		switch {
		case useless && !p.closed:
			cause := &firstUse{err}
			if p.pace.brokeAtOnce(p.settings.ReconnectAttempts) {
				p.openFailed(faultFirstUse, c.handle.conn.openedAt, c.handle.conn, cause)
			}
			p.close(s, why, cause)
			p.settle()
		case destroy || broken:
			p.close(s, why, err)
		default:
			if left != nil {
				p.unfinished++
				p.happen(Event{Kind: EventUnfinished, Err: left}, c.handle.conn, used.taker)
				if p.settings.FailUnfinished {
					refused = &unfinished{left}
				}
			}
			p.returned(s, dirty, err)
		}
		p.tellPushed(c, used)
	}()
	// A timeout may say more of the user than of the server, and a break that comes
	// late more of the server now than of the open.
	timeout := isTimeout(err)
	fresh := err != nil && !timeout && c.Uses() == 1 && c.Age() < freshFor
	if d, discarded := errors.AsType[*discard](err); discarded || destroy {
		destroy, useless = true, fresh && Breaks(err)
		if discarded && d.err == nil && err == error(d) {
			err = nil // nothing has failed
		}
		return nil
	}
	userFault = timeout
	resource := c.handle.conn.resource
	var goes bool
	if k.Broken != nil {
		goes = k.Broken(resource, err)
	} else {
		goes = Breaks(err)
	}
	useless = goes && fresh
	if !goes {
		if k.Unfinished != nil {
			left = k.Unfinished(resource)
		}
		dirty = left != nil || k.Dirty == nil || k.Dirty(resource)
		broken = false
	}
	return nil
}

// returned decides what becomes of a slot whose lease has ended and whose
// connection is not broken. A dirty connection needs its Reset. err is what its
// user made of it, or nil.
func (p *Pool[T]) returned(s *slot[T], dirty bool, err error) {
	if p.proves(s) {
		defer p.settle() // others may be opened
	}
	why := p.mustLeave(s)
	checks := p.connector.Check != nil && p.settings.CheckAfter != Never
	fails := err != nil && (checks || !p.connector.judges) && p.failing.tells(&s.conn.streak, s.word.load(), s.conn.before, checks, p.now)
	switch {
	case why != "":
		p.close(s, why, nil)
		p.settle()
	case fails && !checks:
		p.close(s, ReasonBroken, &failedUses{err})
	case dirty && p.connector.Reset != nil:
		p.reset(s)
	case fails:
		p.put(&s.cell, suspected)
		p.settle()
	case p.settings.alwaysChecks():
		p.put(&s.cell, stale)
		p.settle()
	case p.handBack(s):
		// It went from holder to waiter: nothing has changed for anybody else.
		p.queue.calm(&p.gate, p.now)
	default:
		p.settle()
	}
}

func (p *Pool[T]) detach(c Conn[T]) (T, error) {
	used, ended := p.end(c)
	if ended != nil {
		var none T
		return none, ended
	}
	conn := c.handle.conn
	p.lock()
	p.detached++
	p.proves(c.handle.slot)
	p.free(c.handle.slot)
	p.settle()
	p.tellPushed(c, used)
	p.unlockOr(func() {
		p.lock()
		defer p.unlock()
		p.detached--
		p.startClose(&closeJob[T]{p: p, conn: conn, why: ReasonDestroyed})
	})
	return conn.resource, nil
}

// proves notes that a use has ended well, or has lasted for freshFor, and reports
// whether that matters: the first one of a connection ends the count of breaks.
// While the server is down because of them, so does any use of a connection that
// was opened since, or any at all if no other connection can be opened.
func (p *Pool[T]) proves(s *slot[T]) bool {
	broke := p.pace.broke
	switch {
	case p.pace.breaks == 0:
		return false
	case broke && s.conn.openedAt < p.pace.failedAt && p.alive() < p.settings.Size:
		return false
	case !broke && uses(s.word.load(), s.conn.before) != 1:
		return false
	}
	p.pace.usedWell()
	p.gate.set(gateProving, false)
	if broke {
		p.up()
	}
	return true
}
