package pools_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Samples of uses stand for all of them, at any pace.
func TestSampledUses(t *testing.T) {
	defer pools.Sample(true)()
	scenario(t, pools.Settings{Size: 2}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		// Nine in ten take 1 ms, one takes 10: the mean is 1.9.
		before, n := pool.Stats().Use, 0
		pace := func(uses int, pause time.Duration) pools.Histogram {
			for range uses {
				took := time.Millisecond
				if n++; n%10 == 0 {
					took *= 10
				}
				if err := pool.Use(t.Context(), holdFor(took)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(pause)
			}
			now := pool.Stats().Use
			since := now.Since(before)
			before = now
			return since
		}
		near := func(what string, got, want, off float64) {
			t.Helper()
			if math.Abs(got/want-1) > off {
				t.Errorf("%s is %v, want %v", what, got, want)
			}
		}
		slow := pace(100, time.Second)
		if slow.Count != 100 || slow.Sum != 190*time.Millisecond {
			t.Errorf("a slow pool times each use: %+v", slow)
		}
		fast := pace(20_000, 0)
		near("the count", float64(fast.Count), 20_000, 0.1)
		near("the mean", float64(fast.Sum)/float64(fast.Count), float64(1900*time.Microsecond), 0.2)
		near("the median", float64(fast.Quantile(0.5)), float64(time.Millisecond), 0.05)
		near("the 99th percentile", float64(fast.Quantile(0.99)), float64(10*time.Millisecond), 0.05)
		pace(20, time.Second) // it finds out that it is slow again
		slow = pace(100, time.Second)
		if slow.Count != 100 || slow.Sum != 190*time.Millisecond {
			t.Errorf("a pool that is slow again times each use: %+v", slow)
		}
	})
}

// Beyond Push, each way in which a lease ends ends its use, too.
func TestUsesEndInAnyWay(t *testing.T) {
	defer pools.Sample(true)()
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		for i, end := range []func(c pools.Conn[resource]){
			func(c pools.Conn[resource]) { _ = c.Push() },
			func(c pools.Conn[resource]) { _ = c.PushErr(os.ErrClosed) },
			func(c pools.Conn[resource]) { _ = c.Destroy() },
			func(c pools.Conn[resource]) {
				r, err := c.Detach()
				if err != nil {
					t.Error(err)
				}
				r.Keep()
			},
			func(c pools.Conn[resource]) { pool.RevokeAll(); _ = c.Push() },
		} {
			conn := poolstest.Pop(t, pool).Has()
			time.Sleep(time.Second)
			end(conn)
			if h := pool.Stats().Use; h.Count != uint64(i+1) || h.Sum != time.Duration(i+1)*time.Second {
				t.Errorf("after %d: %+v", i+1, h)
			}
			time.Sleep(time.Second)
		}
	})
}

// The profile has the stacks of those who hold connections, and of nobody else.
func TestProfileOfHolders(t *testing.T) {
	before := pprof.Lookup("pools").Count()
	scenario(t, pools.Settings{Size: 3, ProfileHolders: true}, func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
		var held []pools.Conn[resource]
		for range 3 {
			held = append(held, holdHere(t, pool))
		}
		var text strings.Builder
		if err := pprof.Lookup("pools").WriteTo(&text, 1); err != nil {
			t.Fatal(err)
		}
		if n := pprof.Lookup("pools").Count() - before; n != 3 || !strings.Contains(text.String(), "holdHere") || strings.Contains(text.String(), "pools.(*Pool") {
			t.Errorf("%d holders: %s", n, text.String())
		}
		file := filepath.Join(t.TempDir(), "holders")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := pprof.Lookup("pools").WriteTo(f, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "holdHere") {
			t.Errorf("go tool pprof: %v\n%s", err, out)
		}
		if err := held[0].Push(); err != nil {
			t.Error(err)
		}
		if err := held[1].Destroy(); err != nil {
			t.Error(err)
		}
		pool.RevokeAll()
		_ = held[2].Push()
		// One who popped while tracked, and pushes when nobody is any more.
		late := holdHere(t, pool)
		if err := pool.Configure(func(s *pools.Settings) { s.ProfileHolders = false }); err != nil {
			t.Error(err)
		}
		if n := pprof.Lookup("pools").Count() - before; n != 1 {
			t.Errorf("%d holders, want the late one", n)
		}
		_ = late.Push()
		use(t, pool)
	})
	if n := pprof.Lookup("pools").Count(); n != before {
		t.Errorf("%d holders, and there were %d", n, before)
	}
}

