package pools_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// idleAgain is a pool's Stats, when so many are idle and so many of them rest.
func idleAgain(t *testing.T, pool *pools.Pool[resource], idle, resting int) {
	t.Helper()
	if st, n := pool.Stats(), pools.Resting(pool); st.Idle != idle || n != resting {
		t.Errorf("%d rest, want %d; %+v", n, resting, st)
	}
}

// What was idle through a whole look rests. It is idle for all who ask, and
// taking it is neither a wait nor a check.
func TestRests(t *testing.T) {
	scenario(t, pools.Settings{Size: 3, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 3)
		time.Sleep(3 * time.Second)
		idleAgain(t, pool, 3, 3)
		if n := pool.Available(); n != 3 {
			t.Errorf("%d are available", n)
		}
		for c := range pool.Connections() {
			if c.State != "idle" {
				t.Errorf("%+v", c)
			}
		}
		waits := pool.Stats().Waits
		conn, ok := pool.TryPop()
		if !ok {
			t.Fatal("TryPop took nothing")
		}
		idleAgain(t, pool, 2, 2)
		a := poolstest.Pop(t, pool).Has()
		idleAgain(t, pool, 1, 1)
		if err := conn.Push(); err != nil {
			t.Error(err)
		}
		a.Push()
		idleAgain(t, pool, 3, 1)
		if st := pool.Stats(); st.Waits != waits || server.Check.Calls() != 0 || server.Opened() != 3 {
			t.Errorf("%d checks, %+v", server.Check.Calls(), st)
		}
	}, poolstest.WithCheck)
}

// What is used between two looks never rests; slow users keep to the fast path.
func TestUsedDoesNotRest(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 2)
		for range 50 {
			use(t, pool)
			time.Sleep(900 * time.Millisecond)
			pools.Look(pool) // one in between does not count
			idleAgain(t, pool, 2, pools.Resting(pool))
			if n := pools.Resting(pool); n > 1 {
				t.Fatal("one in use rests")
			}
			time.Sleep(90 * time.Millisecond)
		}
		idleAgain(t, pool, 2, 1)
	})
}

// A waiter gets what rests, and so does whoever takes some away: Size, Refresh,
// Close.
func TestRestingAreServedAndLeave(t *testing.T) {
	for name, event := range map[string]func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server){
		"waiter": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			pool.Pause()
			a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
			a.Waits()
			b.Waits()
			pool.Resume()
			a.Has().Push()
			b.Has().Push()
			if server.Opened() != 3 {
				t.Errorf("%d opened", server.Opened())
			}
		},
		"size": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			configure(t, pool, func(s *pools.Settings) { s.Size = 1 })
			synctest.Wait()
			idleAgain(t, pool, 1, 1)
		},
		"refresh": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if err := pool.Refresh(t.Context(), 0); err != nil || server.Opened() < 5 {
				t.Errorf("%v, %d opened", err, server.Opened())
			}
		},
		"sweep": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if err := poolstest.Pop(t, pool).Has().PushErr(context.DeadlineExceeded); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if st := pool.Stats(); st.Stale != 2 {
				t.Errorf("%+v", st)
			}
		},
		"close": func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if err := pool.Close(t.Context()); err != nil || server.IsOpen() != 0 {
				t.Errorf("%v, %d are open", err, server.IsOpen())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 3, CheckAfter: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				fill(t, pool, 3)
				time.Sleep(3 * time.Second)
				idleAgain(t, pool, 3, 3)
				server.Limit(0)
				event(t, pool, server)
			}, poolstest.WithCheck)
		})
	}
}

// standstill is how a process can miss that time passes.
var standstill = map[string]func(pool *pools.Pool[resource], d time.Duration){
	"stopped": func(pool *pools.Pool[resource], d time.Duration) {
		pools.HoldKeeper(pool, d+time.Second)
		time.Sleep(d)
	},
	"suspended": func(_ *pools.Pool[resource], d time.Duration) { pools.Suspend(d) },
}

