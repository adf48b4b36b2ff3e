package pools_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// watched counts the tries that run at once.
type watched struct{ now, most, tries atomic.Int32 }

func (w *watched) try(fault poolstest.Fault) poolstest.Fault {
	return func(ctx context.Context) error {
		n := w.now.Add(1)
		defer w.now.Add(-1)
		if n > w.most.Load() {
			w.most.Store(n)
		}
		w.tries.Add(1)
		return fault(ctx)
	}
}

// Ten Pops a second against a server that refuses at once: it is found again
// soon after its return, however long it was away, and tried once at a time.
func TestRecovery(t *testing.T) {
	const seeds = 40
	var sum, worst time.Duration
	outages := []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute}
	for _, outage := range outages {
		for seed := range seeds {
			scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				use(t, pool)
				var w watched
				server.Open.Always(w.try(poolstest.Fail(errRefused)))
				conn := poolstest.Pop(t, pool).Has()
				time.Sleep(time.Duration(seed) * 7 * time.Millisecond)
				_ = conn.PushErr(io.EOF)
				back := time.Now().Add(outage)
				time.AfterFunc(outage, func() { server.Open.Always(nil) })
				time.AfterFunc(5*time.Second, func() { w.tries.Store(0) }) // before the first open has failed, several are tried
				for {
					asked := time.Now()
					if err := pool.Use(t.Context(), holdFor(time.Millisecond)); err == nil {
						break
					} else if !errors.Is(err, pools.ErrOpenFailed) {
						t.Fatal(err)
					}
					time.Sleep(time.Until(asked.Add(100 * time.Millisecond)))
				}
				took := time.Since(back)
				sum, worst = sum+took, max(worst, took)
				if n := w.most.Load(); n > 1 {
					t.Errorf("%d tries at a time", n)
				}
				if n := int(w.tries.Load()); n > int(outage/time.Second)-3 {
					t.Errorf("%d tries in %v, after the first 5s", n, outage)
				}
			})
		}
	}
	average := sum / time.Duration(seeds*len(outages))
	t.Logf("served again %v after the server's return on average, %v at worst", average, worst)
	if average > time.Second || worst > 2500*time.Millisecond {
		t.Errorf("served again %v after the server's return on average, %v at worst", average, worst)
	}
}

// While nobody asks the server is not tried. The first Pop after that has it
// tried and waits for the result, and the next ones get it.
func TestNoTryWhileNobodyAsks(t *testing.T) {
	scenario(t, pools.Settings{Size: 5, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.InOrder(poolstest.Delay(50*time.Millisecond), poolstest.Fail(errRefused)))
		pop := func(tries int, took time.Duration) {
			t.Helper()
			began := time.Now()
			_, err := pool.Pop(t.Context())
			if n := server.Open.Calls(); !errors.Is(err, pools.ErrOpenFailed) || time.Since(began) != took || n != tries {
				t.Errorf("after %v and %d tries, want %v and %d: %v", time.Since(began), n, took, tries, err)
			}
		}
		pop(1, 50*time.Millisecond)
		time.Sleep(time.Hour)
		pop(2, 50*time.Millisecond)
		time.Sleep(time.Millisecond)
		pop(2, 0) // it got the error of a moment ago, and asks
		time.Sleep(time.Hour)
		if n := server.Open.Calls(); n != 3 {
			t.Errorf("%d tries; the third was for who had asked after the second", n)
		}
		if !pool.Stats().Down {
			t.Error("the last try failed, and the server counts as up")
		}
		server.Open.Clear()
		use(t, pool)
	})
}

