// Package puddle has the API of github.com/jackc/puddle/v2 on a pool of this
// repository's. It is for programs that use puddle, or pgxpool, which does: one
// line in go.mod puts them on it.
//
//	replace github.com/jackc/puddle/v2 => github.com/utopia-go/pools/compat/puddle/v2 v2.1.0
//
// What differs is in README.md.
package puddle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

// ErrClosedPool is returned by a pool that is or has been closed.
var ErrClosedPool = errors.New("closed pool")

// ErrNotAvailable is returned by TryAcquire when nothing is idle, and by
// CreateResource when the pool is full.
var ErrNotAvailable = errors.New("resource not available")

// Constructor makes a resource. Its ctx carries the values of an Acquire's,
// and ends when the pool is closed, or is that of a CreateResource or TryAcquire.
type Constructor[T any] func(ctx context.Context) (res T, err error)

// Destructor ends a resource.
type Destructor[T any] func(res T)

// Config is what NewPool needs; all of it.
type Config[T any] struct {
	Constructor Constructor[T]
	Destructor  Destructor[T]
	MaxSize     int32
}

// Pool is a pool. It is safe for concurrent use.
type Pool[T any] struct {
	pool      *pools.Pool[*Resource[T]]
	construct Constructor[T]
	ctx       context.Context // of all constructors but those of creations
	close     context.CancelFunc
	began     time.Time // nanotimes are since then

	mu       sync.Mutex
	creating []*creation // whose constructor nobody calls yet
	makers   int         // creations whose constructor has not returned

	resets        atomic.Int64 // resources made before the latest go
	acquires      atomic.Int64
	acquired      atomic.Int64 // nanoseconds of all
	emptyAcquires atomic.Int64
	emptyWait     atomic.Int64
	canceled      atomic.Int64
}

// most is the largest pool: each place takes some hundred bytes, used or not.
const most = 1 << 16

// long is for what puddle does not bound.
const long = 365 * 24 * time.Hour

