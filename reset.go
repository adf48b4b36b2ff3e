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
	case err == nil && u.p.calls.doubts(c) && u.p.mustLeave(u.slot) == "":
		if !u.toFirst(c) {
			u.p.put(&u.slot.cell, stale) // it may have succeeded before the process stood still
		}
	case err == nil:
		u.p.handBack(u.slot)
	case c.abandoned:
		// Close must not run beside the call that hangs; late begins it.
		u.p.vacate(u.slot, c)
	default:
		u.p.close(u.slot, u.why, err)
	}
}

// toFirst gives a connection whose Check a Suspect has put in doubt to the oldest
// waiter, if that one came before the Check began: it is proved since then. Else
// programs that call Suspect more
// often than a Check takes would never get one. It reports whether it did.
func (u *upkeep[T]) toFirst(c *call) bool {
	p, w := u.p, u.p.queue.first
	if c.kind == callCheck && w != nil && w != p.racer && !p.paused && w.since <= c.since && !w.ended() {
		h, lease := u.slot.takeOwned(&p.census)
		p.grant(w, h, lease)
		return true
	}
	return false
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
	} else {
		j.p.suspectIdle(true) // whatever it met, the others may meet
	}
	j.over(c, err)
}
