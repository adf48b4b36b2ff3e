package poolstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

// Server makes connections that exist in this process only, and watches over
// what the pool does with them.
type Server struct {
	// What the connector's functions do. Check and Reset are part of the
	// connector only if NewServer is told so.
	Open, Close, Check, Reset, Abort Point

	// IsBroken and, beside Reset, IsDirty and IsUnfinished are the connector's
	// Broken, Dirty and Unfinished if they are not nil. Set them before Make.
	IsBroken     func(r *Resource, err error) bool
	IsDirty      func(r *Resource) bool
	IsUnfinished func(r *Resource) error

	// IsGone is the connector's Peek if it is not nil. Set it before Make.
	IsGone func(r *Resource) error

	tb      testing.TB
	release chan struct{}

	mu     sync.Mutex
	limit  int // connections that may be open; 0: no limit
	opened int
	closed int
	most   int
	kept   int // detached: the pool need not close them
}

// Resource is a connection to a Server.
type Resource struct {
	Number int // the how many-eth the server opened, from 1

	server *Server
	mu     sync.Mutex
	users  int
	closed bool
	kept   bool
}

// ErrBroken is what Do returns for a resource that was closed.
var ErrBroken = errors.New("poolstest: the connection is closed")

// NewServer makes a server. limit is how many connections may be open at
// once, 0 if that does not matter.
func NewServer(tb testing.TB, limit int) *Server {
	return &Server{tb: tb, limit: limit, release: make(chan struct{})}
}

// Option is a part of the connector that a pool need not have.
type Option int

const (
	WithCheck Option = iota // Connector.Check
	WithReset               // Connector.Reset
	WithAbort               // Connector.Abort
)

// Connector returns the connector of this server.
func (s *Server) Connector(options ...Option) pools.Connector[*Resource] {
	c := pools.Connector[*Resource]{Open: s.open, Close: s.close, Broken: s.IsBroken, Peek: s.IsGone}
	for _, o := range options {
		switch o {
		case WithCheck:
			c.Check = func(ctx context.Context, r *Resource) error { return s.Check.run(ctx) }
		case WithReset:
			c.Reset = func(ctx context.Context, r *Resource) error { return s.Reset.run(ctx) }
			c.Dirty, c.Unfinished = s.IsDirty, s.IsUnfinished
		case WithAbort:
			c.Abort = func(r *Resource) { _ = s.Abort.run(context.Background()) }
		}
	}
	return c
}

// Limit changes how many connections may be open at once, 0 if that does not
// matter.
func (s *Server) Limit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// Hang is a fault: the call hangs until Release, or until the test ends.
func (s *Server) Hang() Fault { return Hang(s.release) }

// Release lets go what Hang holds, now and later.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

// IsOpen returns how many connections are open, Opened how many were opened
// so far, and Most how many were open at once.
func (s *Server) IsOpen() int { return s.read(func() int { return s.opened - s.closed - s.kept }) }
func (s *Server) Opened() int { return s.read(func() int { return s.opened }) }
func (s *Server) Most() int   { return s.read(func() int { return s.most }) }

func (s *Server) read(f func() int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func (s *Server) open(ctx context.Context) (*Resource, error) {
	if err := s.Open.run(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	is := s.opened - s.closed - s.kept
	s.most = max(s.most, is)
	if s.limit > 0 && is > s.limit {
		s.tb.Errorf("poolstest: %d connections are open, %d are allowed", is, s.limit)
	}
	return &Resource{Number: s.opened, server: s}, nil
}

func (s *Server) close(ctx context.Context, r *Resource) error {
	// However Close ends (a panic, an error, after a hang), the connection
	// is gone then, and not before.
	defer r.close()
	return s.Close.run(ctx)
}

func (r *Resource) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.server.tb.Errorf("poolstest: connection %d was closed twice", r.Number)
		return
	}
	if r.users > 0 {
		r.server.tb.Errorf("poolstest: connection %d was closed under its user", r.Number)
	}
	r.closed = true
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.server.closed++
}

// Do uses the connection for as long as f runs; f may be nil. It fails the
// test if somebody else is using it, and returns ErrBroken if it is closed.
func (r *Resource) Do(f func()) error {
	if err := r.Begin(); err != nil {
		return err
	}
	defer r.End()
	if f != nil {
		f()
	}
	return nil
}

// Begin and End are Do in two parts, for a use that ends elsewhere. After an
// error of Begin there is nothing to end.
func (r *Resource) Begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.server.tb.Errorf("poolstest: connection %d was used after it was closed", r.Number)
		return ErrBroken
	}
	r.users++
	if r.users > 1 {
		r.server.tb.Errorf("poolstest: connection %d has %d users", r.Number, r.users)
	}
	return nil
}

func (r *Resource) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users--
}

// Keep tells the server that this connection was detached: it does not count
// as open any more.
func (r *Resource) Keep() {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if !r.kept {
		r.kept = true
		r.server.kept++
	}
}

// New makes a pool on a new Server. When the test ends it releases what hangs,
// closes the pool, and fails the test if that does not succeed within a
// minute or if anything is still open.
func New(tb testing.TB, settings pools.Settings, options ...Option) (*pools.Pool[*Resource], *Server) {
	tb.Helper()
	server := NewServer(tb, settings.Size)
	return Make(tb, server, settings, options...), server
}

// Make is New for a server that exists: one with IsBroken set, or without a
// limit because calls will be abandoned.
func Make(tb testing.TB, server *Server, settings pools.Settings, options ...Option) *pools.Pool[*Resource] {
	tb.Helper()
	pool, err := pools.New(tb.Name(), server.Connector(options...), settings)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		server.Release()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := pool.Close(ctx)
		// What hung has been released and comes back now; the pool cleans up
		// behind it.
		for errors.Is(err, pools.ErrAbandoned) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
			err = pool.Close(ctx)
		}
		if err != nil {
			tb.Errorf("poolstest: closing the pool: %v", err)
		}
		Check(tb, pool, server)
		if open := server.IsOpen(); open != 0 {
			tb.Errorf("poolstest: %d connections are open after Close", open)
		}
	})
	return pool
}

// Check fails the test if the pool's numbers do not add up.
func Check(tb testing.TB, pool pools.AnyPool, server *Server) {
	tb.Helper()
	st := pool.Stats()
	sum := st.Vacant + st.Opening + st.Idle + st.Stale + st.Held + st.Revoked + st.Checking +
		st.Resetting + st.Returning + st.Closing + st.Hung
	if sum != st.Size+st.Excess {
		tb.Errorf("poolstest: the states of %+v add up to %d", st, sum)
	}
	if uint64(server.Opened()) < st.Opened {
		tb.Errorf("poolstest: the pool counts %d opened, the server %d", st.Opened, server.Opened())
	}
}