// What only MinIdle wants is tried for seldom.
func TestTriesForMinIdle(t *testing.T) {
	scenario(t, pools.Settings{Size: 5, MinIdle: 2, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		time.Sleep(time.Hour)
		if n := server.Open.Calls(); n < 110 || n > 250 {
			t.Errorf("%d tries in an hour in which nobody asked", n)
		}
		server.Open.Clear()
		time.Sleep(31 * time.Second)
		if st := pool.Stats(); st.Idle != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// What may have changed something makes the next try due at once.
func TestDueAtOnce(t *testing.T) {
	down := func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, err error) {
		server.Open.Next(poolstest.Fail(err))
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
			t.Fatal(err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) || server.Open.Calls() != 1 {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(pool *pools.Pool[resource]) error{
		"Resume":    func(pool *pools.Pool[resource]) error { pool.Pause(); pool.Resume(); return nil },
		"Configure": func(pool *pools.Pool[resource]) error { return pool.Configure(func(*pools.Settings) {}) },
		"Refresh":   func(pool *pools.Pool[resource]) error { return pool.Refresh(context.Background(), 0) },
	} {
		for _, err := range []error{errRefused, pools.Permanent(errRefused)} {
			t.Run(fmt.Sprintf("%s %T", name, err), func(t *testing.T) {
				scenario(t, pools.Settings{Size: 5, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
					down(t, pool, server, err)
					if err := change(pool); err != nil {
						t.Error(err)
					}
					began := time.Now()
					use(t, pool)
					if took := time.Since(began); took != 0 {
						t.Errorf("served after %v", took)
					}
				})
			})
		}
	}
}

func TestWaitWhileDown(t *testing.T) {
	settings := pools.Settings{Size: 5, ReconnectAttempts: 1, WaitWhileDown: 10 * time.Second}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var w watched
		server.Open.Always(w.try(poolstest.Fail(errRefused)))
		a := poolstest.Pop(t, pool)
		time.Sleep(5 * time.Second)
		b := poolstest.Pop(t, pool)
		time.Sleep(5*time.Second - 1)
		a.Waits()
		b.Waits()
		time.Sleep(time.Nanosecond)
		for _, p := range []*popper{a, b} {
			if err := p.Fails(pools.ErrOpenFailed); !errors.Is(err, errRefused) {
				t.Errorf("it does not name the error of the outage: %v", err)
			}
		}
		if n := w.tries.Load(); n < 5 || n > 12 || w.most.Load() > 1 {
			t.Errorf("%d tries, %d at a time", n, w.most.Load())
		}
		time.Sleep(time.Nanosecond)
		poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed) // the outage is too old
		server.Open.Clear()
		time.Sleep(time.Minute)
		use(t, pool)
	})
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Fail(errRefused))
		a := poolstest.Pop(t, pool)
		time.Sleep(5 * time.Second)
		server.Open.Clear()
		time.Sleep(2 * time.Second)
		a.Has()
		a.Push()
	})
}

// Permanent errors are tried once, and again when 30 s have passed and somebody
// has asked.
func TestPermanent(t *testing.T) {
	cause := &poolstestError{"no such database"}
	for _, settings := range []pools.Settings{{Size: 10}, {Size: 10, MinIdle: 2}, {Size: 10, WaitWhileDown: time.Minute}} {
		scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Always(poolstest.Fail(pools.Permanent(fmt.Errorf("login: %w", cause))))
			began := time.Now()
			_, err := pool.Pop(t.Context())
			if found, ok := errors.AsType[*poolstestError](err); !ok || found != cause || !errors.Is(err, cause) || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			first := server.Open.Calls()
			if first > 2 {
				t.Errorf("%d tries", first)
			}
			time.Sleep(time.Hour)
			if n := server.Open.Calls(); n != first {
				t.Errorf("%d tries while nobody asked", n-first)
			}
			for range 600 {
				time.Sleep(100 * time.Millisecond)
				_, _ = pool.Pop(t.Context())
			}
			if n := server.Open.Calls() - first; n != 2 {
				t.Errorf("%d tries in a minute of Pops, want 2", n)
			}
			time.Sleep(time.Minute)
			server.Open.Clear()
			use(t, pool)
		})
	}
	if pools.Permanent(nil) != nil {
		t.Error("no error is a permanent one")
	}
}

type poolstestError struct{ text string }

func (e *poolstestError) Error() string { return e.text }

