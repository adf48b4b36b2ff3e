package pools

import (
	"context"
	"sync/atomic"
)

const (
	spareWaiters = 1024 // the most that are kept for reuse
	scanWaiters  = 32   // the most that a Pop beyond MaxWaiting looks at
)

// waiter is a Pop that waits.
type waiter[T any] struct {
	next, prev *waiter[T]      // in the queue; next: or among the spare ones
	ctx        context.Context // its methods are the user's: none is called under the lock
	done       <-chan struct{} // of the ctx
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
	looked      *waiter[T] // where scan continues; nil: at the first
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
