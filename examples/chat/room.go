package main

import (
	"context"
	"sync"
)

// room passes on what is said to the sockets in it.
type room struct {
	name     string
	store    *store
	expected int // sockets that are in, or about to be; under the server's lock

	mu      sync.Mutex
	last    int64 // the number of the last message that was passed on
	heard   int64 // and of the last that was heard; 0: none was
	sockets map[*socket]struct{}
}

// hear passes on a message. Numbers come without a gap; where there is one,
// something was published while nobody listened, and is in the history.
// When that cannot be fetched, the message is not passed on either: it comes
// with the rest, later.
//
// What was passed on already may still be heard, one after the other: the
// history is faster. But a number that was heard already is of another history:
// Redis has lost its data and counts from 1 again.
func (r *room) hear(ctx context.Context, m message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Number > 0 {
		lost := m.Number <= r.heard
		if lost {
			r.last, r.heard = 0, 0
		}
		late := m.Number <= r.last && r.heard > 0 && m.Number == r.heard+1
		if lost || !late && m.Number != r.last+1 {
			if err := r.fetch(ctx); err != nil {
				return err
			}
		}
		r.heard = m.Number
	}
	r.pass(m)
	return nil
}

// pass passes on what has not been yet. Under the lock.
func (r *room) pass(m message) {
	if m.Number > 0 {
		if m.Number <= r.last {
			return
		}
		r.last = m.Number
	}
	for s := range r.sockets {
		s.send(m)
	}
}

// fetch passes on what the history has and was not heard. Under the lock.
func (r *room) fetch(ctx context.Context) error {
	history, err := r.store.history(ctx, r.name)
	if err == nil {
		r.passNew(history)
	}
	return err
}

// passNew passes on what is new in a history. One that ends before what was
// heard is another one: Redis has lost its data. Under the lock.
func (r *room) passNew(history []message) {
	if n := len(history); n == 0 || history[n-1].Number < r.last {
		r.last, r.heard = 0, 0
	}
	for _, m := range history {
		r.pass(m)
	}
}

// catchUp passes on what was published while nobody listened: messages, and
// who is there.
func (r *room) catchUp(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fetch(ctx); err != nil {
		return err
	}
	present, err := r.store.present(ctx, r.name)
	if err == nil && len(present) > 0 { // else Redis has lost its data: somebody is here
		r.pass(message{Present: present})
	}
	return err
}

// enter sends a socket the history, and from then on all that is said.
func (r *room) enter(ctx context.Context, s *socket) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	history, err := r.store.history(ctx, r.name)
	if err != nil {
		return err
	}
	for _, m := range history {
		s.send(m)
	}
	r.passNew(history) // to the others
	r.sockets[s] = struct{}{}
	return nil
}

func (r *room) leave(s *socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sockets, s)
}
