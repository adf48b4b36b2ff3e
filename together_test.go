package pools_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Handlers that each call Suspect, as its doc says.
func TestSuspectEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := struct{ opens atomic.Int32 }{}
		pool, err := pools.New("together", pools.Connector[*served]{
			Open: func(context.Context) (*served, error) {
				server.opens.Add(1)
				time.Sleep(5 * time.Millisecond)
				return new(served), nil
			},
			Check: func(context.Context, *served) error { time.Sleep(5 * time.Millisecond); return nil },
		}, pools.Settings{Size: 10})
		if err != nil {
			t.Fatal(err)
		}
		var ok, bad atomic.Int32
		var all sync.WaitGroup
		for range 1000 { // 250 a second for 4 s; each use takes 1 ms: 3 of 10 connections are busy, with the checks
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				pool.Suspect()
				if err := pool.Use(ctx, func(*served) error { time.Sleep(time.Millisecond); return nil }); err != nil {
					bad.Add(1)
				} else {
					ok.Add(1)
				}
			})
			time.Sleep(4 * time.Millisecond)
		}
		all.Wait()
		t.Logf("served %d, failed %d, opens %d", ok.Load(), bad.Load(), server.opens.Load())
		if bad.Load() > 0 {
			t.Error("failed")
		}
		_ = pool.Close(context.Background())
	})
}

// Accept-and-close, users who say it in other ways than PushErr(io.EOF).
func TestHollowOtherWays(t *testing.T) {
	for name, end := range map[string]func(pools.Conn[*isClosed]){
		"PushErr": func(c pools.Conn[*isClosed]) { _ = c.PushErr(io.EOF) },
		"Discard": func(c pools.Conn[*isClosed]) { _ = c.PushErr(pools.Discard(io.EOF)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opens atomic.Int32
				pool, _ := pools.New("hollow", pools.OpenFunc(func(context.Context) (*isClosed, error) {
					opens.Add(1)
					time.Sleep(time.Millisecond)
					return new(isClosed), nil
				}), pools.Settings{Size: 20})
				ctx, stop := context.WithCancel(context.Background())
				var users sync.WaitGroup
				for range 50 {
					users.Go(func() {
						for ctx.Err() == nil {
							if c, err := pool.Pop(ctx); err == nil {
								time.Sleep(time.Millisecond)
								end(c)
							}
							time.Sleep(5 * time.Millisecond)
						}
					})
				}
				time.Sleep(time.Second)
				before := opens.Load()
				time.Sleep(10 * time.Second)
				t.Logf("%d opens a second; down %v", (opens.Load()-before)/10, pool.Stats().Down)
				if opens.Load()-before > 200 {
					t.Error("more than 20 opens a second")
				}
				stop()
				users.Wait()
				_ = pool.Close(context.Background())
			})
		})
	}
}

func breakPool(t *testing.T, pool *pools.Pool[resource], n int) {
	t.Helper()
	for range n {
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.PushErr(io.EOF)
		synctest.Wait()
	}
}

// After the balancer is back, users hold their connections for long.
func TestBrokeLongLeases(t *testing.T) {
	scenario(t, pools.Settings{Size: 50}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		breakPool(t, pool, 3)
		if !pool.Stats().Down {
			t.Fatal("not down")
		}
		time.Sleep(10 * time.Second) // and now all is well
		var users sync.WaitGroup
		var failed atomic.Int32
		for range 50 {
			users.Go(func() {
				if err := pool.Use(t.Context(), holdFor(2*time.Minute)); err != nil {
					failed.Add(1)
				}
			})
		}
		for range 6 {
			time.Sleep(5 * time.Second)
			st := pool.Stats()
			t.Logf("held %d, waiting %d, down %v", st.Held, st.Waiting, st.Down)
		}
		users.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d of 50 failed", failed.Load())
		}
	})
}

// Users that only Detach.
func TestBrokeDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := pools.New("together", pools.OpenFunc(func(context.Context) (*served, error) { time.Sleep(time.Millisecond); return new(served), nil }), pools.Settings{Size: 10})
		for range 3 {
			c, err := pool.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.PushErr(io.EOF)
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		n, bad := 0, 0
		for range 600 { // a minute
			if c, err := pool.Pop(t.Context()); err == nil {
				n++
				_, _ = c.Detach()
			} else {
				bad++
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%d detached, %d refused, down %v", n, bad, pool.Stats().Down)
		if bad > 0 {
			t.Error("refused")
		}
		_ = pool.Close(context.Background())
	})
}

