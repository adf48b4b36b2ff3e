package pools

import (
	"context"
	"time"
)

// closeJob closes a connection.
type closeJob[T any] struct {
	p     *Pool[T]
	conn  *connection[T]
	slot  *slot[T] // the slot that is kept until it is over; nil: none is
	why   Reason
	cause error // the error because of which it closes, or nil
	room  bool  // a full server may grant another one when it is over
}

// close closes the connection of a slot that the pool owns, in the background.
// The slot is taken until that is over or abandoned. cause is the error because
// of which it closes, or nil.
func (p *Pool[T]) close(s *slot[T], why Reason, cause error) {
	s.conn.cleanup.Stop()
	p.put(&s.cell, closing)
	p.startClose(&closeJob[T]{p: p, conn: s.conn, slot: s, why: why, cause: cause})
}

// closeLeft closes the connection that an abandoned call left behind. If the call
// kept its slot, the slot is kept until this close is over.
func (p *Pool[T]) closeLeft(conn *connection[T], s *slot[T], keepsSlot bool) {
	j := &closeJob[T]{p: p, conn: conn, why: ReasonAbandoned}
	if keepsSlot {
		j.slot = s
	}
	p.startClose(j).keepsSlot = keepsSlot
}

func (p *Pool[T]) startClose(j *closeJob[T]) *call {
	_, useless := j.cause.(*firstUse)
	if j.room = !useless; j.room {
		p.pace.leaves()
	}
	return p.start(callClose, j, context.Background(), p.settings.CloseTimeout)
}

func (j *closeJob[T]) call(ctx context.Context) error {
	return j.p.connector.Close(ctx, j.conn.resource)
}

func (j *closeJob[T]) done(c *call, err error) {
	if j.room {
		j.p.pace.left()
	}
	if !c.abandoned {
		j.late(c, err)
		return
	}
	if s := j.slot; s != nil && s.word.load().state() == closing {
		j.p.vacate(s, c)
		if !c.keepsSlot {
			j.slot = nil
		}
	}
}

func (j *closeJob[T]) late(_ *call, err error) {
	p := j.p
	p.closedBy[j.why]++
	if err != nil {
		e := Event{Kind: EventCallFailed, Call: callClose.String(), Err: err}
		if j.why.broke() && !isBug(err) {
			e.Reason = j.why // a broken connection seldom closes without an error
		}
		p.happen(e, j.conn, nil)
	}
	p.happen(Event{Kind: EventClosed, Reason: j.why, Took: time.Duration(p.now() - j.conn.openedAt), Err: j.cause}, j.conn, nil)
	if j.slot != nil {
		p.free(j.slot)
	}
	if j.room {
		p.pace.room(p.now())
	}
}
