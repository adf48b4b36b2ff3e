package pools_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// givers are the operations that give up the opens that are running.
var givers = map[string]func(t *testing.T, pool *pools.Pool[resource]){
	"Refresh": func(t *testing.T, pool *pools.Pool[resource]) {
		done := refresh(pool, t.Context(), 0)
		synctest.Wait()
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	},
	"RevokeAll": func(t *testing.T, pool *pools.Pool[resource]) {
		if n := pool.RevokeAll(); n != 0 {
			t.Errorf("%d leases", n)
		}
	},
}

// Both opens hang at the old server. Its waiters are served by the new one within
// the time of one open; opens that ignore their ctx are abandoned first.
func TestOpensAreGivenUp(t *testing.T) {
	for name, giveUp := range givers {
		for _, hangs := range []struct {
			name                string
			fault               poolstest.Fault
			after               time.Duration
			hung, opened, close int
		}{
			{"until it is cancelled", poolstest.Delay(time.Hour), 0, 0, 2, 0},
			{"for a while", poolstest.Deaf(2050 * time.Millisecond), 50 * time.Millisecond, 0, 4, 2},
			{"for long", poolstest.Deaf(8 * time.Second), 100 * time.Millisecond, 2, 4, 2},
		} {
			t.Run(name+" "+hangs.name, func(t *testing.T) {
				scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
					server.Limit(0) // what is abandoned does not count
					server.Open.Next(hangs.fault, hangs.fault)
					server.Open.Always(poolstest.Delay(50 * time.Millisecond))
					a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
					a.Waits()
					time.Sleep(2 * time.Second)
					giveUp(t, pool)
					time.Sleep(hangs.after)
					a.Waits()
					time.Sleep(50 * time.Millisecond)
					a.Has()
					b.Has()
					st := pool.Stats()
					if st.Abandoned != hangs.hung || st.Abandonments != uint64(hangs.hung) || st.OpenErrors != 0 || st.Down {
						t.Errorf("%+v", st)
					}
					time.Sleep(10 * time.Second)
					st = pool.Stats()
					reason := pools.ReasonRefresh
					if name == "RevokeAll" {
						reason = pools.ReasonRevoked
					}
					if hangs.hung > 0 {
						reason = pools.ReasonAbandoned
					}
					if server.Opened() != hangs.opened || server.IsOpen() != 2 || st.ClosedBy[reason] != uint64(hangs.close) || st.Abandoned != 0 {
						t.Errorf("%d opened, %d open, %+v", server.Opened(), server.IsOpen(), st)
					}
					a.Push()
					b.Push()
				})
			})
		}
	}
}

// With Strict, an open that was given up keeps its slot until it returns.
func TestStrictOpensAreGivenUp(t *testing.T) {
	for name, giveUp := range givers {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2, Strict: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(poolstest.Deaf(8*time.Second), poolstest.Deaf(8*time.Second))
				a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
				a.Waits()
				giveUp(t, pool)
				time.Sleep(7 * time.Second)
				a.Waits()
				if st := pool.Stats(); st.Hung != 2 || st.Opening != 0 || server.IsOpen() != 0 {
					t.Errorf("%d open, %+v", server.IsOpen(), st)
				}
				time.Sleep(time.Second)
				a.Has()
				b.Has()
				if server.IsOpen() != 2 {
					t.Errorf("%d open", server.IsOpen())
				}
				a.Push()
				b.Push()
			})
		})
	}
}

// The prober's try hangs at the old server: the next one is due at once.
func TestProbeIsGivenUp(t *testing.T) {
	for name, giveUp := range givers {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1, ReconnectSleep: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(poolstest.Fail(errRefused), poolstest.Delay(time.Hour))
				poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
				time.Sleep(1500 * time.Millisecond)
				a := poolstest.Pop(t, pool)
				a.Waits()
				if st := pool.Stats(); !st.Down || st.Opening != 1 {
					t.Fatalf("%+v", st)
				}
				giveUp(t, pool)
				a.Has()
				if st := pool.Stats(); st.Down || st.OpenErrors != 1 {
					t.Errorf("%+v", st)
				}
				a.Push()
			})
		})
	}
}

// An operator who acts on a server that is down has it tried at once.
func TestRefreshWhileDownTriesAtOnce(t *testing.T) {
	for name, giveUp := range givers {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2, ReconnectAttempts: 1, ReconnectSleep: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Always(poolstest.Fail(errRefused))
				poolstest.Pop(t, pool).Fails(pools.ErrOpenFailed)
				time.Sleep(time.Minute)
				server.Open.Clear()
				giveUp(t, pool)
				a := poolstest.Pop(t, pool)
				a.Has()
				a.Push()
			})
		})
	}
}

