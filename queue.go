package pools

import (
	"container/heap"
	"context"
	"sync/atomic"
)

const (
	spareWaiters = 1024 // the most that are kept for reuse
	scanWaiters  = 32   // the most that a Pop beyond MaxWaiting looks at
)

// waiter is a Pop that waits.
type waiter[T any] struct {
	next, prev *waiter[T]      // by arrival; next: or among the spare ones
	line       links[T]        // among those with time, or those passed over
	urgent     int             // its place in the heap, from 1; 0: it has none
	number     uint64          // of its arrival
	passedOver bool            // it had no time left for a typical use
	ctx        context.Context // its methods are the user's: none is called under the lock
	done       <-chan struct{} // of the ctx
	deadline   int64           // of the ctx, on the pool's clock; 0: it has none
	values     context.Context // for Open's ctx, see Connector.Values; nil: none
	since      int64           // on the pool's clock
	queued     bool

	// token wakes the waiter. A channel of one is enough: a waiter gets a second
	// token only after it has come back from the race that the first one woke it
	// for. Tokens are sent after the unlock, so that no goroutine waits for the
	// lock while the scheduler is at work.
	token    chan struct{}
	told     bool       // a token was sent, or will be, since it queued or came back from a race; under the lock
	nextTold *waiter[T] // the next in tokens

	// What the token means, written under the lock before it is sent. If
	// neither handle nor err is set: race.
	handle *handle[T]
	lease  word
	err    error

	// back says that the Pop is done with this waiter. The Pop writes it last;
	// then the waiter may be reused.
	back atomic.Bool
}

// finish is the last thing that a Pop does with its waiter. A spare waiter must
// not keep anything alive, in particular not a lost lease.
func (w *waiter[T]) finish() {
	w.ctx, w.done, w.values, w.handle, w.err = nil, nil, nil, nil, nil
	w.back.Store(true)
}

// ended reports whether the waiter's ctx has ended.
func (w *waiter[T]) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// links are a waiter's neighbours in a line.
type links[T any] struct{ next, prev *waiter[T] }

// line is a list of waiters.
type line[T any] struct{ first, last *waiter[T] }

func (l *line[T]) append(w *waiter[T]) {
	w.line = links[T]{prev: l.last}
	if l.last == nil {
		l.first = w
	} else {
		l.last.line.next = w
	}
	l.last = w
}

func (l *line[T]) remove(w *waiter[T]) {
	if w.line.prev == nil {
		l.first = w.line.next
	} else {
		w.line.prev.line.next = w.line.next
	}
	if w.line.next == nil {
		l.last = w.line.prev
	} else {
		w.line.next.line.prev = w.line.prev
	}
	w.line = links[T]{}
}

// oldest returns the first that is not skip, or nil.
func (l *line[T]) oldest(skip *waiter[T]) *waiter[T] {
	if l.first != nil && l.first == skip {
		return l.first.line.next
	}
	return l.first
}

// newest returns the last that is not skip, or nil.
func (l *line[T]) newest(skip *waiter[T]) *waiter[T] {
	if l.last != nil && l.last == skip {
		return l.last.line.prev
	}
	return l.last
}

// queue is the waiters. Those with time stand in a line, the oldest first, and if
// they have a deadline in a heap, too. Those that were passed over are a stack.
// All are linked by arrival. Under the lock. Only this file writes its fields.
type queue[T any] struct {
	first, last *waiter[T] // by arrival
	len         int
	looked      *waiter[T] // where scan continues; nil: at the first

	timely     line[T] // those that were not passed over
	urgent     urgency[T]
	passed     line[T] // the top of the stack is the last
	arrivals   uint64
	passedOver uint64 // so far
	behind     int    // the number of those passed over
	refused    uint   // by RefuseLate
	turn       uint   // of the oldest (odd) or the most urgent (even)
	probe      uint   // even turns for which nobody with time and a deadline was left
}

func (q *queue[T]) append(w *waiter[T]) {
	q.arrivals++
	w.number = q.arrivals
	w.prev, w.queued, w.passedOver = q.last, true, false
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.len++
	q.timely.append(w)
	if w.deadline != 0 {
		heap.Push(&q.urgent, w)
	}
}

func (q *queue[T]) remove(w *waiter[T]) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	if q.looked == w {
		q.looked = w.next
	}
	w.next, w.prev, w.queued = nil, nil, false
	q.len--
	if w.passedOver {
		q.behind--
		q.passed.remove(w)
	} else {
		q.removeTimely(w)
	}
}

