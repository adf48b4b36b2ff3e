package pools_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// inSlices is a scenario in which one holding of the lock visits that few
// slots, calls and waiters. However little that is, nothing is left lying.
func inSlices(t *testing.T, visits int, settings pools.Settings, f func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server), options ...poolstest.Option) {
	t.Helper()
	defer pools.SetBatch(visits)()
	scenario(t, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		f(t, pool, server)
		rests(t, pool)
	}, options...)
}

// rests fails the test if something could be handed out and is not.
func rests(t *testing.T, pool *pools.Pool[resource]) {
	t.Helper()
	synctest.Wait()
	if err := pools.AtRest(pool); err != nil {
		t.Error(err)
	}
}

func fill(t *testing.T, pool *pools.Pool[resource], n int) {
	t.Helper()
	if err := pool.Fill(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// popAll pops n connections at once.
func popAll(t *testing.T, pool *pools.Pool[resource], n int) (all []*popper) {
	for range n {
		all = append(all, poolstest.Pop(t, pool))
		synctest.Wait()
	}
	return all
}

func configure(t *testing.T, pool *pools.Pool[resource], change func(s *pools.Settings)) {
	t.Helper()
	if err := pool.Configure(change); err != nil {
		t.Fatal(err)
	}
}

// However many slots, calls and waiters a pool has, no event holds the lock for
// all of them.
func TestNoEventVisitsMany(t *testing.T) {
	const size, visits = 200, 8
	events := []struct {
		name string
		do   func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server)
	}{
		{"a look", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) { pools.Look(pool) }},
		{"RevokeAll", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			all := popAll(t, pool, size)
			if n := pool.RevokeAll(); n != size {
				t.Errorf("%d were revoked", n)
			}
			for _, p := range all {
				if err := p.Has().Push(); !errors.Is(err, pools.ErrRevoked) {
					t.Error(err)
				}
			}
		}},
		{"Refresh", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			if err := pool.Refresh(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}},
		{"a break", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			_ = poolstest.Pop(t, pool).Has().PushErr(io.EOF)
			time.Sleep(time.Minute)
		}},
		{"a smaller Size", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			configure(t, pool, func(s *pools.Settings) { s.Size = 1 })
			synctest.Wait()
			if st := pool.Stats(); st.Idle != 1 {
				t.Errorf("%+v", st)
			}
		}},
		{"Resume", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			pool.Pause()
			all := popAll(t, pool, size)
			pool.Resume()
			for _, p := range all {
				p.Has()
			}
			for _, p := range all {
				p.Push()
			}
		}},
		{"the end of many waits", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			pool.Pause()
			all := popAll(t, pool, size)
			time.Sleep(30 * time.Second)
			for _, p := range all {
				p.Fails(pools.ErrPaused)
			}
			pool.Resume()
		}},
		{"a Close beside holders", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			all := popAll(t, pool, size)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := pool.Close(ctx); !stillOut(err) {
				t.Error(err)
			}
			for _, p := range all {
				_ = p.Has().Push()
			}
		}},
		{"Close", func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			began := time.Now()
			if err := pool.Close(t.Context()); err != nil || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}},
	}
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			settings := pools.Settings{Size: size, CheckAfter: time.Minute}
			inSlices(t, visits, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				fill(t, pool, size)
				time.Sleep(2 * time.Second)
				e.do(t, pool, server)
				synctest.Wait()
				if most := pools.MostVisits(pool); most > 2*visits {
					t.Errorf("%d visits in one holding of the lock, a slice has %d", most, visits)
				}
			}, poolstest.WithCheck, poolstest.WithAbort)
		})
	}
}

// Many waiters beside many idle ones, more than a slice of them, are all served
// at once, in their order.
func TestSlicesOfWaiters(t *testing.T) {
	inSlices(t, 2, pools.Settings{Size: 9}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 9)
		pool.Pause()
		all := popAll(t, pool, 12)
		pool.Resume()
		for i, w := range all {
			if i < 9 {
				w.Has()
			} else {
				w.Waits()
			}
		}
		for _, w := range all {
			w.Push()
		}
	})
}

// A pool fills up as fast in slices as without: a slice that ends waits for no
// open.
func TestSlicesOfOpens(t *testing.T) {
	takes := func(visits int) (d time.Duration) {
		inSlices(t, visits, pools.Settings{Size: 60}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Always(poolstest.Delay(time.Second))
			d = took(func() { fill(t, pool, 60) })
		})
		return d
	}
	whole := takes(1000)
	for _, visits := range []int{1, 3} {
		if d := takes(visits); d != whole {
			t.Errorf("slices of %d took %v, and without slices %v", visits, d, whole)
		}
	}
}