// full has a server grant that many connections.
func full(server *poolstest.Server, grants int, took time.Duration) *watched {
	w := new(watched)
	granted := func(context.Context) error {
		if server.IsOpen() >= grants {
			return errors.New("too many clients")
		}
		return nil
	}
	server.Open.Always(w.try(poolstest.InOrder(poolstest.Delay(took), granted)))
	return w
}

// A server that grants fewer than Size is a smaller pool: as good as one whose
// Size is what is granted, when connections break one by one and when all break
// at once.
func TestFullServer(t *testing.T) {
	// play returns how many uses succeeded, how many Pops failed, and for how
	// long fewer were open than are granted.
	play := func(t *testing.T, size int) (good, failed int, lacking time.Duration) {
		scenario(t, pools.Settings{Size: size}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			full(server, 5, 10*time.Millisecond)
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
			defer stop()
			var mu sync.Mutex
			lastBreak, allBroke := time.Now(), time.Now()
			var users sync.WaitGroup
			for range 8 {
				users.Go(func() {
					for ctx.Err() == nil {
						popped := time.Now()
						ran := false
						err := pool.Use(ctx, func(resource) error {
							ran = true
							time.Sleep(50 * time.Millisecond)
							mu.Lock()
							defer mu.Unlock()
							switch {
							case time.Since(lastBreak) > 20*time.Second:
								lastBreak = time.Now()
								return io.EOF
							case time.Since(allBroke) > time.Minute && popped.Before(allBroke.Add(time.Minute)):
								return io.EOF
							case time.Since(allBroke) > 61*time.Second:
								allBroke = allBroke.Add(time.Minute)
							}
							good++
							return nil
						})
						if err != nil && !ran && ctx.Err() == nil {
							mu.Lock()
							failed++
							mu.Unlock()
							time.Sleep(50 * time.Millisecond)
						}
					}
				})
			}
			for ctx.Err() == nil {
				time.Sleep(9 * time.Millisecond)
				if server.IsOpen() < 5 {
					lacking += 9 * time.Millisecond
				}
			}
			users.Wait()
		})
		return good, failed, lacking
	}
	// Within 5 %, in uses and in the time in which all that are granted are open.
	good, _, lacking := play(t, 5)
	t.Logf("Size 5: %d uses, %v with fewer than 5", good, lacking)
	for _, size := range []int{6, 10} {
		n, failed, lacks := play(t, size)
		t.Logf("Size %d: %d uses, %d Pops failed, %v with fewer than 5", size, n, failed, lacks)
		if n < good*95/100 || failed > 0 || lacks > lacking+15*time.Second {
			t.Errorf("Size %d: %d uses, %d Pops failed, %v with fewer than 5; Size 5: %d, %v", size, n, failed, lacks, good, lacking)
		}
	}
}

// A close that takes its time is the way to room on a full server: Pops wait for
// it instead of failing.
func TestFullServerWaitsForCloses(t *testing.T) {
	scenario(t, pools.Settings{Size: 4, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		full(server, 1, 0)
		a := poolstest.Pop(t, pool)
		a.Has().Push()
		conn := poolstest.Pop(t, pool).Has()
		b := poolstest.Pop(t, pool)
		b.Waits() // it was refused by the server
		if !pool.Stats().Down {
			t.Error("the server has refused an open")
		}
		server.Close.Next(poolstest.Delay(time.Second))
		_ = conn.Destroy()
		time.Sleep(time.Second - 1)
		b.Waits()
		time.Sleep(time.Nanosecond)
		b.Has()
		b.Push()
	})
}

