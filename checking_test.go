package pools_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Idle for longer than CheckAfter: checked before it is lent, not before that.
func TestCheckAfterIdle(t *testing.T) {
	scenario(t, pools.Settings{Size: 3}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		time.Sleep(3 * time.Second)
		use(t, pool)
		if server.Check.Calls() != 0 {
			t.Error("checked too early")
		}
		time.Sleep(8 * time.Second)
		if st := pool.Stats(); st.Stale != 1 || pool.Available() != 3 {
			t.Errorf("%+v", st)
		}
		if _, ok := pool.TryPop(); ok {
			t.Error("TryPop took an unchecked one")
		}
		use(t, pool)
		if server.Check.Calls() != 1 || server.Opened() != 1 {
			t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
		}
		time.Sleep(8 * time.Second)
		server.Check.Next(poolstest.Fail(errRefused))
		use(t, pool)
		if server.Opened() != 2 {
			t.Errorf("the dead one was not replaced: opened %d", server.Opened())
		}
	}, poolstest.WithCheck)
}

func TestCheckAlways(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, CheckAfter: pools.Always}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 5 {
			use(t, pool)
		}
		if server.Check.Calls() != 4 || server.Opened() != 1 {
			t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
		}
	}, poolstest.WithCheck)
}

func TestCheckAlwaysBeforeAHandOn(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, CheckAfter: pools.Always}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		a.Push()
		b.Has()
		if n := server.Check.Calls(); n != 1 {
			t.Errorf("%d checks between two uses", n)
		}
		b.Push()
	}, poolstest.WithCheck)
}

// Dirty spares clean connections their Reset. When it panics, the connection
// goes.
func TestDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		dirty := func(resource) bool { return false }
		server.IsDirty = func(r resource) bool { return dirty(r) }
		pool := poolstest.Make(t, server, pools.Settings{Size: 1}, poolstest.WithReset)
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		a.Push()
		b.Has()
		b.Push()
		if n := server.Reset.Calls(); n != 0 {
			t.Errorf("%d resets of a clean connection", n)
		}
		dirty = func(resource) bool { return true }
		use(t, pool)
		synctest.Wait()
		if n := server.Reset.Calls(); n != 1 {
			t.Errorf("%d resets of a dirty one", n)
		}
		dirty = func(resource) bool { panic("dirty") }
		func() {
			defer func() {
				if recover() == nil {
					t.Error("its panic is swallowed")
				}
			}()
			_ = pool.Use(t.Context(), func(resource) error { return nil })
		}()
		dirty = func(resource) bool { return false }
		use(t, pool)
		if server.Opened() != 2 {
			t.Errorf("opened %d", server.Opened())
		}
	})
}

// A Reset that fails or hangs closes the connection.
func TestResetFailsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 1, ResetTimeout: time.Second}, poolstest.WithReset)
		server.Reset.Next(poolstest.Fail(errRefused), server.Hang())
		use(t, pool)
		use(t, pool)
		began := time.Now()
		use(t, pool)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("a hung Reset kept its slot for %v", took)
		}
		if server.Opened() != 3 {
			t.Errorf("opened %d", server.Opened())
		}
	})
}

