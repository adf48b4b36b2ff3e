package pools

import "context"

// RevokeAll ends all leases and returns how many there were. It is a tool for
// operators whose connections do not come back. No connection is closed under
// its holder: [Connector.Abort], if there is one, interrupts what the holder is
// doing, and the holder's Push then closes the connection and returns
// ErrRevoked. Until then the slot stays taken, since the holder may still be
// using the connection.
func (p *Pool[T]) RevokeAll() int {
	if !p.gate.has(gateMade) {
		return 0
	}
	p.lock()
	defer p.unlock()
	return p.revokeAll()
}

// revokeAll marks all leases as revoked, and aborts what their holders are doing.
// It yields the lock between slices.
func (p *Pool[T]) revokeAll() (n int) {
	for i := 0; ; i++ {
		if !p.visits.visit() {
			p.yield()
		}
		s := p.slot(i)
		if s == nil {
			break
		}
		w := s.word.load()
		state := w.state()
		if (state == held || state == watched) && p.move(&s.cell, w, w.with(revoked)) { // model: revoke
			n++
			if p.connector.Abort != nil {
				p.start(callAbort, &abortJob[T]{p, s.conn.resource}, context.Background(), p.settings.CloseTimeout)
			}
		}
	}
	if n > 0 {
		p.happen(Event{Kind: EventRevoked, Count: n}, nil, nil)
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
