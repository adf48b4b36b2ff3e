// Package load asks a server questions through a pool, as hard as it can, and
// watches over the answers. The tests of internal/servers and the soak share
// it.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

// Kind says how connections to one kind of server are made and asked.
type Kind[T comparable] struct {
	Connector func(address string) pools.Connector[T]

	// Ask asks a question that carries number, and returns the number that
	// the answer bears. When ctx ends it gives up, wherever it is.
	Ask func(ctx context.Context, conn T, number int64) (int64, error)

	// Work is Ask with a question that keeps the connection busy at the server
	// for that long, and the processor not at all.
	Work func(ctx context.Context, conn T, number int64, takes time.Duration) (int64, error)
}

// Load is goroutines that ask.
type Load[T comparable] struct {
	Pool *pools.Pool[T]
	Kind Kind[T]

	// Patience is how long a question may take; one in four is given less
	// than is enough, so that it is given up with its answer on the way.
	Patience time.Duration

	// Wrong is told what must never happen: the answer to another question,
	// or two users of one connection, the pool itself included.
	Wrong func(string)

	Answers atomic.Int64 // right ones
	GivenUp atomic.Int64 // by the asker, after its own time
	Errors  atomic.Int64 // all others
	Refused atomic.Int64 // those of Errors that got no connection
	Longest atomic.Int64 // how long a question took beyond its time, in nanoseconds

	number atomic.Int64
	users  sync.Map // of T: it is in use
	lastMu sync.Mutex
	last   error
	stop   chan struct{}
	all    sync.WaitGroup
}

// New makes a pool on the server at an address, and a load for it.
func New[T comparable](name, address string, kind Kind[T], settings pools.Settings, patience time.Duration, wrong func(string)) (*Load[T], error) {
	l := &Load[T]{Kind: kind, Patience: patience, Wrong: wrong}
	c := kind.Connector(address)
	alone := func(f func(context.Context, T) error) func(context.Context, T) error {
		return func(ctx context.Context, conn T) error {
			defer l.use(conn)()
			return f(ctx, conn)
		}
	}
	c.Check, c.Close = alone(c.Check), alone(c.Close)
	var err error
	l.Pool, err = pools.New(name, c, settings)
	return l, err
}

// use notes that a connection is in use, until the function it returns.
func (l *Load[T]) use(conn T) (end func()) {
	if _, used := l.users.LoadOrStore(conn, true); used {
		l.Wrong(fmt.Sprintf("%s: a connection has two users", l.Pool.Name()))
	}
	return func() { l.users.Delete(conn) }
}

// Start starts n goroutines.
func (l *Load[T]) Start(n int) {
	l.stop = make(chan struct{})
	for range n {
		l.all.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.ask()
				}
			}
		})
	}
}

// Stop stops them, and returns when each has its answer or its error.
func (l *Load[T]) Stop() {
	close(l.stop)
	l.all.Wait()
}

// Last returns the latest error that was not the asker's own time.
func (l *Load[T]) Last() error {
	l.lastMu.Lock()
	defer l.lastMu.Unlock()
	return l.last
}

func (l *Load[T]) ask() {
	number, patience := l.number.Add(1), l.Patience
	if number%4 == 0 {
		patience = time.Duration(rand.Int64N(int64(2 * time.Millisecond)))
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := l.Pool.Use(ctx, func(conn T) error {
		defer l.use(conn)()
		got, err := l.Kind.Ask(ctx, conn, number)
		if err == nil && got != number {
			l.Wrong(fmt.Sprintf("%s: question %d got the answer to %d", l.Pool.Name(), number, got))
		}
		return err
	})
	late := int64(time.Since(began) - patience)
	for was := l.Longest.Load(); late > was && !l.Longest.CompareAndSwap(was, late); was = l.Longest.Load() {
	}
	switch {
	case err == nil:
		l.Answers.Add(1)
	case late >= 0: // a socket's clock may be a little ahead of the ctx's
		l.GivenUp.Add(1)
	default:
		if _, refused := errors.AsType[*pools.PopError](err); refused {
			l.Refused.Add(1)
		}
		l.Errors.Add(1)
		l.lastMu.Lock()
		l.last = err
		l.lastMu.Unlock()
		select { // when all fails it fails at once, and that says nothing new
		case <-l.stop:
		case <-time.After(time.Millisecond):
		}
	}
}

// AtRest returns what is wrong with a pool that nobody uses: something is
// lent, its numbers do not add up, or not all of Size can be had at once.
func AtRest[T any](ctx context.Context, pool *pools.Pool[T]) error {
	var all []pools.Conn[T]
	var faults []error
	for range pool.Settings().Size {
		conn, err := pool.Pop(ctx)
		if err != nil {
			faults = append(faults, fmt.Errorf("the pool has lost a slot: %w", err))
			break
		}
		all = append(all, conn)
	}
	st := pool.Stats()
	if st.Held != len(all) || st.Waiting != 0 {
		faults = append(faults, fmt.Errorf("%d are held: %+v", len(all), st))
	}
	sum := st.Vacant + st.Opening + st.Idle + st.Stale + st.Held + st.Revoked + st.Checking + st.Resetting + st.Returning + st.Closing + st.Hung
	if sum != st.Size+st.Excess {
		faults = append(faults, fmt.Errorf("the states do not add up to Size: %+v", st))
	}
	for _, conn := range all {
		faults = append(faults, conn.Push())
	}
	return errors.Join(faults...)
}
