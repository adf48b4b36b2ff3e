package pools

import (
	"fmt"
	"math"
	"time"
)

// Refusing under overload. By default nobody is refused who could still be
// served. These are for services that would rather answer at once.

// mostWaiting is how many may wait: MaxWaiting, or with NoQueue one for each
// place that no holder has. While nothing is lent, it cannot tell who holds what.
func (s *Settings) mostWaiting(c *census, lends bool) int {
	switch s.MaxWaiting {
	case NoLimit:
		return math.MaxInt
	case NoQueue:
		if !lends {
			return s.Size
		}
		return max(s.Size-c.in[idle]-c.in[hung], 0)
	}
	return s.MaxWaiting
}

// late returns an error if a waiter that came now could not be served in time:
// those before it would keep open connections busy until it had no time left for
// a typical use. One in sixteen is let in all the same, or an estimate that is too
// long would never be corrected.
func (q *queue[T]) late(deadline, now int64, n *need, open int) error {
	ahead := q.len - q.behind
	if deadline == 0 || n.least == 0 || ahead == 0 {
		return nil
	}
	wait := int64(n.mean) * int64(ahead) / int64(max(open, 1))
	if now+wait+n.least <= deadline {
		return nil
	}
	if q.letIn() {
		return nil
	}
	return &hidden{fmt.Sprintf("pools: refused by RefuseLate: %d are waiting, a use needs %v, and %v are left",
		ahead, time.Duration(n.least).Round(time.Microsecond), time.Duration(max(deadline-now, 0)).Round(time.Microsecond)), ErrTooLate}
}

// delays watches how long waiters without a deadline have waited when their turn
// comes. While even the shortest of these delays within delayWindow exceeds
// MaxQueueDelay, the queue is not a burst but standing, as in CoDel; then those
// that have waited for longer are refused. Under the lock.
type delays struct {
	from     int64         // waits count from here on: before, nothing could be served
	since    int64         // when the window began
	least    time.Duration // in the window
	standing bool
}

const delayWindow = int64(100 * time.Millisecond)

// restart notes that what was in the way of all waiters is over: a Pause, or a
// server that was down.
func (d *delays) restart(now int64) { *d = delays{from: now} }

// excessive notes that a waiter has waited since then, and reports whether it is
// to be refused.
func (d *delays) excessive(since int64, limit time.Duration, now int64) bool {
	if limit == Never {
		return false
	}
	delay := time.Duration(now - max(since, d.from))
	if now-d.since >= delayWindow {
		d.standing = now-d.since < 2*delayWindow && d.least > limit
		d.since, d.least = now, delay
	}
	d.least = min(d.least, delay)
	return d.standing && delay > limit
}