// After a standstill the first Pop already keeps to CheckAfter, IdleTimeout and
// MaxLifetime, and so does everyone after the next look.
func TestStandstill(t *testing.T) {
	for how, stop := range standstill {
		for name, c := range map[string]struct {
			settings       pools.Settings
			options        []poolstest.Option
			stop           time.Duration
			checks, opened int  // at the first Pop
			tryPop         bool // finds one
		}{
			"nothing is due":        {pools.Settings{}, nil, 4 * time.Minute, 0, 2, true},
			"check":                 {pools.Settings{}, []poolstest.Option{poolstest.WithCheck}, time.Minute, 1, 2, false},
			"never checked":         {pools.Settings{CheckAfter: pools.Never}, []poolstest.Option{poolstest.WithCheck}, time.Minute, 0, 2, true},
			"idle":                  {pools.Settings{IdleTimeout: 5 * time.Minute}, nil, 6 * time.Minute, 0, 3, false},
			"idle, kept by MinIdle": {pools.Settings{IdleTimeout: 5 * time.Minute, MinIdle: 2}, nil, 6 * time.Minute, 0, 2, true},
			"old":                   {pools.Settings{MaxLifetime: time.Hour, IdleTimeout: pools.Never}, nil, time.Hour, 0, 3, false},
			"old, with a check":     {pools.Settings{MaxLifetime: time.Hour, IdleTimeout: pools.Never}, []poolstest.Option{poolstest.WithCheck}, time.Hour, 0, 3, false},
		} {
			for _, first := range []string{"Pop", "TryPop", "look"} {
				t.Run(how+" "+name+" "+first, func(t *testing.T) {
					c.settings.Size = 2
					scenario(t, c.settings, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
						fill(t, pool, 2)
						time.Sleep(2500 * time.Millisecond)
						idleAgain(t, pool, 2, 2)
						stop(pool, c.stop)
						switch first {
						case "TryPop":
							conn, ok := pool.TryPop()
							if ok != c.tryPop {
								t.Errorf("TryPop: %v", ok)
							}
							if ok {
								_ = conn.Push()
							}
						case "look":
							pools.Look(pool)
						}
						use(t, pool)
						if server.Check.Calls() != c.checks || server.Opened() != c.opened {
							t.Errorf("%d checks, %d opened; want %d, %d", server.Check.Calls(), server.Opened(), c.checks, c.opened)
						}
					}, c.options...)
				})
			}
		}
	}
}

// A connection that was used a moment before the standstill does not rest yet.
// The first look after it finds that out.
func TestLookAfterStandstill(t *testing.T) {
	for how, stop := range standstill {
		t.Run(how, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				fill(t, pool, 2)
				time.Sleep(2500 * time.Millisecond)
				use(t, pool)
				stop(pool, time.Minute)
				pools.Look(pool)
				if st := pool.Stats(); st.Stale != 2 {
					t.Errorf("%+v", st)
				}
			}, poolstest.WithCheck)
		})
	}
}

// What was stale before the standstill, and is too old now, is not even checked.
func TestStaleAndOld(t *testing.T) {
	for how, stop := range standstill {
		t.Run(how, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 2, IdleTimeout: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				fill(t, pool, 2)
				time.Sleep(10 * time.Second)
				stop(pool, time.Hour)
				use(t, pool)
				if server.Check.Calls() != 0 || server.Opened() != 3 {
					t.Errorf("%d checks, %d opened", server.Check.Calls(), server.Opened())
				}
			}, poolstest.WithCheck)
		})
	}
}

// While the keeper looks as it should, it alone closes for IdleTimeout, half by
// half. A Pop in between takes one of those that are left.
func TestPopBetweenTheHalves(t *testing.T) {
	scenario(t, pools.Settings{Size: 16, IdleTimeout: time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 16)
		for server.IsOpen() == 16 {
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		use(t, pool)
		synctest.Wait()
		if n := server.IsOpen(); n != 8 {
			t.Errorf("%d are open", n)
		}
	})
}

// A clock that is adjusted all the time is no suspension.
func TestWallClockThatIsAdjusted(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, IdleTimeout: 10 * time.Minute}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 1)
		for range 590 {
			time.Sleep(time.Second)
			pools.Suspend(40 * time.Millisecond)
		}
		if server.IsOpen() != 1 {
			t.Error("closed")
		}
	})
}

// A clock that is adjusted by a little, or set back, is no suspension; and what
// was opened after one is not older than it is.
func TestWallClockThatIsSet(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MaxLifetime: time.Hour, IdleTimeout: pools.Never}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 1)
		for range 3000 {
			time.Sleep(time.Second)
			pools.Suspend(50 * time.Millisecond)
		}
		pools.Suspend(-time.Hour)
		use(t, pool)
		time.Sleep(3 * time.Second)
		if server.Opened() != 1 {
			t.Error("closed for a clock that was adjusted")
		}
		pools.Suspend(time.Hour)
		use(t, pool)
		if server.Opened() != 2 {
			t.Error("older than MaxLifetime")
		}
		time.Sleep(50 * time.Minute)
		use(t, pool)
		if server.Opened() != 2 {
			t.Error("closed for a suspension before it was opened")
		}
	})
}

