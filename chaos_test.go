package pools_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Everything at once, many times: users that cancel, destroy, discard, panic
// and push twice, on a server that fails, delays, panics and exits, with and
// without checks and resets, all the keeper's times, an operator that resizes,
// pauses, refreshes and revokes, and a Close in the middle or at the end. The
// server watches the rules; when all users are gone nobody waits, the gate is
// open and everything can be had again.
func TestChaos(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			chaos(t, rand.New(rand.NewPCG(seed, 0)))
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

// done returns a function that tells whether all are done.
func done(all *sync.WaitGroup) func() bool {
	over := make(chan struct{})
	go func() {
		all.Wait()
		close(over)
	}()
	return func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
}

func chaos(t *testing.T, r *rand.Rand) {
	// In short times waiters race, in long ones there is strict order.
	unit := []time.Duration{time.Millisecond, 20 * time.Microsecond}[r.IntN(2)]
	defer pools.Sample(r.IntN(3) == 0)()
	ticks := func(n int) time.Duration { return time.Duration(n) * unit }
	size := 1 + r.IntN(5)
	if r.IntN(10) == 0 {
		size = 70 // with hints
	}
	settings := pools.Settings{
		Size: size, ReconnectAttempts: 1 + r.IntN(3), ReconnectSleep: ticks(1 + r.IntN(20)),
		OpenTimeout: ticks(500), CheckTimeout: ticks(50), ResetTimeout: ticks(50), CloseTimeout: ticks(50),
		Strict: r.IntN(2) == 0, TrackHolders: r.IntN(4) == 0, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	var options []poolstest.Option
	for _, o := range []poolstest.Option{poolstest.WithReset, poolstest.WithAbort} {
		if r.IntN(2) == 0 {
			options = append(options, o)
		}
	}
	sometimes := func(n int) time.Duration {
		if r.IntN(3) > 0 {
			return 0
		}
		return ticks(1 + r.IntN(n))
	}
	if r.IntN(2) == 0 {
		options = append(options, poolstest.WithCheck)
		settings.CheckAfter = sometimes(100)
		if r.IntN(3) == 0 {
			settings.CheckAfter = pools.Always
		}
		settings.KeepAlive = sometimes(100)
	}
	settings.MaxLifetime, settings.IdleTimeout, settings.LeakAfter = sometimes(500), sometimes(100), sometimes(50)
	if r.IntN(4) == 0 {
		settings.MaxUses = 1 + r.IntN(5)
	}
	if r.IntN(4) == 0 {
		settings.MinIdle = r.IntN(size + 1)
	}
	if r.IntN(4) == 0 {
		settings.MaxOpensPerSecond = 1 + r.IntN(10*int(time.Second/unit)/100)
	}
	steered, most := r.IntN(2) == 0, size
	if steered {
		most = 2 * size
	}
	limit := 0
	if settings.Strict {
		limit = most
	}
	server := poolstest.NewServer(t, limit)
	if r.IntN(2) == 0 {
		server.IsBroken = func(_ resource, err error) bool { return err != nil }
	}
	// Faults are drawn before the goroutines start: rand.Rand is not theirs.
	for _, point := range []*poolstest.Point{&server.Open, &server.Close, &server.Check, &server.Reset} {
		var faults []poolstest.Fault
		for range 100 {
			delay := poolstest.Delay(ticks(r.IntN(20)))
			faults = append(faults, []poolstest.Fault{
				nil, nil, nil, delay, delay, poolstest.InOrder(delay, poolstest.Fail(errRefused)),
				poolstest.Fail(io.EOF), poolstest.Panic("chaos"), poolstest.Goexit(), poolstest.Deaf(ticks(r.IntN(700))),
			}[r.IntN(10)])
		}
		point.Next(faults...)
	}
	pool := poolstest.Make(t, server, settings, options...)
	closes := r.IntN(4) == 0

	// Goroutines may be held up between any two steps.
	var pausing atomic.Int32
	longest := time.Duration(0)
	if r.IntN(2) == 0 {
		longest = ticks(4)
		defer pools.SetPause(func(string) {
			pausing.Add(1)
			time.Sleep(rand.N(longest))
			pausing.Add(-1)
		})()
	}

	var users sync.WaitGroup
	for range 2 + r.IntN(20) {
		mine := rand.New(rand.NewPCG(r.Uint64(), 1))
		users.Go(func() {
			for range 10 {
				patience := ticks(mine.IntN(400))
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				began := time.Now()
				if mine.IntN(3) == 0 {
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { _ = recover() }()
						_ = pool.Use(ctx, func(res resource) error {
							_ = res.Do(func() { time.Sleep(ticks(mine.IntN(5))) })
							switch mine.IntN(5) {
							case 0:
								panic("user")
							case 1:
								runtime.Goexit()
							case 2:
								return pools.Discard(nil)
							case 3:
								return io.EOF
							}
							return nil
						})
					}()
					<-done
				} else {
					conn, err := pool.Pop(ctx)
					if late := time.Since(began) - patience; late > 50*longest { // a teller is held up before each of its tokens
						t.Errorf("a Pop ended %v after its deadline", late)
					}
					if err == nil {
						_ = conn.Resource().Do(func() { time.Sleep(ticks(mine.IntN(5))) })
						switch mine.IntN(4) {
						case 0:
							_ = conn.Destroy()
						case 1:
							_ = conn.PushErr(errRefused)
						default:
							_ = conn.Push()
						}
						if mine.IntN(4) == 0 && !errors.Is(conn.Push(), pools.ErrNotHeld) {
							t.Error("a lease ended twice")
						}
					}
				}
				cancel()
				time.Sleep(ticks(mine.IntN(10)))
			}
		})
	}
	if steered {
		mine := rand.New(rand.NewPCG(r.Uint64(), 2))
		users.Go(func() { steer(t, mine, pool, most, ticks) })
	}
	if closes {
		time.Sleep(ticks(r.IntN(500)))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := pool.Close(ctx); err != nil && !errors.Is(err, pools.ErrAbandoned) {
			t.Errorf("close: %v", err)
		}
	}
	for over := done(&users); ; {
		time.Sleep(ticks(1) / 2) // between all that happens at full units
		synctest.Wait()
		if pausing.Load() == 0 {
			if err := pools.AtRest(pool); err != nil {
				t.Fatalf("at rest: %v", err)
			}
		}
		if over() {
			break
		}
	}
	if !closes {
		// What is wrong with the server is over.
		for _, point := range []*poolstest.Point{&server.Open, &server.Close, &server.Check, &server.Reset} {
			point.Clear()
		}
		pool.Resume()
		if err := pool.Configure(func(s *pools.Settings) {
			// A minute at a keeper's shortest times takes long in real time.
			s.KeepAlive, s.MaxOpensPerSecond, s.MinIdle, s.MaxLifetime, s.IdleTimeout, s.LeakAfter = 0, 0, 0, 0, 0, 0
			if s.CheckAfter != pools.Always {
				s.CheckAfter = 0
			}
		}); err != nil {
			t.Error(err)
		}
		size = pool.Settings().Size
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := pool.Stats(); st.Idle+st.Vacant+st.Stale != size || st.Waiting != 0 || st.Abandoned != 0 {
			t.Errorf("%+v", st)
		}
		if !pools.GateOpen(pool) {
			t.Error("nobody waits, but the gate is not open")
		}
		var all []*popper
		for range size {
			all = append(all, poolstest.Pop(t, pool))
		}
		time.Sleep(time.Minute)
		for _, p := range all {
			p.Has()
			p.Push()
		}
	}
}

// steer is an operator at work.
func steer(t *testing.T, r *rand.Rand, pool *pools.Pool[resource], most int, ticks func(int) time.Duration) {
	var refreshes sync.WaitGroup
	for range 10 {
		var err error
		switch r.IntN(6) {
		case 0, 1:
			size := 1 + r.IntN(most)
			err = pool.Configure(func(s *pools.Settings) {
				s.Size = size
				s.MinIdle = min(s.MinIdle, size)
			})
		case 2:
			pool.Pause()
			time.Sleep(ticks(r.IntN(20)))
			pool.Resume()
		case 3:
			pool.RevokeAll()
		case 4:
			over := ticks(r.IntN(100))
			ctx, cancel := context.WithTimeout(t.Context(), ticks(r.IntN(500)))
			refreshes.Go(func() {
				defer cancel()
				if err := pool.Refresh(ctx, over); err != nil && !errors.Is(err, pools.ErrClosed) && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		case 5:
			lost := r.IntN(2) == 1
			err = pool.Configure(func(s *pools.Settings) {
				s.TrackHolders = !s.TrackHolders
				s.TrackGoroutines, s.ProfileHolders = s.TrackHolders, s.TrackHolders
				s.IdleTimeout, s.KeepLost = ticks(1+r.IntN(100)), lost
			})
		}
		if err != nil && !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
		time.Sleep(ticks(r.IntN(30)))
	}
	refreshes.Wait()
}
