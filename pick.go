package pools

// Picking the waiter that gets a connection. Under overload a connection is of no
// use to a waiter that has no time left for a typical use: the use would be cut
// off, and its time lost to everybody. So the waiters with time take turns, the
// oldest and the most urgent of them, and those without are passed over. They are
// served when nobody else wants the connection. With equal deadlines, or none,
// this is first in, first out.
//
// How much time is enough is estimated from recent uses (need.go). An estimate
// that is too long would pass over everybody and learn nothing more, so now and
// then one that was passed over is served although others wait: the probe.

const (
	passAtOnce = 64 // the most that one pick passes over
	probeEvery = 16 // turns of the most urgent that find none
)

// verdict is what is to be done with a waiter that is met.
type verdict int

const (
	serve verdict = iota
	passOver
	gone // it has left the queue
)

// pick returns the waiter to serve next, or nil if none waits; judge says of each
// that it meets what to do with it, and takes out those that are gone. Call it
// only with something to hand out: it takes a turn. skip is not picked.
func (q *queue[T]) pick(skip *waiter[T], judge func(*waiter[T]) verdict) *waiter[T] {
	left := passAtOnce
	// worth also passes the waiter over if it is not.
	worth := func(w *waiter[T]) bool {
		v := judge(w)
		if v == passOver {
			left--
			q.passOver(w) // model: pass_over
		}
		return v == serve
	}
	if q.urgentTurn() {
		for w := q.mostUrgent(skip); w != nil && left > 0; w = q.mostUrgent(skip) {
			if worth(w) { // model: pick_urgent
				return w
			}
		}
		if q.passed.newest(skip) != nil && left > 0 {
			if q.probeDue() {
				if w := q.lastResort(skip, judge); w != nil { // model: probe
					return w
				}
			}
		}
	}
	for w := q.timely.oldest(skip); w != nil; w = q.timely.oldest(skip) {
		if left == 0 {
			return q.timely.newest(skip) // the likeliest to have time
		}
		if worth(w) {
			return w
		}
	}
	return q.lastResort(skip, judge)
}

// lastResort returns the waiter that was passed over last, or nil if there is
// none.
func (q *queue[T]) lastResort(skip *waiter[T], judge func(*waiter[T]) verdict) *waiter[T] {
	for {
		w := q.passed.newest(skip)
		if w == nil || judge(w) != gone { // model: top_of_stack
			return w
		}
	}
}

// overdue reports whether the oldest waiter with time has waited for too long to
// be overtaken. Those that were passed over may be overtaken by anybody.
func (q *queue[T]) overdue(now int64) bool {
	return q.timely.first != nil && now-q.timely.first.since >= patience
}

// calm ends strict order when the oldest waiter with time is young.
func (q *queue[T]) calm(g *gate, now func() int64) {
	if g.has(gateStarving) && !q.overdue(now()) {
		g.set(gateStarving, false)
	}
}