// A Refresh on a full server replaces all, one by one, whether connections are
// used meanwhile or not.
func TestRefreshOnAFullServer(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprint("busy ", busy), func(t *testing.T) {
			scenario(t, pools.Settings{Size: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				full(server, 3, 10*time.Millisecond)
				if err := pool.Fill(t.Context(), 3); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(context.Background())
				var users sync.WaitGroup
				if busy {
					for range 6 {
						users.Go(func() {
							for ctx.Err() == nil {
								if err := pool.Use(ctx, holdFor(20*time.Millisecond)); err != nil && ctx.Err() == nil {
									t.Error(err)
								}
							}
						})
					}
					time.Sleep(time.Second)
				}
				within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				least := make(chan int)
				go func() {
					n := 3
					for within.Err() == nil {
						n = min(n, server.IsOpen())
						time.Sleep(time.Millisecond)
					}
					least <- n
				}()
				began := time.Now()
				err := pool.Refresh(within, 0)
				t.Logf("%v after %v", err, time.Since(began))
				if n := pool.Stats().ClosedBy[pools.ReasonRefresh]; err != nil || n != 3 {
					t.Errorf("%d replaced: %v", n, err)
				}
				time.Sleep(2 * time.Second)
				cancel()
				if n := <-least; n < 1 || server.IsOpen() != 3 {
					t.Errorf("%d were open at the least, %d in the end", n, server.IsOpen())
				}
				stop()
				users.Wait()
			})
		})
	}
}

