package pools

import "context"

// RevokeAll ends all leases and returns how many there were, and gives up the
// opens that are running, as Refresh does. It is a tool for operators whose
// connections do not come back. No connection is closed under
// its holder: [Connector.Abort], if there is one, interrupts what the holder is
// doing, and the holder's Push then closes the connection and returns
// ErrRevoked. Until then the slot stays taken, since the holder may still be
// using the connection.
func (p *Pool[T]) RevokeAll() int {
	if !p.gate.has(gateMade) {
		return 0
	}
	var old *scope
	defer func() { old.cancel() }() // after the unlock, even if an Observer panics
	p.lock()
	defer p.unlock()
	if !p.closed { // Close has cancelled them
		old = p.calls.giveUp(ReasonRevoked)
		p.pace.doubt(p.now()) // what has failed before may succeed now
		p.settle()
	}
	n := p.revoke(nil)
	if n > 0 {
		p.happen(Event{Kind: EventRevoked, Count: n}, nil, nil)
	}
	return n
}

// Revoke ends the leases of the connections with these IDs (see [Conn.ID]), each
// as RevokeAll does, and returns how many it ended. It ignores IDs of connections
// that are not lent, are closed, or belong to another pool.
func (p *Pool[T]) Revoke(ids ...string) int {
	only := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		if number, ok := connectionNumber(p.Name(), id); ok {
			only[number] = true
		}
	}
	if len(only) == 0 || !p.gate.has(gateMade) {
		return 0
	}
	p.lock()
	defer p.unlock()
	return p.revoke(only)
}

// revoke marks leases as revoked, and aborts what their holders are doing: those
// of the connections with these numbers, each of which becomes an event, or all
// if only is nil. It yields the lock between slices.
func (p *Pool[T]) revoke(only map[uint64]bool) (n int) {
	for i := 0; only == nil || len(only) > 0; i++ {
		if !p.visits.visit() {
			p.yield()
		}
		s := p.slot(i)
		if s == nil {
			break
		}
		w := s.word.load()
		if state := w.state(); state != held && state != watched {
			continue
		}
		if only != nil {
			if !only[s.conn.number] {
				continue
			}
			delete(only, s.conn.number)
		}
		taker := s.takerOf(w)
		if !p.move(&s.cell, w, w.with(revoked)) { // model: revoke
			continue // its Push was faster
		}
		n++
		if only != nil {
			p.happen(Event{Kind: EventRevoked, Count: 1}, s.conn, taker)
		}
		if p.connector.Abort != nil {
			p.start(callAbort, &abortJob[T]{p, s.conn.resource}, context.Background(), p.settings.CloseTimeout)
		}
	}
	return n
}

// abortJob interrupts the holder of a connection.
type abortJob[T any] struct {
	p        *Pool[T]
	resource T
}

func (j *abortJob[T]) call(context.Context) error {
	j.p.connector.Abort(j.resource)
	return nil
}

func (j *abortJob[T]) done(c *call, err error) { j.late(c, err) }

func (j *abortJob[T]) late(_ *call, err error) {
	if err != nil {
		j.p.happen(Event{Kind: EventCallFailed, Call: callAbort.String(), Err: err}, nil, nil)
	}
}