// C6, O7: a waiter cancels during Check or Reset, which then succeeds, fails,
// hangs, panics or exits: the slot is freed once, and the pool works.
func TestCancelDuringCheckOrReset(t *testing.T) {
	for _, point := range []string{"Check", "Reset"} {
		for name, fault := range map[string]func(*poolstest.Server) poolstest.Fault{
			"succeeds": func(*poolstest.Server) poolstest.Fault { return nil },
			"fails":    func(*poolstest.Server) poolstest.Fault { return poolstest.Fail(io.EOF) },
			"hangs":    func(s *poolstest.Server) poolstest.Fault { return s.Hang() },
			"panics":   func(*poolstest.Server) poolstest.Fault { return poolstest.Panic(point) },
			"exits":    func(*poolstest.Server) poolstest.Fault { return poolstest.Goexit() },
		} {
			t.Run(point+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := poolstest.NewServer(t, 0)
					settings := pools.Settings{Size: 1, CheckTimeout: 2 * time.Second, ResetTimeout: 2 * time.Second}
					option := poolstest.WithReset
					if point == "Check" {
						option = poolstest.WithCheck
						settings.CheckAfter = pools.Always
					}
					pool := poolstest.Make(t, server, settings, option)
					faultPoint(server, point).Next(poolstest.InOrder(poolstest.Delay(time.Second), fault(server)))
					use(t, pool)
					a := poolstest.Pop(t, pool)
					b := poolstest.Pop(t, pool)
					a.Waits()
					b.Waits()
					a.Cancel()
					synctest.Wait()
					time.Sleep(5 * time.Second)
					b.Has()
					b.Push()
					synctest.Wait()
					if st := pool.Stats(); st.Idle+st.Stale != 1 || st.Vacant != 0 {
						t.Errorf("%+v", st)
					}
					use(t, pool)
					server.Release()
					synctest.Wait()
					if n := server.IsOpen(); n != 1 {
						t.Errorf("%d are open", n)
					}
				})
			})
		}
	}
}

// P3: fifty black holes. Neither checks, nor closes, nor the reads of users
// ever answer.
func TestFiftyBlackHoles(t *testing.T) {
	for _, room := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			server := poolstest.NewServer(t, 50+room)
			pool := poolstest.Make(t, server, pools.Settings{Size: 50 + room, CloseTimeout: 3 * time.Second}, poolstest.WithCheck)
			const opens = 100 * time.Millisecond
			server.Open.Always(poolstest.Delay(opens))
			if err := pool.Fill(t.Context(), 50); err != nil {
				t.Fatal(err)
			}
			time.Sleep(8 * time.Second) // all are stale
			server.Check.Always(poolstest.Delay(time.Hour))
			server.Close.Always(poolstest.Delay(time.Hour))
			bound := time.Second + 3*time.Second + opens // check, close, open
			if room > 0 {
				bound = time.Second + opens // there is room beside
			}
			for range 3 {
				began := time.Now()
				use(t, pool)
				if took := time.Since(began); took > bound {
					t.Errorf("a Pop took %v; a check, a close and an open take %v", took, bound)
				}
			}
			// Nor do many at once wait for one another's checks.
			began := time.Now()
			useAtOnce(t, pool, 20, holdFor(time.Second))()
			if took := time.Since(began); took > 4*time.Second+3*time.Second {
				t.Errorf("20 Pops took %v", took)
			}
			// The keeper finds the rest by itself.
			server.Check.Clear()
			time.Sleep(20 * time.Second)
		})
	}
}

// One time budget for all checks of a Pop: those that fail slowly one by one
// would take 25 times 900 ms.
func TestChecksHaveOneBudget(t *testing.T) {
	scenario(t, pools.Settings{Size: 25}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 25); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		server.Check.Always(poolstest.InOrder(poolstest.Delay(900*time.Millisecond), poolstest.Fail(io.EOF)))
		began := time.Now()
		use(t, pool)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	}, poolstest.WithCheck)
}

// The same when they hang, and opens are slow: once the budget is spent, no
// other check comes before the open.
func TestHungChecksHaveOneBudget(t *testing.T) {
	scenario(t, pools.Settings{Size: 25}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(2 * time.Second))
		if err := pool.Fill(t.Context(), 25); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		server.Check.Always(poolstest.Delay(time.Hour))
		if d := took(func() { use(t, pool) }); d > 3*time.Second {
			t.Errorf("took %v; a check and an open take 3s", d)
		}
		server.Check.Clear()
	}, poolstest.WithCheck)
}

