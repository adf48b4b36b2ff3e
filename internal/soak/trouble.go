package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/proxy"
)

// pause waits for up to most, and reports whether ctx goes on.
func pause(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// torment does to a server and its network what happens to them. When ctx
// ends, all is well again.
func torment(ctx context.Context, r *report, e *engine.Engine, p *proxy.Proxy) {
	never := context.WithoutCancel(ctx) // what has begun is ended
	do := []struct {
		name string
		do   func() error
	}{
		{"kills", func() error {
			err := e.Kill()
			pause(ctx, 500*time.Millisecond)
			return errors.Join(err, e.Start(never))
		}},
		{"hangs", func() error {
			err := e.Stop()
			pause(ctx, 700*time.Millisecond)
			return errors.Join(err, e.Continue())
		}},
		{"cuts", func() error { p.Cut(); return nil }},
		{"half-closes", func() error { p.HalfClose(); return nil }},
		{"delays", func() error { p.Delay(30 * time.Millisecond); pause(ctx, time.Second); p.Delay(0); return nil }},
		{"stalls", func() error { p.Stall(); pause(ctx, time.Second); p.Resume(); return nil }},
		{"refusals", func() error { p.Refuse(); pause(ctx, 500*time.Millisecond); p.Accept(); return nil }},
		{"terminations", func() error { return e.Terminate(never, 1+rand.IntN(4)) }},
	}
	for pause(ctx, time.Second) {
		d := do[rand.IntN(len(do))]
		if err := d.do(); err != nil {
			r.bad(fmt.Sprintf("%s: %s: %v", e.Name, d.name, err))
			return
		}
		r.count(e.Name+": "+d.name, 1)
	}
}

// operate does to a pool what operators do. When ctx ends, all is as at first.
func operate[T any](ctx context.Context, r *report, pool *pools.Pool[T]) {
	first := pool.Settings()
	for pause(ctx, 500*time.Millisecond) {
		switch rand.IntN(7) {
		case 0, 1:
			_ = pool.Configure(func(s *pools.Settings) {
				s.Size = 1 + rand.IntN(first.Size)
				s.MinIdle = rand.IntN(s.Size + 1)
				s.Strict = rand.IntN(2) == 0
				s.MaxUses = []int{0, 100}[rand.IntN(2)]
				s.TrackHolders, s.TrackGoroutines, s.ProfileHolders = rand.IntN(3) == 0, rand.IntN(3) == 0, rand.IntN(3) == 0
			})
			r.count("changes of settings", 1)
		case 2:
			refresh, cancel := context.WithTimeout(ctx, time.Second)
			_ = pool.Refresh(refresh, 100*time.Millisecond)
			cancel()
			r.count("refreshes", 1)
		case 3:
			pool.RevokeAll()
			r.count("revocations", 1)
		case 4:
			pool.Pause()
			pause(ctx, 50*time.Millisecond)
			pool.Resume()
			r.count("pauses", 1)
		case 5:
			fill, cancel := context.WithTimeout(ctx, time.Second)
			_ = pool.Fill(fill, rand.IntN(pool.Settings().Size+1))
			cancel()
			r.count("fills", 1)
		case 6:
			for range pool.Connections() {
			}
			_, _ = pool.Stats(), pool.Available()
		}
	}
	pool.Resume()
	if err := pool.Configure(func(s *pools.Settings) { *s = first }); err != nil {
		r.bad(err.Error())
	}
}

// thing is what churn's pools hold.
type thing struct{ closed, users atomic.Int32 }

// churn makes pools of things whose connectors fail, hang and panic, uses
// them in every way, loses leases, and closes the pools or drops them.
func churn(ctx context.Context, r *report) (stop func() error, err error) {
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				onePool(ctx, r)
			}
		})
	}
	return func() error { all.Wait(); return nil }, nil
}

var errThing = errors.New("thing: failed")

