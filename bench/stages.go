package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/bench/rivals"
)

type (
	resource = rivals.Resource
	conn     = pools.Conn[*resource]
)

// batchOf is how many events make a batch: enough for the clock, and few
// enough for a pool of 100.
const batchOf = 20

// scene is a pool whose connections are in memory. Its timeouts are too long to
// matter, unless change makes them shorter.
type scene struct {
	*pools.Pool[*resource]
	held            []conn
	closed, aborted atomic.Int64 // connections, as the connector counts
	over            context.Context
	end             context.CancelFunc // ends over
}

// newScene makes a pool. change may be nil.
func newScene(size int, change func(*scene, *pools.Connector[*resource], *pools.Settings)) (*scene, error) {
	s := new(scene)
	s.over, s.end = context.WithCancel(context.Background())
	c := pools.Connector[*resource]{
		Open: func(context.Context) (*resource, error) { return new(resource), nil },
		Close: func(context.Context, *resource) error {
			s.closed.Add(1)
			return nil
		},
	}
	settings := pools.Settings{
		Size: size, WaitTimeout: time.Hour, OpenTimeout: time.Hour, CloseTimeout: time.Hour,
		MaxLifetime: pools.Never, IdleTimeout: pools.Never, CheckAfter: time.Hour, CheckTimeout: time.Hour,
	}
	if change != nil {
		change(s, &c, &settings)
	}
	var err error
	s.Pool, err = pools.New("events", c, settings)
	return s, err
}

// checked gives the connector a Check.
func checked(_ *scene, c *pools.Connector[*resource], _ *pools.Settings) {
	c.Check = func(context.Context, *resource) error { return nil }
}

// fill opens n connections and leaves them idle. The uses that follow make the
// pool time fewer uses: the Push of a timed use takes a slower path, and without
// them most uses in a pool of 100 would be timed, and few in a pool of 16,000.
func (s *scene) fill(ctx context.Context, n int) error {
	if err := s.Fill(ctx, n); err != nil {
		return err
	}
	for range 2000 {
		c, err := s.Pop(ctx)
		if err != nil {
			return err
		}
		if err := c.Push(); err != nil {
			return err
		}
	}
	return nil
}

// hold pops n connections.
func (s *scene) hold(ctx context.Context, n int) error {
	for range n {
		c, err := s.Pop(ctx)
		if err != nil {
			return err
		}
		s.held = append(s.held, c)
	}
	return nil
}

// full makes a pool of n whose connections are all held.
func full(ctx context.Context, n int, change func(*scene, *pools.Connector[*resource], *pools.Settings)) (*scene, error) {
	s, err := newScene(n, change)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, n); err != nil {
		return nil, err
	}
	return s, s.hold(ctx, n)
}

// take removes n connections from held.
func (s *scene) take(n int) []conn {
	some := s.held[:n]
	s.held = s.held[n:]
	return some
}

// wait starts n Pops with the ctx pops, and returns when all of them wait.
func (s *scene) wait(ctx, pops context.Context, waiters *sync.WaitGroup, n int) error {
	want := s.Stats().Waiting + n
	for range n {
		waiters.Go(func() { _, _ = s.Pop(pops) })
	}
	return until(ctx, func() bool { return s.Stats().Waiting >= want })
}

// ended returns a ctx that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// drop closes the pool and leaves held connections to the garbage collector.
// Each of 16,000 pushes might cost as much as the event that was measured.
func (s *scene) drop() {
	s.end()
	_ = s.Close(ended())
}

// close pushes the few connections that are held, closes the pool and waits
// until nothing is open.
func (s *scene) close() {
	s.end()
	for _, c := range s.take(len(s.held)) {
		_ = c.Push()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceTime)
	defer cancel()
	_ = s.Close(ctx)
}

// ends is a stage whose event ends a lease and closes the connection. At least
// half of the leases are left.
func (s *scene) ends(end func(conn) error) *stage {
	return &stage{
		batches: max(len(s.held)/2/batchOf, 1),
		end:     s.drop,
		batch: func(ctx context.Context) (time.Duration, error) {
			want := s.closed.Load() + batchOf
			began := coldStart()
			for _, c := range s.take(batchOf) {
				if err := end(c); err != nil {
					return 0, err
				}
			}
			err := until(ctx, func() bool { return s.closed.Load() >= want })
			return time.Since(began) / batchOf, err
		},
	}
}

func latePush(ctx context.Context, n int) (*stage, error) {
	s, err := full(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	_ = s.Close(ended()) // the error says that all are held
	return s.ends(conn.Push), nil
}

func breaks(c conn) error { return c.PushErr(io.EOF) }

func brokenAmongHeld(ctx context.Context, n int) (*stage, error) {
	s, err := full(ctx, n, checked)
	if err != nil {
		return nil, err
	}
	return s.ends(breaks), nil
}

// brokenAmongIdle is good for one batch: its first event makes the pool suspect
// all idle connections, and the pool checks these later.
func brokenAmongIdle(ctx context.Context, n int) (*stage, error) {
	s, err := newScene(n+batchOf, checked)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, n+batchOf); err != nil {
		return nil, err
	}
	if err := s.hold(ctx, batchOf); err != nil {
		return nil, err
	}
	stage := s.ends(breaks)
	stage.end = s.close
	return stage, nil
}

