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
// without checks and resets, and a Close in the middle or at the end. The
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
	if r.IntN(3) == 0 {
		settings.CheckAfter = pools.Always
	}
	var options []poolstest.Option
	for _, o := range []poolstest.Option{poolstest.WithCheck, poolstest.WithReset, poolstest.WithAbort} {
		if r.IntN(2) == 0 {
			options = append(options, o)
		}
	}
	limit := 0
	if settings.Strict {
		limit = size
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
