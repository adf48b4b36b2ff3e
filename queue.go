package pools

import (
	"context"
	"sync/atomic"
)

const (
	spareWaiters = 1024 // that are kept for reuse
	scanWaiters  = 32   // that a Pop beyond MaxWaiting looks at
)

// waiter is a Pop that waits.
type waiter[T any] struct {
	next, prev *waiter[T]      // in the queue, or next among the spare ones
	ctx        context.Context // its methods are the user's: none is called under the lock
	done       <-chan struct{} // the ctx's
	since      int64           // on the pool's clock
	queued     bool

	// token wakes the waiter. The channel holds one, which is enough: a waiter
	// gets a second token only after it has come back from the race that the
	// first one woke it for. It is sent after the unlock, so that no goroutine
	// waits for the lock while the scheduler is at work.
	token    chan struct{}
	told     bool       // since it queued, or came back from a race; under the lock
	nextTold *waiter[T] // the next in tokens

	// What the token means, written under the lock before it is sent. If
	// neither handle nor err is set: race.
	handle *handle[T]
	lease  word
	err    error

	// back says that the Pop is through with this waiter. The Pop writes it
	// last; then the waiter may be reused.
	back atomic.Bool
}

// finish is the last that a Pop does with its waiter. A spare waiter keeps
// nothing alive, a lost lease least of all.
func (w *waiter[T]) finish() {
	w.ctx, w.done, w.handle, w.err = nil, nil, nil, nil
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

// queue is the waiters, oldest first. Under the lock. Only this file writes its
// fields.
type queue[T any] struct {
	first, last *waiter[T]
	len         int
	looked      *waiter[T] // where scan goes on; nil: at the first
}

func (q *queue[T]) append(w *waiter[T]) {
	w.prev, w.queued = q.last, true
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.len++
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
}

// scan calls f, which may remove it, for each waiter. It visits a few of them,
// and goes on there the next time.
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

// tokens are waiters whose tokens are to be sent, in this order.
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
		next, w.nextTold = w.nextTold, nil // before the token: after it w is its Pop's
		pauseBefore("token")
		w.token <- struct{}{}
	}
}

// spares are waiters for reuse, linked by next; those that were spared first
// are reused first. Their channels were made by their pool: package-level ones
// would break testing/synctest. Only this file writes its fields.
type spares[T any] struct {
	first, last *waiter[T]
	len         int
}

// get returns a spare waiter whose Pop is through with it, or a new one.
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
// once a wait; the Pop may not be back yet.
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