// Suspect: everything idle is checked before it is lent, once.
func TestSuspect(t *testing.T) {
	for _, after := range []time.Duration{time.Hour, pools.Never} {
		scenario(t, pools.Settings{Size: 4, CheckAfter: after}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			fill(t, pool, 4)
			time.Sleep(5 * time.Second)
			useAtOnce(t, pool, 2, holdFor(time.Millisecond))() // two rest, two do not
			a := poolstest.Pop(t, pool).Has()
			pool.Suspect()
			if _, ok := pool.TryPop(); ok {
				t.Error("TryPop took an unchecked one")
			}
			if st := pool.Stats(); st.Stale != 3 || st.Held != 1 {
				t.Errorf("%+v", st)
			}
			a.Push()
			for range 2 {
				useAtOnce(t, pool, 4, holdFor(time.Millisecond))()
				if n := server.Check.Calls(); n != 3 {
					t.Errorf("%d checks", n)
				}
			}
		}, poolstest.WithCheck)
	}
}

// Without a Check they rest: MaxLifetime and IdleTimeout are kept, and else they
// are lent as before.
func TestSuspectWithoutCheck(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		pool.Suspect()
		idleAgain(t, pool, 1, 1)
		use(t, pool)
		if server.Opened() != 1 {
			t.Errorf("%d opened", server.Opened())
		}
		pools.Suspend(time.Hour)
		pool.Suspect()
		use(t, pool)
		if server.Opened() != 2 {
			t.Errorf("%d opened", server.Opened())
		}
	})
	new(pools.Pool[resource]).Suspect() // a zero pool has nothing to suspect
}

// Of many, in slices: no Pop after Suspect gets an unchecked one.
func TestSuspectInSlices(t *testing.T) {
	inSlices(t, 2, pools.Settings{Size: 90, CheckAfter: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 90)
		pool.Suspect()
		if _, ok := pool.TryPop(); ok {
			t.Error("TryPop took an unchecked one")
		}
		for _, w := range popAll(t, pool, 90) {
			w.Push()
		}
		if n := server.Check.Calls(); n != 90 {
			t.Errorf("%d checks of 90", n)
		}
	}, poolstest.WithCheck)
}

// A Reset, or a Check, that ran when the process stood still may have been told
// before that: it proves nothing.
func TestSuspectDuringReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 1}, poolstest.WithReset, poolstest.WithCheck)
		server.Reset.Always(poolstest.Delay(time.Second))
		use(t, pool)
		synctest.Wait()
		pool.Suspect()
		use(t, pool)
		if n := server.Check.Calls(); n != 1 {
			t.Errorf("%d checks", n)
		}
		time.Sleep(2300 * time.Millisecond) // the keeper will look at another time
		use(t, pool)
		if n := server.Check.Calls(); n != 1 {
			t.Errorf("%d checks", n)
		}
		synctest.Wait()
		pool.Suspect()
		time.Sleep(500 * time.Millisecond)
		if d := took(func() { _ = pool.Close(t.Context()) }); d > 600*time.Millisecond || server.IsOpen() != 0 {
			t.Errorf("Close took %v, %d are open", d, server.IsOpen())
		}
	})
}

// Suspect of a group is that of each of its pools.
func TestGroupSuspect(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, CheckAfter: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		use(t, pool)
		var group pools.Group
		if err := group.Add(pool); err != nil {
			t.Fatal(err)
		}
		group.Suspect()
		use(t, pool)
		if server.Check.Calls() != 1 {
			t.Errorf("%d checks", server.Check.Calls())
		}
	}, poolstest.WithCheck)
}

// proven is a resource that knows since which Suspect it has not been doubted.
type proven struct{ since atomic.Int64 }

func (*proven) Close() error { return nil }

// Goroutines pop and push all the time. What was idle when Suspect returned is
// checked before they get it.
func TestSuspectRacesWithPops(t *testing.T) {
	var now atomic.Int64 // how many times everything may have died
	connector := pools.OpenFunc(func(context.Context) (*proven, error) { return new(proven), nil })
	connector.Check = func(_ context.Context, r *proven) error {
		r.since.Store(now.Load())
		return nil
	}
	pool, err := pools.New("proven", connector, pools.Settings{Size: 80, CheckAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(t.Context())
	if err := pool.Fill(t.Context(), 80); err != nil {
		t.Fatal(err)
	}
	var suspected atomic.Int64 // how many Suspects have returned
	var pushing sync.RWMutex   // what is in use when a Suspect begins is proved by its user
	var all sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				least := suspected.Load()
				conn, err := pool.Pop(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if r := conn.Resource(); r.since.Load() < least {
					t.Errorf("lent after Suspect %d, proved at %d", least, r.since.Load())
				}
				pushing.RLock()
				conn.Resource().since.Store(now.Load())
				_ = conn.Push()
				pushing.RUnlock()
			}
		})
	}
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		pushing.Lock()
		n := now.Add(1)
		pool.Suspect()
		pushing.Unlock()
		suspected.Store(n)
		time.Sleep(100 * time.Microsecond)
	}
	close(over)
	all.Wait()
}