// A Fill goes on with new opens.
func TestFillBesideOpensThatAreGivenUp(t *testing.T) {
	for name, giveUp := range givers {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 4}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				server.Open.Next(poolstest.Delay(time.Hour))
				done := make(chan error, 1)
				go func() { done <- pool.Fill(t.Context(), 4) }()
				synctest.Wait()
				giveUp(t, pool)
				synctest.Wait()
				select {
				case err := <-done:
					if err != nil || server.IsOpen() != 4 {
						t.Errorf("%d open, %v", server.IsOpen(), err)
					}
				default:
					t.Error("it hangs")
				}
			})
		})
	}
}

// What Close has to do is not done by a Refresh after it.
func TestRefreshOfAClosedPool(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Next(poolstest.Deaf(time.Second))
		a := poolstest.Pop(t, pool)
		a.Waits()
		done := make(chan error, 1)
		go func() { done <- pool.Close(t.Context()) }()
		synctest.Wait()
		if err := pool.Refresh(t.Context(), 0); !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
		if n := pool.RevokeAll(); n != 0 {
			t.Errorf("%d leases", n)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		a.Fails(pools.ErrClosed)
		if st := pool.Stats(); st.ClosedBy[pools.ReasonClose] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRevoke(t *testing.T) {
	for _, options := range [][]poolstest.Option{nil, {poolstest.WithAbort}} {
		scenario(t, pools.Settings{Size: 4, TrackHolders: true, TrackGoroutines: true}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a, b, c, idle := poolstest.Pop(t, pool), poolstest.Pop(t, pool), poolstest.Pop(t, pool), poolstest.Pop(t, pool)
			idle.Has()
			first, second, third := a.Has(), b.Has(), c.Has()
			idle.Push()
			for _, ids := range [][]string{
				nil, {""}, {"7"}, {"-"}, {idle.Has().ID()}, {"x" + first.ID()}, {"x-000000-" + first.ID()[len(first.ID())-1:]}, {first.ID() + "0000000"},
			} {
				if n := pool.Revoke(ids...); n != 0 {
					t.Errorf("%d leases of %q", n, ids)
				}
			}
			if n := pool.Revoke(second.ID(), "x", third.ID(), second.ID()); n != 2 {
				t.Errorf("%d leases", n)
			}
			synctest.Wait()
			if n := server.Abort.Calls(); n != 2*len(options) {
				t.Errorf("%d aborts", n)
			}
			if st := pool.Stats(); st.Revoked != 2 || st.Held != 1 || st.Idle != 1 {
				t.Errorf("%+v", st)
			}
			if n := pool.Revoke(second.ID()); n != 0 {
				t.Errorf("%d leases", n)
			}
			told := map[string]bool{}
			for _, e := range pool.Events() {
				if e.Kind == pools.EventRevoked {
					told[e.ID] = e.Count == 1 && e.Goroutine != 0 && e.Stack != ""
				}
			}
			if len(told) != 2 || !told[second.ID()] || !told[third.ID()] {
				t.Errorf("told of %v", told)
			}
			if err := first.Push(); err != nil {
				t.Error(err)
			}
			for _, conn := range []pools.Conn[resource]{second, third} {
				if err := conn.Push(); !errors.Is(err, pools.ErrRevoked) {
					t.Error(err)
				}
			}
			synctest.Wait()
			if st := pool.Stats(); st.Idle != 2 || st.ClosedBy[pools.ReasonRevoked] != 2 || server.IsOpen() != 2 {
				t.Errorf("%d open, %+v", server.IsOpen(), st)
			}
		}, options...)
	}
	if n := new(pools.Pool[resource]).Revoke("x"); n != 0 {
		t.Errorf("%d leases of a zero Pool", n)
	}
}

// A Revoke of one of many holds nobody up.
func TestSlicesOfRevoke(t *testing.T) {
	inSlices(t, 4, pools.Settings{Size: 100}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		all := popAll(t, pool, 100)
		pools.MostVisits(pool)
		if n := pool.Revoke(all[99].Has().ID()); n != 1 {
			t.Errorf("%d leases", n)
		}
		if n := pools.MostVisits(pool); n > 5 {
			t.Errorf("%d visits at once", n)
		}
		for _, a := range all[:99] {
			a.Push()
		}
		if err := all[99].Has().Push(); !errors.Is(err, pools.ErrRevoked) {
			t.Error(err)
		}
	})
}
