// Package servers holds the pool against real servers that are killed, hang,
// refuse and end connections, and networks that fail, under load.
package servers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
	"github.com/utopia-go/pools/internal/proxy"
)

const (
	size    = 8
	askers  = 16
	clients = 20               // that the server allows
	slack   = 10 * time.Second // for a busy machine, on top of what the settings promise
)

var settings = pools.Settings{
	Size: size, WaitTimeout: 2 * time.Second, CheckAfter: 20 * time.Millisecond, CheckTimeout: time.Second,
	OpenTimeout: 2 * time.Second, CloseTimeout: time.Second, ReconnectAttempts: 2, ReconnectSleep: 20 * time.Millisecond,
}

// fault is what is done to a server, or to the network before it. It returns
// how that ends.
type fault struct {
	name string
	do   func(ctx context.Context, e *engine.Engine, p *proxy.Proxy) (end func() error, err error)

	// silent faults end connections without the server's knowing: for a
	// moment it counts those beside their successors.
	silent bool
}

var faults = []fault{
	{name: "kill and restart", do: func(ctx context.Context, e *engine.Engine, _ *proxy.Proxy) (func() error, error) {
		return func() error { return e.Start(ctx) }, e.Kill()
	}},
	{name: "hang", silent: true, do: func(_ context.Context, e *engine.Engine, _ *proxy.Proxy) (func() error, error) {
		return e.Continue, e.Stop()
	}},
	{name: "cut", silent: true, do: func(_ context.Context, _ *engine.Engine, p *proxy.Proxy) (func() error, error) {
		p.Refuse()
		p.Cut()
		return func() error { p.Accept(); return nil }, nil
	}},
	{name: "delay", silent: true, do: func(_ context.Context, _ *engine.Engine, p *proxy.Proxy) (func() error, error) {
		p.Delay(50 * time.Millisecond)
		return func() error { p.Delay(0); return nil }, nil
	}},
	{name: "stall", silent: true, do: func(_ context.Context, _ *engine.Engine, p *proxy.Proxy) (func() error, error) {
		p.Stall()
		return func() error { p.Resume(); return nil }, nil
	}},
	{name: "half-close", silent: true, do: func(_ context.Context, _ *engine.Engine, p *proxy.Proxy) (func() error, error) {
		p.HalfClose()
		return func() error { return nil }, nil
	}},
	{name: "terminate", do: func(ctx context.Context, e *engine.Engine, _ *proxy.Proxy) (func() error, error) {
		for range 20 {
			if err := e.Terminate(ctx, size/2); err != nil {
				return nil, err
			}
		}
		return func() error { return nil }, nil
	}},
}

func TestRedis(t *testing.T)    { test(t, engine.Redis, load.Redis) }
func TestPostgres(t *testing.T) { test(t, engine.Postgres, load.Postgres) }

func test[T comparable](t *testing.T, start func(context.Context, int) (*engine.Engine, error), kind load.Kind[T]) {
	e, err := start(t.Context(), clients)
	engine.Need(t, e, err)
	for _, f := range append(faults, full(kind)) {
		t.Run(f.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			p, err := proxy.Start(e.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			l, err := load.New(e.Name, p.Address, kind, settings, 200*time.Millisecond, func(what string) { t.Error(what) })
			if err != nil {
				t.Fatal(err)
			}
			suffer(ctx, t, e, p, l, f)

			if err := l.Pool.Close(ctx); err != nil {
				t.Error(err)
			}
			if err := engine.Eventually(ctx, func() error { return has(ctx, e, 0) }); err != nil {
				t.Error("after Close ", err)
			}
		})
	}
}

func has(ctx context.Context, e *engine.Engine, most int) error {
	n, err := e.Connections(ctx)
	if n > most {
		err = fmt.Errorf("the server has %d clients, at most %d may be", n, most)
	}
	return err
}