// What is idle beats a WaitTimeout that ends now, although it is the racer's to
// take at any other time.
func TestIdleBeatsWaitTimeout(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, WaitTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		hold := make(chan struct{})
		var holds atomic.Bool // the next that is woken
		end := pools.SetPause(func(before string) {
			if before == "woken" && holds.CompareAndSwap(true, false) {
				<-hold
			}
		})
		defer end()
		a, b := poolstest.Pop(t, pool).Has(), poolstest.Pop(t, pool).Has()
		c := poolstest.Pop(t, pool)
		c.Waits()
		d := poolstest.Pop(t, pool)
		d.Waits()
		holds.Store(true)
		time.Sleep(100 * time.Microsecond) // young, so that c is woken to race
		a.Push()
		b.Push()
		time.Sleep(2 * time.Second)
		d.Has()
		close(hold)
		c.Has().Push()
		d.Push()
	})
}

// When the alarm is late, the process was stopped: the uses that ended meanwhile
// come before the waits that ended meanwhile. But only once.
func TestLateAlarmGivesAMoment(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		var stopped atomic.Bool
		stopped.Store(true)
		end := pools.SetPauseLocked("alarm", func() {
			if stopped.CompareAndSwap(true, false) {
				time.Sleep(time.Minute)
			}
		})
		defer end()
		a := poolstest.Pop(t, pool).Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(time.Minute + time.Second + time.Millisecond)
		b.Waits() // the alarm has come, a minute late
		a.Push()
		b.Has()
		c := poolstest.Pop(t, pool)
		time.Sleep(time.Second + time.Millisecond)
		c.Fails(pools.ErrWaitTimeout)
		stopped.Store(true)
		c = poolstest.Pop(t, pool)
		time.Sleep(time.Minute + time.Second + 6*time.Millisecond)
		c.Fails(pools.ErrWaitTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := pool.Pop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b.Push()
	})
}

// On a machine on which each alarm is late, waits end all the same.
func TestAlarmsThatAreAlwaysLate(t *testing.T) {
	scenario(t, pools.Settings{Size: 1, WaitTimeout: time.Second}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		defer pools.SetPauseLocked("alarm", func() { time.Sleep(30 * time.Millisecond) })()
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		time.Sleep(1200 * time.Millisecond)
		b.Fails(pools.ErrWaitTimeout)
		a.Push()
		time.Sleep(time.Second)
	})
}

var errGone = errors.New("the server has closed it")

// peeking is a pool of four connections, of which those in gone are of no use, as
// Peek can tell.
func peeking(t *testing.T, settings pools.Settings, f func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, gone map[int]bool), options ...poolstest.Option) {
	synctest.Test(t, func(t *testing.T) {
		server, gone := poolstest.NewServer(t, 0), make(map[int]bool)
		server.IsGone = func(r resource) error {
			if gone[r.Number] {
				return errGone
			}
			return nil
		}
		settings.Size = 4
		pool := poolstest.Make(t, server, settings, options...)
		fill(t, pool, 4)
		f(t, pool, server, gone)
	})
}

// What has rested is looked at before it is lent, and what was used since is not.
func TestPeek(t *testing.T) {
	for _, try := range []bool{false, true} {
		d := new(diary)
		peeking(t, pools.Settings{Observer: &pools.Observer{Event: d.note}}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, gone map[int]bool) {
			time.Sleep(3 * time.Second)
			take := func() *popper { return poolstest.Pop(t, pool) }
			a := take().Has()
			used := a.Resource().Number
			_ = a.Push()
			for n := range 4 {
				gone[n+1] = true
			}
			gone[3+btoi(used == 3)] = false // one of those that rest is good
			leases := pool.Stats().Leases
			a = take().Has()
			if a.Resource().Number != used {
				t.Errorf("%d, which has rested, came before %d, which was used", a.Resource().Number, used)
			}
			var b pools.Conn[resource]
			if ok := false; try {
				if b, ok = pool.TryPop(); !ok {
					t.Fatal("TryPop took nothing")
				}
			} else {
				b = take().Has()
			}
			if gone[b.Resource().Number] {
				t.Errorf("%d is gone", b.Resource().Number)
			}
			synctest.Wait()
			closed := d.of(pools.EventClosed)
			st := pool.Stats()
			if st.Leases != leases+2 || st.Waits != 0 || int(st.ClosedBy[pools.ReasonCheck]) != len(closed) {
				t.Errorf("%d leases, %+v", st.Leases-leases, st)
			}
			for _, e := range closed {
				if e.Reason != pools.ReasonCheck || e.Err != errGone {
					t.Errorf("%+v", e)
				}
			}
			_, _ = a.Push(), b.Push()
		})
	}
}

