package pools_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// asks are ways to ask for a connection without waiting for a second.
var asks = map[string]func(pool *pools.Pool[resource]) (pools.Conn[resource], error){
	"impatient Pop": func(pool *pools.Pool[resource]) (pools.Conn[resource], error) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		return pool.Pop(ctx)
	},
	"TryPop": func(pool *pools.Pool[resource]) (pools.Conn[resource], error) {
		conn, ok := pool.TryPop()
		if !ok {
			return conn, errRefused
		}
		return conn, nil
	},
}

// Nothing else makes the collector run, and nobody waits for a second.
func TestForgottenConnInAQuietProgram(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				forget(t, pool)
				for lasts := patience(); pool.Stats().Lost == 0 && lasts(); {
					time.Sleep(5 * time.Second)
					if conn, err := ask(pool); err == nil {
						_ = conn.Push()
					}
					runtime.Gosched()
				}
				if st := pool.Stats(); st.Lost != 1 {
					t.Errorf("%+v", st)
				}
				use(t, pool)
			})
		})
	}
}

// A wait that ended in vain has the collector run once; nobody who waits, never.
func TestCollectionsForWaitsInVain(t *testing.T) {
	for name, ask := range asks {
		collected := 0
		end := pools.SetPauseLocked("collect", func() { collected++ })
		scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			a := poolstest.Pop(t, pool)
			a.Has()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if collected != 0 {
				t.Errorf("%s: %d collections though nobody waits", name, collected)
			}
			if _, err := ask(pool); err == nil {
				t.Fatal("it got something")
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if collected != 1 {
				t.Errorf("%s: %d collections", name, collected)
			}
			a.Push()
			if conn, err := ask(pool); err != nil {
				t.Error(err)
			} else {
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				_ = conn.Push()
			}
			if collected != 1 {
				t.Errorf("%s: %d collections, the last for one who was served", name, collected)
			}
		})
		end()
	}
}

// refused is the error of a Pop with a ctx that ends at once.
func refused(t *testing.T, pool *pools.Pool[resource]) *pools.PopError {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := pool.Pop(ctx)
	e, ok := errors.AsType[*pools.PopError](err)
	if !ok {
		t.Fatal(err)
	}
	return e
}

// An error names the longest holder, and for how long at least.
func TestErrorsNameTheEldest(t *testing.T) {
	for _, timed := range []bool{false, true} {
		for _, track := range []bool{false, true} {
			for _, size := range []int{4, 100} {
				t.Run(fmt.Sprint("timed ", timed, ", track ", track, ", size ", size), func(t *testing.T) {
					defer pools.Sample(timed)()
					scenario(t, pools.Settings{Size: size, TrackHolders: track, TrackGoroutines: track}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
						if e := refused(t, pool); e.Oldest.ID != "" || strings.Contains(e.Error(), "longest held") {
							t.Errorf("nobody holds any: %v", e)
						}
						if err := pool.Fill(t.Context(), 4); err != nil {
							t.Fatal(err)
						}
						var held []*popper
						for range 3 {
							held = append(held, poolstest.Pop(t, pool))
							held[len(held)-1].Has()
							time.Sleep(3 * time.Second)
						}
						is := func(p *popper, least, most time.Duration) {
							t.Helper()
							e := refused(t, pool)
							if e.Oldest.ID != p.Has().ID() || e.Oldest.For < least || e.Oldest.For > most {
								t.Errorf("%s for %v, not %s for %v", e.Oldest.ID, e.Oldest.For, p.Has().ID(), most)
							}
							if o, conn := e.Oldest, p.Has(); o.State != "held" || o.Uses != conn.Uses() || o.Age != conn.Age() || o.Slot < 0 || o.Slot >= size {
								t.Errorf("%+v", o)
							}
							if text := e.Error(); !strings.Contains(text, "longest held: "+e.Oldest.ID+", for at least ") ||
								strings.Contains(text, "by goroutine ") != track || track != strings.Contains(e.Oldest.Stack, "PopContext") || (e.Oldest.Goroutine != 0) != track {
								t.Errorf("%v: %+v", e, e.Oldest)
							}
						}
						is(held[0], 8*time.Second, 9*time.Second)
						is(held[0], 8*time.Second, 9*time.Second)
						time.Sleep(3 * time.Second)
						is(held[0], 11*time.Second, 12*time.Second)
						held[0].Push()
						if size > 64 { // the keeper finds the next
							if e := refused(t, pool); e.Oldest.ID != "" {
								t.Errorf("%v", e)
							}
							time.Sleep(1100 * time.Millisecond)
							is(held[1], 9*time.Second, 10100*time.Millisecond)
						} else {
							is(held[1], 8*time.Second, 9*time.Second)
						}
						held[1].Push()
						held[2].Push()
						time.Sleep(2 * time.Second)
						if e := refused(t, pool); e.Oldest.ID != "" {
							t.Errorf("nobody holds any: %v", e)
						}
					})
				})
			}
		}
	}
}

// Before the keeper has looked, some holder is named, and the longest as soon as
// it is known.
func TestErrorsNameAHolderAtOnce(t *testing.T) {
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Fill(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		idle := poolstest.Pop(t, pool)
		old := poolstest.Pop(t, pool)
		first := idle.Has() // of the first slot
		old.Has()
		time.Sleep(time.Second)
		idle.Push()
		idle = poolstest.Pop(t, pool)
		if idle.Has().ID() != first.ID() {
			t.Fatal("it has another connection")
		}
		old.Push()
		old = poolstest.Pop(t, pool)
		old.Has()
		if e := refused(t, pool); e.Oldest.ID != first.ID() && e.Oldest.ID != old.Has().ID() || e.Oldest.For != 0 {
			t.Errorf("%v", e)
		}
		time.Sleep(1500 * time.Millisecond)
		idle.Push() // the keeper has seen both
		idle = poolstest.Pop(t, pool)
		idle.Has()
		if e := refused(t, pool); e.Oldest.ID != old.Has().ID() || e.Oldest.For < 500*time.Millisecond {
			t.Errorf("%v", e)
		}
		idle.Push()
		old.Push()
	})
}

// What a Close says of those who hold something includes where they took it.
func TestCloseErrorHasTheStacks(t *testing.T) {
	for _, track := range []bool{false, true} {
		scenario(t, pools.Settings{Size: 20, TrackHolders: track, TrackGoroutines: track}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			all := popAll(t, pool, 12)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := pool.Close(ctx)
			if !stillOut(err) {
				t.Fatal(err)
			}
			text, want := err.Error(), 0
			if track {
				want = 10
			}
			if n := strings.Count(text, "PopContext"); n != want {
				t.Errorf("%d stacks: %s", n, text)
			}
			if n := strings.Count(text, "is held by goroutine "); n != want || !strings.Contains(text, "and 2 more") {
				t.Errorf("%d holders: %s", n, text)
			}
			for _, a := range all {
				a.Push()
			}
			synctest.Wait()
		})
	}
}