// A larger Size serves at once who waits, a smaller one closes at once what is
// idle, and Close all that is left, in slices as without.
func TestSlicesOfResizes(t *testing.T) {
	for _, size := range []int{20, 300} { // walked, and by hints
		inSlices(t, 2, pools.Settings{Size: size}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			fill(t, pool, size)
			server.Close.Always(poolstest.Delay(time.Second)) // the end of none of them helps
			for _, smaller := range []int{size - 7, 3} {
				configure(t, pool, func(s *pools.Settings) { s.Size = smaller })
				synctest.Wait()
				if st := pool.Stats(); st.Idle != smaller {
					t.Errorf("Size %d: %+v", smaller, st)
				}
				time.Sleep(2 * time.Second)
			}
			configure(t, pool, func(s *pools.Settings) { s.Size = size })
			fill(t, pool, size)
			if d := took(func() {
				if err := pool.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}); d != time.Second {
				t.Errorf("Close took %v", d)
			}
		})
	}
}

// While all idle connections are made suspect, slice by slice, none of them is
// lent. When only some are, the others are lent as ever.
func TestSlicesOfASweep(t *testing.T) {
	for _, size := range []int{10, 200} { // walked, and by hints
		inSlices(t, 3, pools.Settings{Size: size, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			fill(t, pool, size)
			held := poolstest.Pop(t, pool).Has()
			_ = held.PushErr(io.EOF)
			if _, ok := pool.TryPop(); ok {
				t.Error("lent during the sweep")
			}
			synctest.Wait()
			if st := pool.Stats(); st.Stale != size-1 || st.Idle != 0 {
				t.Errorf("%+v", st)
			}
		}, poolstest.WithCheck)
		inSlices(t, 3, pools.Settings{Size: size, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			fill(t, pool, size)
			time.Sleep(2 * time.Second) // all were idle at a look
			broken := popAll(t, pool, 2)
			for _, w := range broken {
				w.Has()
			}
			young := popAll(t, pool, 3) // these were used since, and are in its way
			for _, w := range young {
				w.Push()
			}
			_ = broken[0].Has().PushErr(context.Canceled) // perhaps its user's fault
			synctest.Wait()
			if st := pool.Stats(); st.Stale != size-5 || st.Idle != 3 {
				t.Errorf("%+v", st)
			}
			for range 3 {
				conn, ok := pool.TryPop()
				if !ok {
					t.Fatal("what was used since the last look is not lent")
				}
				defer conn.Push()
			}
			_ = broken[1].Has().Push()
		}, poolstest.WithCheck)
	}
}

// What becomes idle behind a sweep, and breaks another time meanwhile, is not
// forgotten; and what the first one made stale the second suspects, so that the
// keeper checks it.
func TestSweepsThatMeet(t *testing.T) {
	settings := pools.Settings{Size: 10, CheckAfter: time.Minute}
	inSlices(t, 2, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 10)
		held := popAll(t, pool, 3)
		for _, w := range held {
			w.Has()
		}
		_ = held[1].Has().PushErr(io.EOF)
		held[0].Push() // behind the sweep
		_ = held[2].Has().PushErr(io.EOF)
		synctest.Wait()
		if st := pool.Stats(); st.Stale != 8 || st.Idle != 0 {
			t.Errorf("%+v", st)
		}
	}, poolstest.WithCheck)
	inSlices(t, 2, settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 10)
		held := poolstest.Pop(t, pool).Has()
		configure(t, pool, func(s *pools.Settings) { s.CheckAfter = pools.Always }) // makes all stale
		_ = held.PushErr(io.EOF)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		if n := server.Check.Calls(); n != 9 {
			t.Errorf("the keeper has checked %d of 9 that are suspected", n)
		}
	}, poolstest.WithCheck)
}

// A newcomer looks at few of those that wait, and the next one at the next few:
// so all that are gone are found, whoever stands before them.
func TestSlicesOfMaxWaiting(t *testing.T) {
	inSlices(t, 2, pools.Settings{Size: 1, MaxWaiting: 5}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool)
		held.Has()
		all := popAll(t, pool, 5)
		out := make(chan struct{})
		end := pools.SetPause(func(before string) {
			if before == "cancelled" {
				<-out // the last two are gone, but have not left
			}
		})
		all[3].Cancel()
		all[4].Cancel()
		synctest.Wait()
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting)
		all[3], all[4] = poolstest.Pop(t, pool), all[3]
		all[3].Waits()
		close(out)
		all[4].Fails(context.Canceled)
		end()
		held.Push()
		for _, w := range all[:4] {
			w.Has()
			w.Push()
		}
	})
}

// One at whom a newcomer's look has ended is served, and gone before it knows:
// the next look does not begin at it.
func TestLookEndsAtOneThatIsServed(t *testing.T) {
	inSlices(t, 2, pools.Settings{Size: 1, MaxWaiting: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		held := poolstest.Pop(t, pool)
		held.Has()
		first := popAll(t, pool, 3)
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting) // its look ends at the third
		time.Sleep(2 * time.Millisecond)                      // strict order
		held.Push()
		first[0].Push()
		first[1].Has()
		wake := make(chan struct{})
		end := pools.SetPause(func(before string) {
			if before == "woken" {
				<-wake
			}
		})
		first[1].Push() // the third is granted the connection
		first[2].Waits()
		first[2].Cancel()
		second := popAll(t, pool, 3)
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting)
		close(wake)
		first[2].Fails(context.Canceled)
		end()
		for _, w := range second {
			w.Has()
			w.Push()
		}
	})
}