// Checks that fail at once (the server was restarted) cost nothing but
// themselves: the one that lives is found.
func TestChecksThatFailAtOnce(t *testing.T) {
	scenario(t, pools.Settings{Size: 25}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 25); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Second)
		for range 24 {
			server.Check.Next(poolstest.InOrder(poolstest.Delay(time.Millisecond), poolstest.Fail(io.EOF)))
		}
		began := time.Now()
		use(t, pool)
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if server.Check.Calls() > 25 || server.Opened() > 27 {
			t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
		}
	}, poolstest.WithCheck)
}

// A search that is clearing a slot's hint does not hide the slot, which has just
// become idle, from the sweep.
func TestSweepMissesNoSlot(t *testing.T) {
	scenario(t, pools.Settings{Size: 65}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a, b := poolstest.Pop(t, pool).Has(), poolstest.Pop(t, pool).Has()
		_, _ = a.Push(), b.Push() // their hints are set once they have been idle
		a, _ = pool.TryPop()
		b, _ = pool.TryPop()
		var end func()
		end = pools.SetPauseLocked("hint_clear", func() {
			end()
			_ = b.Push() // its hint is set: nobody has looked at it since it was taken
			end = pools.SetPauseLocked("hint_look_again", func() {
				end()
				_ = a.PushErr(io.EOF)
			})
		})
		if conn, ok := pool.TryPop(); ok {
			t.Errorf("lent %s, which is suspected, unchecked", conn.ID())
		}
		if st := pool.Stats(); st.Stale != 1 {
			t.Errorf("%+v", st)
		}
	}, poolstest.WithCheck)
}

// A connection that breaks in use makes the others suspect: all of them, or
// after a user's own timeout those that have not been used of late.
func TestBrokenInUseMakesOthersSuspect(t *testing.T) {
	for _, c := range []struct {
		err     error
		suspect int
	}{{io.EOF, 3}, {context.Canceled, 1}} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			scenario(t, pools.Settings{Size: 4, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				if err := pool.Fill(t.Context(), 4); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				useAtOnce(t, pool, 3, holdFor(time.Millisecond))() // one was idle all the time
				if err := poolstest.Pop(t, pool).Has().PushErr(c.err); err != nil {
					t.Fatal(err)
				}
				if st := pool.Stats(); st.Stale != c.suspect {
					t.Errorf("%d are suspected: %+v", st.Stale, st)
				}
				// The keeper checks them; nobody has to wait for that.
				time.Sleep(10 * time.Second)
				if st := pool.Stats(); st.Stale != 0 || server.Check.Calls() != c.suspect {
					t.Errorf("%d checks, %+v", server.Check.Calls(), st)
				}
			}, poolstest.WithCheck)
		})
	}
}

// A check does not hold up other Pops.
func TestCheckBlocksNobodyElse(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, KeepAlive: 10 * time.Second, CheckAfter: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		server.Check.Always(poolstest.Delay(time.Hour))
		for range 12 { // at most half of them are checked at once
			time.Sleep(time.Second)
			began := time.Now()
			use(t, pool)
			if time.Since(began) != 0 {
				t.Errorf("waited %v", time.Since(began))
			}
		}
		if server.Check.Calls() == 0 {
			t.Error("nothing was checked")
		}
	}, poolstest.WithCheck)
}