// Wrong credentials cost one connection, however often Refresh is called, and
// none if the error is permanent.
func TestRefreshWithWrongCredentials(t *testing.T) {
	for _, c := range []struct {
		err  error
		left int
	}{{errRefused, 4}, {pools.Permanent(errRefused), 5}} {
		scenario(t, pools.Settings{Size: 8}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if err := pool.Fill(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			server.Open.Always(poolstest.Fail(c.err))
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if err := pool.Refresh(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				cancel()
			}
			if n := server.IsOpen(); n != c.left {
				t.Errorf("%d are open, want %d", n, c.left)
			}
			server.Open.Clear()
			if err := pool.Refresh(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that accepts and closes: opens whose connections break at their first
// use slow down like those that fail, Down is told, and errors name the break.
func TestServerAcceptsAndCloses(t *testing.T) {
	d := new(diary)
	settings := pools.Settings{Size: 20, Observer: &pools.Observer{Event: d.note}}
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var hollow atomic.Bool
		hollow.Store(true)
		closes := fmt.Errorf("connection reset by peer: %w", io.EOF)
		ctx, stop := context.WithCancel(context.Background())
		var users sync.WaitGroup
		var named, failed, good atomic.Int64
		for range 50 {
			users.Go(func() {
				for ctx.Err() == nil {
					err := pool.Use(ctx, func(resource) error {
						time.Sleep(5 * time.Millisecond)
						if hollow.Load() {
							return closes
						}
						good.Add(1)
						return nil
					})
					if e, ok := errors.AsType[*pools.PopError](err); ok && ctx.Err() == nil {
						failed.Add(1)
						if e.OpenErr != nil && errors.Is(e.OpenErr, closes) {
							named.Add(1)
						}
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		before := server.Opened()
		for range 20 {
			at := server.Opened()
			time.Sleep(time.Second)
			if n := server.Opened() - at; n > 20 {
				t.Errorf("%d opens in a second", n)
			}
		}
		t.Logf("%d opens in the first second, %d in the next 20", before, server.Opened()-before)
		if !pool.Stats().Down || len(d.of(pools.EventDown)) != 1 || len(d.of(pools.EventUp)) != 0 {
			t.Errorf("down: %v, told %d times, up %d times", pool.Stats().Down, len(d.of(pools.EventDown)), len(d.of(pools.EventUp)))
		}
		if n := failed.Load(); n == 0 || n != named.Load() {
			t.Errorf("%d of %d errors name the break", named.Load(), n)
		}
		hollow.Store(false) // the balancer has backends again
		back := time.Now()
		for good.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(back); took > 2500*time.Millisecond {
			t.Errorf("served again after %v", took)
		}
		time.Sleep(2 * time.Second)
		if st := pool.Stats(); st.Down || len(d.of(pools.EventUp)) != 1 || server.IsOpen() < 10 {
			t.Errorf("up was told %d times; %+v", len(d.of(pools.EventUp)), st)
		}
		stop()
		users.Wait()
	})
}

// One user whose first uses break has as many connections opened as an open has
// tries; then the server counts as down, and the next try comes after a pause. A
// first use that ends well begins the count anew.
func TestFirstUsesBreakInARow(t *testing.T) {
	for _, attempts := range []int{1, 3, pools.NoLimit} {
		scenario(t, pools.Settings{Size: 5, ReconnectAttempts: attempts}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			tries := attempts
			if tries == pools.NoLimit {
				tries = 3
			}
			breaks := func() {
				t.Helper()
				if pool.Stats().Down {
					t.Error("the server counts as down")
				}
				_ = poolstest.Pop(t, pool).Has().PushErr(io.EOF)
				synctest.Wait()
			}
			for range 2 {
				for range tries - 1 {
					breaks()
				}
				use(t, pool)
				_ = poolstest.Pop(t, pool).Has().Destroy()
				synctest.Wait()
			}
			for range tries {
				breaks()
			}
			if !pool.Stats().Down {
				t.Errorf("%d connections in a row broke, and the server counts as up", tries)
			}
			time.Sleep(time.Nanosecond)
			err := poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
			if want := "broke at its first use: EOF"; !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want %q in it", err, want)
			}
			time.Sleep(time.Second)
			use(t, pool) // it was opened for the Pop that was refused
			if pool.Stats().Down {
				t.Error("a first use ended well, and the server counts as down")
			}
		})
	}
}

// What says nothing of the server is no failed open: a user's timeout, a
// connection that has served well before, and one that was open for a while.
func TestBreaksThatAreNoFailedOpens(t *testing.T) {
	for name, play := range map[string]func(t *testing.T, pool *pools.Pool[resource]){
		"timeout": func(t *testing.T, pool *pools.Pool[resource]) {
			_ = poolstest.Pop(t, pool).Has().PushErr(context.DeadlineExceeded)
		},
		"Destroy": func(t *testing.T, pool *pools.Pool[resource]) { _ = poolstest.Pop(t, pool).Has().Destroy() },
		"Discard": func(t *testing.T, pool *pools.Pool[resource]) {
			_ = poolstest.Pop(t, pool).Has().PushErr(pools.Discard(errRefused))
		},
		"no error": func(t *testing.T, pool *pools.Pool[resource]) { _ = poolstest.Pop(t, pool).Has().Push() },
		"next time": func(t *testing.T, pool *pools.Pool[resource]) {
			use(t, pool)
			_ = poolstest.Pop(t, pool).Has().PushErr(io.EOF)
		},
		"late": func(t *testing.T, pool *pools.Pool[resource]) {
			conn := poolstest.Pop(t, pool).Has()
			time.Sleep(5 * time.Second)
			_ = conn.PushErr(io.EOF)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := poolstest.NewServer(t, 0)
				server.IsBroken = func(_ resource, err error) bool { return err != nil || name == "no error" }
				pool := poolstest.Make(t, server, pools.Settings{Size: 2, ReconnectAttempts: 1})
				play(t, pool)
				synctest.Wait()
				if st := pool.Stats(); st.Down || st.OpenErrors != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// When the server has just been found down, an open that pauses between its tries ends:
// the Pops that wait for it are refused, and not only when its pause is over.
func TestDownEndsThePausesOfOtherOpens(t *testing.T) {
	const soon = 60 * time.Millisecond
	several := 0
	for range 200 { // the pauses are random
		scenario(t, pools.Settings{Size: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			var w watched
			server.Open.Always(w.try(func(ctx context.Context) error {
				if !sleeps(ctx, 30*time.Millisecond) {
					return ctx.Err()
				}
				return errRefused
			}))
			down, got := time.Time{}, make(chan error, 1)
			go func() { _, err := pool.Pop(t.Context()); got <- err }()
			for ; down.IsZero(); time.Sleep(time.Millisecond) {
				if pool.Stats().Down {
					down = time.Now()
				}
			}
			err := <-got
			if !errors.Is(err, pools.ErrOpenFailed) || time.Since(down) > soon {
				t.Errorf("the server has been down for %v: %v", time.Since(down), err)
			}
			if pool.Stats().Opening > 0 {
				t.Error("an open is left")
			}
			if w.tries.Load() > 3 {
				several++
			}
			server.Open.Always(nil)
		})
	}
	if several == 0 {
		t.Error("there was never a second open")
	}
}

func sleeps(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
