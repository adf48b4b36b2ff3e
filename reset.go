package pools

import (
	"context"
	"time"
)

// upkeep is what the jobs of Check and Reset share. A connection that is being
// checked or reset counts as about to be idle, so that one sequential user
// opens one connection. It is handed back when the call succeeds, and closed
// when the call fails or hangs.
type upkeep[T any] struct {
	p    *Pool[T]
	slot *slot[T]
	conn *connection[T]
	why  Reason // for the close when the call fails
}

func (u *upkeep[T]) over(c *call, err error) {
	switch {
	case err == nil:
		u.p.handBack(u.slot)
	case c.abandoned:
		// Close must not run beside the call that hangs; late begins it.
		u.p.vacate(u.slot, c)
	default:
		u.p.close(u.slot, u.why, err)
	}
}

func (u *upkeep[T]) late(c *call, _ error) { u.p.closeLeft(u.conn, u.slot, c.keepsSlot) }

// resetJob makes a returned connection clean.
type resetJob[T any] struct{ upkeep[T] }

// reset starts the Reset of the connection of a slot that the pool owns.
func (p *Pool[T]) reset(s *slot[T]) {
	p.put(&s.cell, resetting)
	j := &resetJob[T]{upkeep[T]{p, s, s.conn, ReasonReset}}
	p.start(callReset, j, context.Background(), p.settings.ResetTimeout)
}

func (j *resetJob[T]) call(ctx context.Context) error {
	return j.p.connector.Reset(ctx, j.conn.resource)
}

func (j *resetJob[T]) done(c *call, err error) {
	if err == nil {
		j.p.pace.wasReset(time.Duration(j.p.now() - c.since))
	}
	j.over(c, err)
}