// Down by first uses, then Size is lowered to what is open.
func TestBrokeFull(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		good := poolstest.Pop(t, pool).Has()
		breakPool(t, pool, 3)
		if !pool.Stats().Down {
			t.Fatal("not down")
		}
		_ = good.Push()
		use(t, pool)
		if err := pool.Configure(func(s *pools.Settings) { s.Size = 1 }); err != nil {
			t.Fatal(err)
		}
		for range 600 {
			use(t, pool)
			time.Sleep(100 * time.Millisecond)
		}
		if pool.Stats().Down {
			t.Error("all that may be open is open and serves, and the server is down")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := pool.Refresh(ctx, 0); err != nil {
			t.Error(err)
		}
	})
}

// A burst at a pool that has closed its idle connections.
func TestRefuseLateCold(t *testing.T) {
	defer pools.Sample(true)()
	synctest.Test(t, func(t *testing.T) {
		pool, _ := pools.New("together", pools.OpenFunc(func(context.Context) (*served, error) { time.Sleep(5 * time.Millisecond); return new(served), nil }),
			pools.Settings{Size: 50, RefuseLate: true, IdleTimeout: time.Minute})
		ask := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
			defer cancel()
			return pool.Use(ctx, func(*served) error { time.Sleep(100 * time.Millisecond); return nil })
		}
		for range 100 {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		for _, idle := range []time.Duration{0, time.Hour} {
			time.Sleep(idle)
			var late, bad, ok atomic.Int32
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					switch err := ask(); {
					case err == nil:
						ok.Add(1)
					case errors.Is(err, pools.ErrTooLate):
						late.Add(1)
					default:
						bad.Add(1)
					}
				})
			}
			all.Wait()
			t.Logf("after %v: served %d, refused %d, failed %d", idle, ok.Load(), late.Load(), bad.Load())
			if late.Load() > 0 {
				t.Error("refused, with room for all")
			}
		}
		_ = pool.Close(context.Background())
	})
}

// Configure during a try that then fails for good, with MinIdle.
func TestPermanentBeforeDoubt(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MinIdle: 1, ReconnectAttempts: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(errRefused)))
		time.Sleep(3 * time.Second)
		if !pool.Stats().Down {
			t.Fatal("not down")
		}
		server.Open.Always(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(pools.Permanent(errRefused))))
		for pool.Stats().Opening != 0 {
			time.Sleep(10 * time.Millisecond)
		}
		for pool.Stats().Opening == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		server.Open.Clear() // the password is right now
		if pool.Stats().Opening == 0 {
			t.Fatal("no try")
		}
		_ = pool.Configure(func(*pools.Settings) {})
		time.Sleep(5 * time.Minute)
		if st := pool.Stats(); st.Idle != 1 || st.Down {
			t.Errorf("5 min after the Configure: down %v, idle %d", st.Down, st.Idle)
		}
	})
}

// NoQueue while paused.
func TestNoQueuePaused(t *testing.T) {
	scenario(t, pools.Settings{Size: 4, MaxWaiting: pools.NoQueue}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		_ = pool.Fill(t.Context(), 4)
		pool.Pause()
		var all sync.WaitGroup
		var bad atomic.Int32
		for range 4 {
			all.Go(func() {
				if err := pool.Use(t.Context(), holdFor(time.Millisecond)); err != nil {
					bad.Add(1)
				}
			})
		}
		synctest.Wait()
		pool.Resume()
		all.Wait()
		if bad.Load() > 0 {
			t.Errorf("%d of 4 were refused, though no connection had a holder", bad.Load())
		}
	})
}

// RevokeAll during the opens that a Refresh left to the background.
func TestRevokeAllLackFresh(t *testing.T) {
	scenario(t, pools.Settings{Size: 8}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		_ = pool.Fill(t.Context(), 8)
		server.Open.Always(poolstest.Delay(100 * time.Millisecond))
		if err := pool.Refresh(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		pool.RevokeAll()
		time.Sleep(10 * time.Second)
		if st := pool.Stats(); st.Idle != 8 {
			t.Errorf("%d open", st.Idle)
		}
	})
}