// took runs f and returns how long that took.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// What hangs for somebody else (a Reset, the keeper's check) does not keep a
// waiter from a connection that a check would find alive.
func TestStaleBesideAHungCall(t *testing.T) {
	for _, point := range []string{"Reset", "Check"} {
		synctest.Test(t, func(t *testing.T) {
			server := poolstest.NewServer(t, 0)
			settings := pools.Settings{Size: 2, CheckTimeout: 10 * time.Second}
			options := []poolstest.Option{poolstest.WithCheck}
			if point == "Check" {
				settings.KeepAlive = 20 * time.Second
			} else {
				options = append(options, poolstest.WithReset)
			}
			pool := poolstest.Make(t, server, settings, options...)
			if err := pool.Fill(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			time.Sleep(8 * time.Second) // both are stale
			hangs := faultPoint(server, point)
			hangs.Next(server.Hang())
			if point == "Reset" {
				use(t, pool)
			} else {
				for hangs.Calls() == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			synctest.Wait()
			if d := took(func() { use(t, pool) }); d != 0 {
				t.Errorf("%s hangs, and a Pop took %v", point, d)
			}
		})
	}
}

// Nor does a hung Reset keep a waiter from a vacant slot for long.
func TestHungResetBesideVacantSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 10}, poolstest.WithReset)
		use(t, pool)
		synctest.Wait()
		server.Reset.Next(server.Hang())
		use(t, pool)
		if d := took(func() { use(t, pool) }); d > 50*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

// The budget is one incident's: a check that failed an hour ago says nothing
// of what is suspected now, be the server down or not; nor does a check that
// nobody waited for.
func TestOldFailuresAreForgotten(t *testing.T) {
	incidents := map[string]func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server){
		"an hour ago": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			time.Sleep(8 * time.Second)
			server.Check.Always(poolstest.InOrder(poolstest.Delay(time.Millisecond), poolstest.Fail(io.EOF)))
			use(t, pool) // each fails, one after the other
			server.Check.Clear()
			if err := pool.Fill(t.Context(), 4); err != nil {
				t.Fatal(err)
			}
			for range 1200 {
				useAtOnce(t, pool, 4, holdFor(time.Millisecond))()
				time.Sleep(3 * time.Second)
			}
		},
		"the keeper's": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if err := pool.Configure(func(s *pools.Settings) { s.KeepAlive = 20 * time.Second }); err != nil {
				t.Fatal(err)
			}
			server.Check.Next(server.Hang())
			for pool.Stats().Abandonments == 0 {
				time.Sleep(time.Millisecond)
			}
		},
	}
	for name, incident := range incidents {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, down %v", name, down), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := poolstest.NewServer(t, 0)
					pool := poolstest.Make(t, server, pools.Settings{Size: 4, MaxLifetime: pools.Never}, poolstest.WithCheck)
					if err := pool.Fill(t.Context(), 4); err != nil {
						t.Fatal(err)
					}
					incident(t, pool, server)
					a := poolstest.Pop(t, pool).Has()
					if down {
						server.Open.Always(poolstest.Fail(errRefused))
					}
					if err := a.PushErr(io.EOF); err != nil {
						t.Fatal(err)
					}
					if down {
						if err := pool.Fill(t.Context(), 4); err == nil {
							t.Error("the server is not down")
						}
					}
					opened := server.Opened()
					useAtOnce(t, pool, 3, holdFor(time.Millisecond))()
					if n := server.Opened() - opened; n > 1 {
						t.Errorf("%d were opened beside healthy ones", n)
					}
					server.Open.Clear()
				})
			})
		}
	}
}

// KeepAlive does not lag behind when CheckAfter is due at the same look.
func TestKeepAliveBesideCheckAfter(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, KeepAlive: 5 * time.Second, CheckAfter: 5 * time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		time.Sleep(62 * time.Second)
		if n := server.Check.Calls(); n < 10 {
			t.Errorf("%d checks in a minute", n)
		}
	}, poolstest.WithCheck)
}

// What one Pop spends on checks that fail is CheckTimeout (and a tenth for
// calls that are deaf), however they fail.
func TestBudgetOfOnePop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		server.Open.Always(poolstest.Delay(2 * time.Second))
		pool := poolstest.Make(t, server, pools.Settings{Size: 2, CheckAfter: time.Minute}, poolstest.WithCheck)
		if err := pool.Fill(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(62 * time.Second)
		server.Check.Next(poolstest.InOrder(poolstest.Delay(900*time.Millisecond), poolstest.Fail(io.EOF)), server.Hang())
		if d := took(func() { use(t, pool) }); d > 3100*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}