func (q *queue[T]) removeTimely(w *waiter[T]) {
	q.timely.remove(w)
	if w.urgent != 0 {
		heap.Remove(&q.urgent, w.urgent-1)
	}
}

// passOver moves a waiter from those with time to the top of the stack.
func (q *queue[T]) passOver(w *waiter[T]) {
	q.removeTimely(w)
	w.passedOver = true
	q.behind++
	q.passedOver++
	q.passed.append(w)
}

// urgentTurn reports whether it is the turn of the most urgent waiter.
func (q *queue[T]) urgentTurn() bool {
	q.turn++
	return q.turn%2 == 0
}

// probeDue reports whether one that was passed over is to be served although
// others wait.
func (q *queue[T]) probeDue() bool {
	q.probe++
	return q.probe%probeEvery == 0
}

// letIn reports whether one that is too late is to be let in all the same.
func (q *queue[T]) letIn() bool {
	q.refused++
	return q.refused%probeEvery == 0
}

// mostUrgent returns the waiter with time whose deadline is the earliest, or nil.
// It is not skip.
func (q *queue[T]) mostUrgent(skip *waiter[T]) *waiter[T] {
	var w *waiter[T]
	for i, other := range q.urgent[:min(len(q.urgent), 3)] {
		if other == skip {
			continue
		}
		if w == nil || q.urgent.Less(i, w.urgent-1) {
			w = other
		}
	}
	return w
}

// urgency is the waiters with a deadline that were not passed over, as a heap.
type urgency[T any] []*waiter[T]

func (u urgency[T]) Len() int { return len(u) }

// Less puts equal deadlines in order of arrival.
func (u urgency[T]) Less(i, j int) bool {
	a, b := u[i], u[j]
	return a.deadline < b.deadline || a.deadline == b.deadline && a.number < b.number
}

func (u urgency[T]) Swap(i, j int) {
	u[i], u[j] = u[j], u[i]
	u[i].urgent, u[j].urgent = i+1, j+1
}

func (u *urgency[T]) Push(w any) {
	*u = append(*u, w.(*waiter[T]))
	(*u)[len(*u)-1].urgent = len(*u)
}

func (u *urgency[T]) Pop() any {
	last := len(*u) - 1
	w := (*u)[last]
	(*u)[last] = nil
	*u = (*u)[:last]
	w.urgent = 0
	return w
}

// scan calls f for a few waiters; f may remove its waiter. The next scan
// continues where this one stopped.
func (q *queue[T]) scan(v *visits, f func(*waiter[T])) {
	w := q.looked
	for range min(q.len, scanWaiters) {
		if !v.visit() {
			break
		}
		if w == nil {
			w = q.first
		}
		next := w.next
		f(w)
		w = next
	}
	q.looked = w
}

// tokens are the waiters to send tokens to, in this order.
type tokens[T any] struct{ first, last *waiter[T] }

func (t *tokens[T]) add(w *waiter[T]) {
	w.told = true
	if t.last == nil {
		t.first = w
	} else {
		t.last.nextTold = w
	}
	t.last = w
}

func (t tokens[T]) send() {
	for next := t.first; next != nil; {
		w := next
		next, w.nextTold = w.nextTold, nil // before the token: after it w belongs to its Pop
		pauseBefore("token")
		w.token <- struct{}{}
	}
}

// spares are waiters for reuse, linked by next; the one that has been spare for
// longest is reused first. Each pool makes its own, with their channels:
// package-level ones would break testing/synctest. Only this file writes its
// fields.
type spares[T any] struct {
	first, last *waiter[T]
	len         int
}

// get returns a spare waiter whose Pop is done with it, or a new one.
func (s *spares[T]) get() *waiter[T] {
	for range min(s.len, 4) {
		w := s.first
		s.first = w.next
		if s.first == nil {
			s.last = nil
		}
		s.len--
		w.next = nil
		if w.back.Load() {
			w.told = false
			w.back.Store(false)
			return w
		}
		s.put(w)
	}
	return &waiter[T]{token: make(chan struct{}, 1)}
}

// put keeps a waiter for reuse. Whatever ends a wait under the lock calls it,
// once per wait; the Pop may not be back yet.
func (s *spares[T]) put(w *waiter[T]) {
	if s.len == spareWaiters {
		return
	}
	s.len++
	if s.last == nil {
		s.first = w
	} else {
		s.last.next = w
	}
	s.last = w
}