// suffer asks through the pool before, during and after a fault.
func suffer[T comparable](ctx context.Context, t *testing.T, e *engine.Engine, p *proxy.Proxy, l *load.Load[T], f fault) {
	within := func(limit time.Duration, what string, done func() error) time.Duration {
		began := time.Now()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err := engine.Eventually(ctx, done); err != nil {
			t.Errorf("%s: not within %v: %v; %+v", what, limit, err, l.Pool.Stats())
		}
		return time.Since(began)
	}
	answers := func(n int64) func() error {
		want := l.Answers.Load() + n
		return func() error {
			if got := l.Answers.Load(); got < want {
				return fmt.Errorf("%d answers are missing, %v", want-got, l.Last())
			}
			return nil
		}
	}
	w := watch(ctx, t, e, f.silent)
	l.Start(askers)
	const some = 500
	usual := within(time.Minute, "before", answers(some))
	if l.Errors.Load() > 0 {
		t.Errorf("nothing is wrong yet, and it fails: %v", l.Last())
	}

	w.trouble(true)
	began := time.Now()
	end, err := f.do(ctx, e, p)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(500 * time.Millisecond): // the load goes on meanwhile, and what hangs is given up
	case <-ctx.Done():
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	// The prober's pauses double, so the next is at most twice as long as
	// all before it together, and ReconnectSleep; and one open may just hang.
	bound := 2*time.Since(began) + settings.ReconnectSleep + settings.OpenTimeout
	again := within(bound+10*usual+slack, "after", answers(some))
	within(slack+settings.CloseTimeout, "after", func() error { return has(ctx, e, size) })
	w.trouble(false)
	failed := l.Errors.Load()
	within(time.Minute, "in the end", answers(some))
	if n := l.Errors.Load() - failed; n > size {
		t.Errorf("all is well again, and %d fail: %v", n, l.Last())
	}
	l.Stop()
	w.stop()
	if late := time.Duration(l.Longest.Load()); late > slack {
		t.Errorf("a question took %v longer than its ctx", late)
	}
	if err := load.AtRest(ctx, l.Pool); err != nil {
		t.Error(err)
	}
	t.Logf("%d answers took %v before and %v after; %d in all, %d given up, %d errors; at most %d on the server", some,
		usual.Round(time.Millisecond), again.Round(time.Millisecond), l.Answers.Load(), l.GivenUp.Load(), l.Errors.Load(), w.most)
}

// watcher asks the server again and again how many clients it has.
type watcher struct {
	mu      sync.Mutex
	exempt  bool // a silent fault is at work
	silent  bool
	most    int
	samples int
	stop    func()
}

func (w *watcher) trouble(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exempt = on && w.silent
}

func watch(ctx context.Context, t *testing.T, e *engine.Engine, silent bool) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{silent: silent}
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			n, err := e.Connections(ctx)
			if err != nil {
				continue // it is down
			}
			w.mu.Lock()
			w.samples++
			w.most = max(w.most, n)
			if n > size && !w.exempt {
				t.Errorf("the server has %d clients of a pool of %d", n, size)
			}
			w.mu.Unlock()
		}
	})
	w.stop = func() { cancel(); done.Wait() }
	return w
}

// full is a server that others have filled, all but one of its places.
func full[T comparable](kind load.Kind[T]) fault {
	return fault{name: "full", silent: true, do: func(ctx context.Context, e *engine.Engine, p *proxy.Proxy) (func() error, error) {
		c := kind.Connector(e.Address)
		var others []T
		end := func() error {
			for _, conn := range others {
				c.Abort(conn)
			}
			return nil
		}
		for len(others) < clients-2 {
			conn, err := c.Open(ctx)
			if err == nil {
				others = append(others, conn)
			} else if ctx.Err() != nil {
				return nil, errors.Join(err, end())
			} else {
				p.Cut() // no place left: some of the pool's
			}
		}
		p.Cut()
		return end, nil
	}}
}