// When all are gone the Pop that finds out has others opened, and its siblings are
// suspected.
func TestPeekFindsAllGone(t *testing.T) {
	peeking(t, pools.Settings{}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, gone map[int]bool) {
		time.Sleep(3 * time.Second)
		for n := range 4 {
			gone[n+1] = true
		}
		server.Check.Always(poolstest.Fail(errGone))
		for range 4 {
			use(t, pool)
		}
		synctest.Wait()
		if st := pool.Stats(); server.Opened() == 4 || st.ClosedBy[pools.ReasonCheck] == 0 {
			t.Errorf("%d opened, %+v", server.Opened(), st)
		}
	}, poolstest.WithCheck)
	peeking(t, pools.Settings{}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, gone map[int]bool) {
		time.Sleep(3 * time.Second)
		for n := range 4 {
			gone[n+1] = true
		}
		if _, ok := pool.TryPop(); ok {
			t.Error("TryPop took what is gone")
		}
		synctest.Wait()
		if st := pool.Stats(); st.Closed != 4 || st.Leases != 0 || st.Vacant != 4 {
			t.Errorf("%+v", st)
		}
	})
}

// A Pop that has to wait gets what has rested after a Check, since nobody can look
// under the lock. The others have to be checked as well: none is idle while somebody
// waits.
func TestPeekAndWaiters(t *testing.T) {
	for _, after := range []time.Duration{0, pools.Never} {
		peeking(t, pools.Settings{CheckAfter: after}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server, gone map[int]bool) {
			time.Sleep(3 * time.Second)
			pool.Pause()
			a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
			a.Waits()
			b.Waits()
			pool.Resume()
			a.Has()
			b.Has()
			if n, want := server.Check.Calls(), 2*btoi(after != pools.Never); n != want {
				t.Errorf("CheckAfter %v: %d checks, want %d", after, n, want)
			}
			if st := pool.Stats(); st.Stale != 2*btoi(after != pools.Never) || st.Idle+st.Stale != 2 {
				t.Errorf("CheckAfter %v: %+v", after, st)
			}
			a.Push()
			b.Push()
		}, poolstest.WithCheck)
	}
}

// A lease that is revoked while Peek looks ends once, and a Peek that panics costs
// its connection.
func TestPeekRevokedOrPanics(t *testing.T) {
	for _, bad := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server := poolstest.NewServer(t, 0)
			var pool *pools.Pool[resource]
			peeked := 0
			server.IsGone = func(resource) error {
				if peeked++; peeked > 1 {
					return nil
				}
				if bad {
					panic("peek")
				}
				if n := pool.RevokeAll(); n != 1 {
					t.Errorf("%d revoked", n)
				}
				return errGone
			}
			pool = poolstest.Make(t, server, pools.Settings{Size: 1})
			use(t, pool)
			time.Sleep(3 * time.Second)
			func() {
				defer func() {
					if v := recover(); (v != nil) != bad {
						t.Errorf("panic: %v", v)
					}
				}()
				use(t, pool)
			}()
			synctest.Wait()
			st := pool.Stats()
			reason := pools.ReasonRevoked
			if bad {
				reason = pools.ReasonDestroyed
			}
			if st.Misused != 0 || st.ClosedBy[reason] != 1 || st.Closed != 1 {
				t.Errorf("%+v", st)
			}
			use(t, pool)
		})
	}
}

// A resource that tells that it is of no use is asked after a rest, too.
func TestPeekAsksTheResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*isClosed
		connector := pools.OpenFunc(func(context.Context) (*isClosed, error) {
			all = append(all, new(isClosed))
			return all[len(all)-1], nil
		})
		connector.Close = func(context.Context, *isClosed) error { return nil }
		pool, err := pools.New("tells", connector, pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close(t.Context())
		for range 2 {
			if err := pool.Use(t.Context(), (*isClosed).query); err != nil {
				t.Error(err)
			}
			time.Sleep(3 * time.Second)
			all[0].kill()
		}
		if len(all) != 2 {
			t.Errorf("%d opened", len(all))
		}
	})
}