// NewPool makes a pool. MaxSize must be at least 1.
func NewPool[T any](config *Config[T]) (*Pool[T], error) {
	if config.MaxSize < 1 {
		return nil, errors.New("MaxSize must be >= 1")
	}
	p := &Pool[T]{construct: config.Constructor, began: time.Now().Add(-1)}
	p.ctx, p.close = context.WithCancel(context.Background())
	var err error
	p.pool, err = pools.New("puddle", pools.Connector[*Resource[T]]{
		Values: func(ctx context.Context) context.Context { return ctx }, // as puddle does
		Open:   p.open,
		Close: func(_ context.Context, r *Resource[T]) error {
			if r.gone != nil {
				defer close(r.gone) // also after a panic
			}
			if !r.none {
				config.Destructor(r.value)
			}
			return nil
		},
		Broken: func(r *Resource[T], _ error) bool { return r.old() },
	}, pools.Settings{
		Size: int(min(config.MaxSize, most)), WaitTimeout: long, OpenTimeout: long, CloseTimeout: long, ReconnectAttempts: 1,
		ReconnectSleep: time.Second, MaxLifetime: pools.Never, IdleTimeout: pools.Never, CheckAfter: pools.Never,
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// open makes a resource.
func (p *Pool[T]) open(ctx context.Context) (*Resource[T], error) {
	r := &Resource[T]{pool: p, reset: p.resets.Load()}
	var constructing context.Context = values{p.ctx, ctx}
	c := p.created()
	if c != nil {
		constructing = c.ctx
		defer p.constructed(c) // also after a panic
	}
	var err error
	r.value, err = p.construct(constructing)
	if c != nil {
		c.returned, c.err = true, err
	}
	if err != nil && (c == nil || c.ctx.Err() == nil) {
		return nil, err
	}
	if err != nil {
		// That its ctx has ended says nothing about the server, and is no
		// error for an Acquire that waits for this open: it gets a resource
		// that is none, drops it and goes on.
		r.none, r.reset = true, never
	}
	r.created = time.Now()
	r.used = p.nanotime()
	if r.old() {
		r.gone = make(chan struct{})
		go p.drop(r)
	}
	if c != nil && (c.background || r.none) {
		// What becomes of this one is nothing to the creation: it must not
		// have another made when this one goes.
		c.gone = r.gone
		c.stop()
		<-c.filled
	}
	return r, nil
}

// drop destroys a resource that is old already as soon as it is idle, if no
// Acquire does so before.
func (p *Pool[T]) drop(r *Resource[T]) {
	for {
		p.evict()
		select {
		case <-r.gone:
			return
		case <-time.After(time.Millisecond): // it is not idle yet
		}
	}
}

// values is a ctx with the values of another.
type values struct {
	context.Context
	of context.Context
}

func (v values) Value(key any) any { return v.of.Value(key) }

func (p *Pool[T]) nanotime() int64 { return int64(time.Since(p.began)) }

// Acquire returns an idle resource, or makes one, or waits for one.
func (p *Pool[T]) Acquire(ctx context.Context) (*Resource[T], error) {
	began := p.nanotime()
	if err := ctx.Err(); err != nil {
		p.canceled.Add(1)
		return nil, err
	}
	for {
		conn, idle := p.pool.TryPop()
		if !idle {
			var err error
			if conn, err = p.pool.Pop(ctx); err != nil {
				return nil, p.failed(ctx, err)
			}
		}
		r := p.take(conn)
		if r == nil {
			continue // made before a Reset
		}
		took := p.nanotime() - began
		p.acquires.Add(1)
		p.acquired.Add(took)
		if !idle {
			p.emptyAcquires.Add(1)
			p.emptyWait.Add(took)
		}
		return r, nil
	}
}

// take makes a lease the resource's. It returns nil for one that goes.
func (p *Pool[T]) take(conn pools.Conn[*Resource[T]]) *Resource[T] {
	r := conn.Resource()
	if r.old() {
		_ = conn.Destroy()
		return nil
	}
	r.conn = conn
	r.state.Store(acquired)
	return r
}

// failed is the error of puddle's for one of the pool's.
func (p *Pool[T]) failed(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		p.canceled.Add(1)
		return ended
	}
	if errors.Is(err, pools.ErrClosed) {
		return ErrClosedPool
	}
	if e, ok := errors.AsType[*pools.PopError](err); ok && e.OpenErr != nil {
		return e.OpenErr
	}
	return err
}

// TryAcquire returns an idle resource, or ErrNotAvailable; then it has one made
// in the background if there is room. ctx ends the making.
func (p *Pool[T]) TryAcquire(ctx context.Context) (*Resource[T], error) {
	for {
		conn, ok := p.pool.TryPop()
		if !ok {
			break
		}
		if r := p.take(conn); r != nil {
			p.acquires.Add(1)
			return r, nil
		}
	}
	if p.ctx.Err() != nil {
		return nil, ErrClosedPool
	}
	if ctx.Err() == nil {
		if c, room := p.create(ctx, true); room {
			go func() { _ = p.fill(c) }()
		}
	}
	return nil, ErrNotAvailable
}

// AcquireAllIdle acquires all that are idle.
func (p *Pool[T]) AcquireAllIdle() (all []*Resource[T]) {
	for {
		conn, ok := p.pool.TryPop()
		if !ok {
			return all
		}
		if r := p.take(conn); r != nil {
			all = append(all, r)
		}
	}
}

// CreateResource makes a resource that is idle then.
func (p *Pool[T]) CreateResource(ctx context.Context) error {
	if p.ctx.Err() != nil {
		return ErrClosedPool
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c, room := p.create(ctx, false)
	if !room {
		return ErrNotAvailable
	}
	return p.fill(c)
}

// creation is a CreateResource or a TryAcquire that makes a resource. Its
// constructor gets its ctx as it is; an Acquire may get what it makes.
type creation struct {
	ctx        context.Context // of its constructor
	fill       context.Context // of its Fill, which stop ends
	n          int             // how many resources there are to be
	background bool            // nobody waits for it
	stop       context.CancelFunc
	filled     chan struct{} // closed when its Fill is over

	taken    bool          // its constructor is called; under the pool's lock
	ended    chan struct{} // closed when it has returned or panicked
	returned bool          // it has not panicked
	err      error         // its
	gone     chan struct{} // of the resource that goes at once, or nil
}

// create notes a creation, if there is room for it and for those under way.
func (p *Pool[T]) create(ctx context.Context, background bool) (c *creation, room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.pool.Stats()
	n := total(st) + max(p.makers-st.Opening, 0) + 1 // not all creations have an open yet
	if n > p.pool.Settings().Size {
		return nil, false
	}
	c = &creation{ctx: ctx, n: n, background: background, filled: make(chan struct{}), ended: make(chan struct{})}
	c.fill, c.stop = context.WithCancel(ctx)
	p.creating = append(p.creating, c)
	p.makers++
	return c, true
}

// created returns a creation whose constructor nobody calls yet, or nil.
func (p *Pool[T]) created() *creation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.creating) == 0 {
		return nil
	}
	c := p.creating[0]
	p.creating = p.creating[1:]
	c.taken = true
	return c
}

// constructed notes that a creation's constructor has returned.
func (p *Pool[T]) constructed(c *creation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.makers--
	close(c.ended)
}

// fill waits until a creation is over.
func (p *Pool[T]) fill(c *creation) error {
	defer c.stop()
	err := c.fill.Err()
	if err == nil {
		err = p.pool.Fill(c.fill, c.n)
	}
	close(c.filled)
	p.mu.Lock()
	if !c.taken { // somebody else's open was enough, or nobody had the time
		p.creating = slices.DeleteFunc(p.creating, func(other *creation) bool { return other == c })
		p.makers--
	}
	p.mu.Unlock()
	if c.taken {
		<-c.ended
		if c.gone != nil {
			<-c.gone
		}
		if c.err != nil {
			return c.err
		}
	}
	switch why := errors.Unwrap(err); {
	case err == nil:
		return nil
	case errors.Is(err, pools.ErrClosed):
		return ErrClosedPool
	case c.taken && c.returned:
		return nil // another one has failed, or ctx has ended since
	case why != nil:
		return why // the constructor's, as it is
	}
	return err
}

// Reset destroys all resources: those that are out as they come back.
func (p *Pool[T]) Reset() {
	p.resets.Add(1)
	p.evict()
}

// evict destroys those that are idle and were made before the latest Reset.
func (p *Pool[T]) evict() {
	var others []pools.Conn[*Resource[T]]
	for {
		conn, ok := p.pool.TryPop()
		if !ok {
			break
		}
		if conn.Resource().old() {
			_ = conn.Destroy()
		} else {
			others = append(others, conn)
		}
	}
	for _, conn := range others {
		_ = conn.Push()
	}
}

// Close ends the pool, and returns when all resources have come back and are
// destroyed.
func (p *Pool[T]) Close() {
	p.close()
	for p.pool.Close(context.Background()) != nil { // after half a minute it says who is out
	}
}

// total is what puddle counts: not what is being destroyed.
func total(st pools.Stats) int { return st.Size - st.Vacant - st.Closing - st.Hung }

// Stat returns what the pool has and did.
func (p *Pool[T]) Stat() *Stat {
	st := p.pool.Stats()
	return &Stat{
		constructing: int32(st.Opening), acquired: int32(st.Held + st.Revoked + st.Returning), idle: int32(st.Idle + st.Stale + st.Checking + st.Resetting),
		most: int32(st.Size), acquires: p.acquires.Load(), duration: time.Duration(p.acquired.Load()),
		empty: p.emptyAcquires.Load(), emptyWait: time.Duration(p.emptyWait.Load()), canceled: p.canceled.Load(),
	}
}

// Stat is a snapshot of a pool's figures.
type Stat struct {
	constructing, acquired, idle, most int32
	acquires, empty, canceled          int64
	duration, emptyWait                time.Duration
}

func (s *Stat) TotalResources() int32               { return s.constructing + s.acquired + s.idle }
func (s *Stat) ConstructingResources() int32        { return s.constructing }
func (s *Stat) AcquiredResources() int32            { return s.acquired }
func (s *Stat) IdleResources() int32                { return s.idle }
func (s *Stat) MaxResources() int32                 { return s.most }
func (s *Stat) AcquireCount() int64                 { return s.acquires }
func (s *Stat) AcquireDuration() time.Duration      { return s.duration }
func (s *Stat) EmptyAcquireCount() int64            { return s.empty }
func (s *Stat) EmptyAcquireWaitTime() time.Duration { return s.emptyWait }
func (s *Stat) CanceledAcquireCount() int64         { return s.canceled }
