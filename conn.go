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
// counts as lost, even if its resource is still used.
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
// and returns ErrRevoked. The same holds for PushErr, Destroy and Detach.
func (c Conn[T]) Push() error {
	h := c.handle
	if h == nil {
		return ErrZero
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
		return ErrZero
	}
	return c.handle.pool.giveBack(c, err, false)
}

// Destroy closes the connection in the background, which then frees its slot. It
// returns ErrNotHeld if this lease has already ended.
func (c Conn[T]) Destroy() error {
	if c.handle == nil {
		return ErrZero
	}
	return c.handle.pool.giveBack(c, nil, true)
}

// Detach removes the connection from the pool for good: the caller owns the
// resource and must close it. The slot is free at once. It returns ErrNotHeld if
// this lease has already ended.
func (c Conn[T]) Detach() (T, error) {
	if c.handle == nil {
		var none T
		return none, ErrZero
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
// returns ErrNotHeld. used is how long the use took, or less than 0 if that was
// not measured. The caller passes it to tellPushed when it has given the slot
// away, since an Observer may panic, or pop.
func (p *Pool[T]) end(c Conn[T]) (used int64, err error) {
	s := c.handle.slot
	if s.word.swap(c.lease, c.lease.with(returning)) {
		return -1, nil
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
		return -1, ErrRevoked
	}
	p.misused++
	p.happen(Event{Kind: EventMisused}, c.handle.conn, nil)
	return -1, ErrNotHeld
}

// giveBack ends the lease and decides what becomes of the connection. All ways
// back but the fast path and Detach go through it.
func (p *Pool[T]) giveBack(c Conn[T], err error, destroy bool) error {
	used, ended := p.end(c)
	if ended != nil {
		return ended
	}
	s := c.handle.slot
	k := &p.connector
	if err == nil && !destroy && k.Broken == nil && k.Dirty == nil {
		p.lock()
		p.returned(s, true)
		p.tellPushed(c, used)
		p.unlock()
		return nil
	}
	// Broken and Dirty may panic or call Goexit: then the connection is closed,
	// and the panic continues.
	broken, dirty, userFault := true, true, false
	defer func() {
		p.lock()
		defer p.unlock()
		switch {
		case destroy:
			p.close(s, ReasonDestroyed, err)
		case broken:
			p.suspectIdle(!userFault)
			p.close(s, ReasonBroken, err)
		default:
			p.returned(s, dirty)
		}
		p.tellPushed(c, used)
	}()
	if _, discarded := errors.AsType[*discard](err); discarded || destroy {
		destroy = true
		return nil
	}
	userFault = isTimeout(err)
	resource := c.handle.conn.resource
	goes := Breaks(err)
	if k.Broken != nil {
		goes = k.Broken(resource, err)
	}
	if !goes {
		dirty = k.Dirty == nil || k.Dirty(resource)
		broken = false
	}
	return nil
}

// returned decides what becomes of a slot whose lease has ended and whose
// connection is not broken. A dirty connection needs its Reset.
func (p *Pool[T]) returned(s *slot[T], dirty bool) {
	why := p.mustLeave(s)
	switch {
	case why != 0:
		p.close(s, why, nil)
		p.settle()
	case dirty && p.connector.Reset != nil:
		p.reset(s)
	case p.alwaysChecks():
		p.put(&s.cell, stale)
		p.settle()
	case p.handBack(s):
		// It went from holder to waiter: nothing has changed for anybody else.
		p.calmQueue()
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