// A Fill beside the prober.
func TestFillAndProber(t *testing.T) {
	scenario(t, pools.Settings{Size: 10, ReconnectAttempts: 1, ReconnectSleep: 100 * time.Millisecond}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var w watched
		server.Open.Next(w.try(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(errRefused)))) // the Fill's
		go func() { _ = pool.Fill(t.Context(), 1) }()
		time.Sleep(time.Millisecond)
		server.Open.Next(w.try(poolstest.InOrder(poolstest.Delay(100*time.Millisecond), poolstest.Fail(errRefused))))
		server.Open.Always(w.try(poolstest.InOrder(poolstest.Delay(3*time.Second), poolstest.Fail(errRefused))))
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for ctx.Err() == nil {
					_, _ = pool.Pop(ctx)
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(1500 * time.Millisecond)
		w.most.Store(0)
		all.Wait()
		if n := w.most.Load(); n > 1 {
			t.Errorf("%d tries at a time while down", n)
		}
	})
}

// An outage in which Close hangs too.
func TestDownCloseHangs(t *testing.T) {
	scenario(t, pools.Settings{Size: 10}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		_ = pool.Fill(t.Context(), 10)
		var all []pools.Conn[resource]
		for range 10 {
			all = append(all, poolstest.Pop(t, pool).Has())
		}
		server.Open.Always(poolstest.Fail(errRefused))
		server.Close.Always(poolstest.Delay(4 * time.Second))
		for _, c := range all {
			_ = c.PushErr(io.EOF)
		}
		for range 30 {
			began := time.Now()
			_, err := pool.Pop(t.Context())
			if d := time.Since(began); d > 0 {
				t.Logf("waited %v: %v", d, err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		server.Close.Clear()
	})
}

// Lying contexts.
type lying struct {
	context.Context
	at time.Time
	f  func()
}

func (l lying) Deadline() (time.Time, bool) {
	if l.f != nil {
		l.f()
	}
	return l.at, true
}

func TestLyingDeadlines(t *testing.T) {
	defer pools.Sample(true)()
	for _, refuse := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 1, RefuseLate: refuse}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			for range 5 { // something is known
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_ = pool.Use(ctx, holdFor(time.Millisecond))
				cancel()
			}
			conn := poolstest.Pop(t, pool).Has()
			var all sync.WaitGroup
			var bad atomic.Int32
			for _, at := range []time.Time{{}, time.Unix(0, 0), time.Now().Add(-time.Hour), time.Now().Add(1 << 62), time.Unix(1<<40, 0), time.Unix(-1<<60, 0), time.Unix(1<<60, 0)} {
				for range 3 {
					all.Go(func() {
						if err := pool.Use(lying{t.Context(), at, func() { pool.Stats() }}, holdFor(time.Millisecond)); err != nil {
							bad.Add(1)
							t.Log(at, err)
						}
					})
					synctest.Wait()
				}
			}
			for range 3 {
				func() {
					defer func() { t.Log("panicked:", recover()) }()
					_, err := pool.Pop(lying{t.Context(), time.Time{}, func() { panic("deadline") }})
					t.Error(err)
				}()
			}
			_ = conn.Push()
			all.Wait()
			func() {
				defer func() { t.Log("panicked:", recover()) }()
				// It is asked only if the use is timed.
				if conn, err := pool.Pop(lying{t.Context(), time.Time{}, func() { panic("deadline") }}); err != nil {
					t.Error(err)
				} else {
					_ = conn.Push()
				}
			}()
			if st := pool.Stats(); st.Idle != 1 || st.Waiting != 0 {
				t.Errorf("%+v", st)
			}
			t.Log(bad.Load(), pools.Need(pool))
		})
	}
}

// Cuts that keep their connections, then a good server; need must come down.
func TestNeedComesDown(t *testing.T) {
	defer pools.Sample(true)()
	scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var slow atomic.Bool
		slow.Store(true)
		var good atomic.Int32
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				for ctx.Err() == nil {
					c, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
					_ = pool.Use(c, func(resource) error {
						d := 10 * time.Millisecond
						if slow.Load() {
							d = time.Second
						}
						select {
						case <-c.Done():
							return c.Err()
						case <-time.After(d):
							good.Add(1)
							return nil
						}
					})
					cancel()
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(30 * time.Second)
		t.Log(pools.Need(pool))
		slow.Store(false)
		for range 5 {
			good.Store(0)
			time.Sleep(time.Second)
			t.Log(good.Load(), pools.Need(pool))
		}
		stop()
		all.Wait()
	})
}
