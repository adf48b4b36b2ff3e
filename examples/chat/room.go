package main

import (
	"context"
	"log"
	"sync"
)

// room passes on what is said to the sockets in it.
type room struct {
	name     string
	store    *store
	expected int // sockets that are in, or about to be; under the server's lock

	mu      sync.Mutex
	last    int64 // the number of the last message that was passed on
	sockets map[*socket]struct{}
}

// hear passes on a message. Numbers come without a gap; where there is one,
// something was published while nobody listened, and is in the history.
func (r *room) hear(ctx context.Context, m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Number > r.last+1 {
		r.fetch(ctx)
	}
	r.pass(m)
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
func (r *room) fetch(ctx context.Context) {
	missed, err := r.store.history(ctx, r.name, r.last)
	if err != nil {
		log.Printf("chat: the history of %s: %v", r.name, err)
		return
	}
	for _, m := range missed {
		r.pass(m)
	}
}

func (r *room) catchUp(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetch(ctx)
}

// enter sends a socket the history, and from then on all that is said.
func (r *room) enter(ctx context.Context, s *socket) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	history, err := r.store.history(ctx, r.name, 0)
	if err != nil {
		return err
	}
	for _, m := range history {
		s.send(m) // to this one; the others hear what is new to them, too
		if m.Number > r.last {
			r.pass(m)
		}
	}
	r.sockets[s] = struct{}{}
	return nil
}

func (r *room) leave(s *socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sockets, s)
}