// mishap is what a call of the connector suffers.
func mishap(ctx context.Context) error {
	switch rand.IntN(100) {
	case 0, 1, 2, 3:
		return errThing
	case 4:
		panic("thing")
	case 5:
		runtime.Goexit()
	case 6:
		time.Sleep(50 * time.Millisecond) // past its timeout, deaf
	case 7, 8, 9:
		pause(ctx, 5*time.Millisecond)
	}
	return nil
}

func onePool(ctx context.Context, r *report) {
	var opened, closed atomic.Int64
	pool, err := pools.New("churn", pools.Connector[*thing]{
		Open: func(ctx context.Context) (*thing, error) {
			if err := mishap(ctx); err != nil {
				return nil, err
			}
			opened.Add(1)
			return new(thing), nil
		},
		Close: func(ctx context.Context, t *thing) error {
			if t.closed.Add(1) != 1 || t.users.Load() != 0 {
				r.bad("churn: closed twice, or under its user")
			}
			closed.Add(1)
			return mishap(ctx)
		},
		Check: func(ctx context.Context, t *thing) error { return mishap(ctx) },
		Reset: func(ctx context.Context, t *thing) error { return mishap(ctx) },
	}, pools.Settings{
		Size: 4, CheckAfter: 20 * time.Millisecond, ReconnectAttempts: 1, ReconnectSleep: time.Millisecond,
		OpenTimeout: 20 * time.Millisecond, CloseTimeout: 20 * time.Millisecond, CheckTimeout: 20 * time.Millisecond, ResetTimeout: 20 * time.Millisecond,
		MaxLifetime: 500 * time.Millisecond, IdleTimeout: 200 * time.Millisecond,
	})
	if err != nil {
		r.bad(err.Error())
		return
	}
	life, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for pause(life, time.Millisecond) {
				useThing(life, r, pool)
			}
		})
	}
	all.Go(func() { operate(life, r, pool) })
	all.Wait()
	end, cancelEnd := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancelEnd()
	if rand.IntN(4) == 0 {
		r.count("churn: pools dropped", 1)
		return // nobody closes it: its things have nothing that must be closed
	}
	runtime.GC() // the collector finds leases that were lost
	err = pool.Close(end)
	for errors.Is(err, pools.ErrAbandoned) && end.Err() == nil {
		pause(end, 10*time.Millisecond)
		err = pool.Close(end)
	}
	if err != nil {
		r.bad(fmt.Sprintf("churn: %v", err))
	}
	if st := pool.Stats(); opened.Load() != closed.Load()+int64(st.Detached) {
		r.bad(fmt.Sprintf("churn: %d opened, %d closed: %+v", opened.Load(), closed.Load(), st))
	}
	r.count("churn: pools closed", 1)
}

// useThing is one use, in any way.
func useThing(life context.Context, r *report, pool *pools.Pool[*thing]) {
	defer func() { _ = recover() }()
	ctx, cancel := context.WithTimeout(life, rand.N(10*time.Millisecond))
	defer cancel()
	use := func(t *thing) {
		if t.users.Add(1) != 1 {
			r.bad("churn: a thing has two users")
		}
		runtime.Gosched()
		t.users.Add(-1)
	}
	r.count("churn: uses", 1)
	how := rand.IntN(200)
	if how > 10 {
		_ = pool.Use(ctx, func(t *thing) error {
			use(t)
			switch how {
			case 11:
				panic("user")
			case 12:
				return pools.Discard(nil)
			case 13:
				return context.DeadlineExceeded
			}
			return nil
		})
		return
	}
	conn, err := pool.Pop(ctx)
	if err != nil {
		return
	}
	use(conn.Resource())
	switch how {
	case 0:
		if rand.IntN(20) == 0 {
			r.count("churn: leases lost", 1)
			return // forgotten
		}
	case 1:
		_, _ = conn.Detach()
	case 2:
		_ = conn.Destroy()
	}
	_ = conn.Push()
	_ = conn.Push() // once too often
}