func shrunkPush(ctx context.Context, n int) (*stage, error) {
	s, err := full(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	if err := s.Configure(func(settings *pools.Settings) { settings.Size = 1 }); err != nil {
		return nil, err
	}
	return s.ends(conn.Push), nil
}

// refuses is a stage whose event is a Pop that fails.
func (s *scene) refuses(pops context.Context, want error, end func()) *stage {
	const batch = 5 * batchOf
	return &stage{batches: endless, end: end, batch: func(context.Context) (time.Duration, error) {
		began := coldStart()
		for range batch {
			if _, err := s.Pop(pops); !errors.Is(err, want) {
				return 0, fmt.Errorf("a Pop: %w; want %w", err, want)
			}
		}
		return time.Since(began) / batch, nil
	}}
}

func refusedDown(ctx context.Context, n int) (*stage, error) {
	s, err := newScene(n, func(_ *scene, c *pools.Connector[*resource], settings *pools.Settings) {
		c.Open = func(context.Context) (*resource, error) { return nil, io.EOF }
		settings.ReconnectAttempts, settings.ReconnectSleep, settings.MaxReconnectSleep = 1, time.Hour, time.Hour // nothing is tried meanwhile
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.Pop(ctx); !errors.Is(err, pools.ErrOpenFailed) {
		return nil, fmt.Errorf("the first Pop: %w", err)
	}
	return s.refuses(ctx, pools.ErrOpenFailed, s.drop), nil
}

// crowdOf makes a pool of n whose connections are all held, while n Pops wait.
func crowdOf(ctx context.Context, n int, change func(*scene, *pools.Connector[*resource], *pools.Settings)) (*scene, func(), error) {
	s, err := full(ctx, n, change)
	if err != nil {
		return nil, nil, err
	}
	waiters := new(sync.WaitGroup)
	end := func() {
		s.drop()
		waiters.Wait()
	}
	if err := s.wait(ctx, s.over, waiters, n); err != nil {
		end()
		return nil, nil, err
	}
	return s, end, nil
}

func refusedCrowded(ctx context.Context, n int) (*stage, error) {
	s, end, err := crowdOf(ctx, n, func(_ *scene, _ *pools.Connector[*resource], settings *pools.Settings) {
		settings.MaxWaiting = n
	})
	if err != nil {
		return nil, err
	}
	return s.refuses(ctx, pools.ErrTooManyWaiting, end), nil
}

func endedPop(ctx context.Context, n int) (*stage, error) {
	s, err := full(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	return s.refuses(ended(), context.Canceled, s.drop), nil
}

// cancelledWait adds waiters to n others, and cancels the new ones.
func cancelledWait(ctx context.Context, n int) (*stage, error) {
	s, end, err := crowdOf(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	return &stage{batches: endless, end: end, batch: func(ctx context.Context) (time.Duration, error) {
		var cancels []context.CancelFunc
		var returned atomic.Int64
		for range batchOf {
			pops, cancel := context.WithCancel(s.over)
			defer cancel()
			cancels = append(cancels, cancel)
			go func() {
				defer returned.Add(1)
				_, _ = s.Pop(pops)
			}()
		}
		if err := until(ctx, func() bool { return s.Stats().Waiting >= n+batchOf }); err != nil {
			return 0, err
		}
		began := coldStart()
		for _, cancel := range cancels {
			cancel()
		}
		err := until(ctx, func() bool { return returned.Load() == batchOf })
		return time.Since(began) / batchOf, err
	}}, nil
}

// pushPastEnded is good for one event, because a waiter is passed over once. The
// Push comes before the scheduler has woken any waiter whose ctx has ended: there
// is one processor, and the Push does not block. Only the Push is timed. What the
// others do when they wake is theirs.
func pushPastEnded(ctx context.Context, n int) (*stage, error) {
	s, err := newScene(1, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.fill(ctx, 1), s.hold(ctx, 1)); err != nil {
		return nil, err
	}
	var waiters sync.WaitGroup
	front, cancel := context.WithCancel(context.Background())
	end := func() {
		cancel()
		s.drop()
		waiters.Wait()
	}
	if err := s.wait(ctx, front, &waiters, n); err != nil {
		end()
		return nil, err
	}
	got := make(chan conn, 1)
	go func() {
		if c, err := s.Pop(s.over); err == nil {
			got <- c
		}
	}()
	if err := until(ctx, func() bool { return s.Stats().Waiting == n+1 }); err != nil {
		end()
		return nil, err
	}
	return &stage{batches: 1, end: end, batch: func(ctx context.Context) (time.Duration, error) {
		coldStart()
		cancel()
		began := time.Now()
		if err := s.held[0].Push(); err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took, until(ctx, func() bool { return len(got) == 1 })
	}}, nil
}

// abandonedClose has n calls hang that are not abandoned, because to abandon n
// calls first might take as long as n events. The calls of the batch have a
// short timeout, and all of them reach it at about the same time: what the batch
// takes beyond one timeout is what the events cost.
func abandonedClose(ctx context.Context, n int) (*stage, error) {
	const (
		batch   = 5 * batchOf
		timeout = 2 * time.Millisecond
		given   = timeout + timeout/10 // as pools.Connector says
	)
	var abandoned atomic.Int64
	s, err := full(ctx, n+batch, func(s *scene, c *pools.Connector[*resource], settings *pools.Settings) {
		c.Close = func(context.Context, *resource) error {
			<-s.over.Done()
			return nil
		}
		settings.Observer = &pools.Observer{Event: func(e pools.Event) {
			if e.Kind == pools.EventHung {
				abandoned.Add(1)
			}
		}}
	})
	if err != nil {
		return nil, err
	}
	for _, c := range s.take(n) {
		if err := c.Destroy(); err != nil {
			return nil, err
		}
	}
	if err := s.Configure(func(settings *pools.Settings) { settings.CloseTimeout = timeout }); err != nil {
		return nil, err
	}
	return &stage{batches: 1, end: s.close, batch: func(ctx context.Context) (time.Duration, error) {
		began := coldStart()
		for _, c := range s.take(batch) {
			if err := c.Destroy(); err != nil {
				return 0, err
			}
		}
		err := until(ctx, func() bool { return abandoned.Load() == batch })
		return (time.Since(began) - given) / batch, err
	}}, nil
}

// slowOpen has a Fill start n opens that hang. A few opens succeed before, which
// lets the pool start the others all at once. Then one Pop waits for so long
// that the pool counts no hanging open as help: each Pop after it starts an
// open of its own.
func slowOpen(ctx context.Context, n int) (*stage, error) {
	const (
		batch   = batchOf / 2
		succeed = 15                    // 2 to the power of 15 are more than many
		old     = 25 * time.Millisecond // the pool counts an open of 20 ms as slow
	)
	batches := max(n/100, 2)
	spare := 2*batches*batch + n/8 + 200 // the waiting Pop has more opens started from time to time
	var begun, hanging atomic.Int64
	s, err := newScene(succeed+n+spare, func(_ *scene, c *pools.Connector[*resource], _ *pools.Settings) {
		c.Open = func(ctx context.Context) (*resource, error) {
			// The second hangs too: when no open is under way, the pool begins
			// again with two at once.
			if i := begun.Add(1); i != 2 && i <= succeed+1 {
				return new(resource), nil
			}
			hanging.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	if err != nil {
		return nil, err
	}
	var waiters sync.WaitGroup
	end := func() {
		s.close()
		waiters.Wait()
	}
	filling, stop := context.WithCancel(ctx)
	waiters.Go(func() { _ = s.Fill(filling, succeed+n) })
	err = until(ctx, func() bool { return hanging.Load() >= int64(n) && s.Stats().Idle == succeed })
	stop()
	if err == nil {
		err = s.hold(ctx, succeed)
	}
	if err == nil {
		err = s.wait(ctx, s.over, &waiters, 1)
	}
	if err == nil {
		err = until(ctx, func() bool { return hanging.Load() > int64(n) })
	}
	if err != nil {
		end()
		return nil, err
	}
	return &stage{batches: batches, end: end, batch: func(ctx context.Context) (time.Duration, error) {
		time.Sleep(old) // the opens of the batch before must be slow, too
		pops, cancel := context.WithCancel(s.over)
		defer func() {
			cancel()
			_ = until(ctx, func() bool { return s.Stats().Waiting == 1 })
		}()
		began := coldStart()
		for range batch {
			before := hanging.Load()
			waiters.Go(func() { _, _ = s.Pop(pops) })
			if err := until(ctx, func() bool { return hanging.Load() > before }); err != nil {
				return 0, err
			}
		}
		return time.Since(began) / batch, nil
	}}, nil
}

func replaced(ctx context.Context, n int) (*stage, error) {
	s, err := full(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	next := 0
	return &stage{batches: endless, end: s.drop, batch: func(ctx context.Context) (_ time.Duration, err error) {
		began := coldStart()
		for range batchOf {
			if err := s.held[next].Destroy(); err != nil {
				return 0, err
			}
			if s.held[next], err = s.Pop(ctx); err != nil {
				return 0, err
			}
			next = (next + 1) % n
		}
		return time.Since(began) / batchOf, nil
	}}, nil
}