// The stacks begin with the function that called the pool, in whatever way.
func TestProfileBeginsWithTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := named(t, "a", 1), named(t, "b", 1)
		var g pools.Group
		if err := g.Add(a, b); err != nil {
			t.Fatal(err)
		}
		if err := g.Configure(func(_ string, s *pools.Settings) { s.ProfileHolders = true }); err != nil {
			t.Fatal(err)
		}
		frames := regexp.MustCompile(`(?m)^\d+ @.*\n#\t0x\w+\t(\S+?)\+0x`)
		first := func(n int) error {
			var text strings.Builder
			if err := pprof.Lookup("pools").WriteTo(&text, 1); err != nil {
				return err
			}
			all := frames.FindAllStringSubmatch(text.String(), -1)
			for _, m := range all {
				if !strings.Contains(m[1], "pools_test.TestProfileBeginsWithTheHolder.") {
					t.Errorf("%s comes first: %s", m[1], text.String())
				}
			}
			if len(all) == 0 || !strings.Contains(text.String(), fmt.Sprintf("total %d\n", n)) {
				t.Errorf("not %d holders: %s", n, text.String())
			}
			return nil
		}
		for range 2 { // the second time without an open
			for _, err := range []error{
				a.Use(t.Context(), func(resource) error { return first(1) }),
				pools.Use2(t.Context(), b, a, func(_, _ resource) error { return first(2) }),
				g.Use(t.Context(), []string{"b", "a"}, func(pools.Resources) error { return first(2) }),
				func() error {
					_, err := pools.UseResult(t.Context(), a, func(resource) (int, error) { return 0, first(1) })
					return err
				}(),
				func() error {
					conn, _ := a.TryPop()
					defer conn.Push()
					return first(1)
				}(),
			} {
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
}

//go:noinline
func holdHere(t *testing.T, pool *pools.Pool[resource]) pools.Conn[resource] {
	conn, err := pool.Pop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// Samples stand for all also when many begin at once, on many slots, and in a
// tight loop.
func TestSamplesOfManySlots(t *testing.T) {
	defer pools.Sample(true)()
	const size = 1000
	pool, _ := poolstest.New(t, pools.Settings{Size: size})
	if err := pool.Fill(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 200 {
				var held []pools.Conn[resource]
				for range size / 50 {
					conn, ok := pool.TryPop()
					if !ok {
						t.Error("nothing is idle")
						return
					}
					held = append(held, conn)
				}
				for _, conn := range held {
					_ = conn.Push()
				}
			}
		})
	}
	all.Wait()
	for range 1_000_000 {
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Push()
	}
	st := pool.Stats()
	ratio := float64(st.Use.Count) / float64(st.Leases)
	if t.Log(ratio); ratio < 1.0/3 || ratio > 3 {
		t.Errorf("%d of %d leases are in the histogram: %.3g times", st.Use.Count, st.Leases, ratio)
	}
}

// A pool that was dropped with its Conns leaves nobody in the profile.
func TestProfileForgetsDroppedPools(t *testing.T) {
	before := pprof.Lookup("pools").Count()
	for range 20 {
		pool, err := pools.New("dropped", pools.OpenFunc(func(context.Context) (*nothing, error) { return new(nothing), nil }), pools.Settings{Size: 1, ProfileHolders: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Pop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); pprof.Lookup("pools").Count() > before; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("%d holders of pools that are gone", pprof.Lookup("pools").Count()-before)
		}
	}
}

type nothing struct{}

func (*nothing) Close() error { return nil }
