package pools_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// With NoQueue a Pop waits for an open, but for no holder.
func TestNoQueue(t *testing.T) {
	scenario(t, pools.Settings{Size: 2, MaxWaiting: pools.NoQueue}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		server.Open.Always(poolstest.Delay(time.Second))
		a, b := poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		a.Waits()
		b.Waits()
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting) // both opens have their waiter
		if st := pool.Stats(); st.Refused != 1 || st.WaitsFailed != 0 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Second)
		conn := a.Has()
		b.Has()
		poolstest.Pop(t, pool).Fails(pools.ErrTooManyWaiting)
		_ = conn.Destroy()
		synctest.Wait()
		c := poolstest.Pop(t, pool)
		c.Waits()
		time.Sleep(time.Second)
		_ = c.Has().Push()
		_ = poolstest.Pop(t, pool).Has().Push()
		_ = b.Has().Push()
	})
}

func TestNoQueueIsForMaxWaiting(t *testing.T) {
	_, err := pools.New("x", pools.OpenFunc(func(context.Context) (*served, error) { return nil, nil }),
		pools.Settings{Size: 1, MaxUses: pools.NoQueue, MaxWaiting: -3})
	if err == nil || !strings.Contains(err.Error(), "MaxUses: is -2") || !strings.Contains(err.Error(), "MaxWaiting: is -3") || !strings.Contains(err.Error(), "pools.NoQueue") {
		t.Error(err)
	}
}

// RefuseLate refuses at once those that would have been passed over, says why,
// and what is useful stays as much.
func TestRefuseLate(t *testing.T) {
	const ms = time.Millisecond
	l := load{size: 10, mean: 50 * ms, use: alike, patience: within(300 * ms), open: 100 * ms, seed: 1,
		phases:   []phase{{load: 0.7, lasts: 5}, {load: 2, lasts: 10}, {load: 0.7, lasts: 6}},
		settings: func(s *pools.Settings) { s.RefuseLate = true }}
	var mu sync.Mutex
	var first error
	refused, slow := 0, 0
	l.failed = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if !errors.Is(err, pools.ErrTooLate) {
			return
		}
		refused++
		var pop *pools.PopError
		if !errors.As(err, &pop) || pop.Waited > 0 {
			slow++
		}
		if first == nil {
			first = err
		}
	}
	o := l.run(t)
	useful, after := o.useful(7, 15), o.answered(18, 21)
	t.Logf("useful %.2f, after it %.3f; %d refused, the first: %v", useful, after, refused, first)
	if useful < 0.95 || after < 0.99 || refused < 1000 || slow > 0 {
		t.Errorf("useful %.2f, after it %.3f, %d refused, %d of them late", useful, after, refused, slow)
	}
	for _, part := range []string{"are waiting", "a use needs 5", "are left"} {
		if first == nil || !strings.Contains(first.Error(), part) {
			t.Errorf("no %q in %v", part, first)
		}
	}
}

// MaxQueueDelay keeps the waits of Pops without a deadline short while the queue
// is standing, and refuses nobody in a burst.
func TestMaxQueueDelay(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name        string
		load        float64
		burst       int
		least, most float64       // share of those refused
		longest     time.Duration // p99 of the waits of those served
	}{
		{"below capacity", 0.8, 0, 0, 0, time.Second},
		{"a burst", 0.5, 40, 0, 0, time.Second},
		{"overload", 2, 0, 0.4, 0.6, 500 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed := 0
			var mu sync.Mutex
			l := load{size: 10, mean: 50 * ms, use: alike, patience: within(0), open: 100 * ms, seed: 1,
				phases:   []phase{{load: c.load, lasts: 10}},
				settings: func(s *pools.Settings) { s.MaxQueueDelay = 200 * ms },
				failed: func(err error) {
					mu.Lock()
					defer mu.Unlock()
					failed++
					if !errors.Is(err, pools.ErrTooLate) {
						t.Error(err)
					}
				},
				burst: c.burst,
			}
			o := l.run(t)
			asked := 0
			for _, n := range o.asked {
				asked += n
			}
			share, longest := float64(failed)/float64(asked), o.wait(0.99)
			t.Logf("%d of %d refused; p99 of waits %v", failed, asked, longest)
			if share < c.least || share > c.most || longest > c.longest {
				t.Errorf("refused %.2f, want %.2f to %.2f; p99 %v, want at most %v", share, c.least, c.most, longest, c.longest)
			}
		})
	}
}

// What RefuseLate refuses could not have been served: with as many places as
// waiters, a burst that fits is served whole.
func TestRefuseLateRefusesNoBurst(t *testing.T) {
	const ms = time.Millisecond
	defer pools.Sample(true)()
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 5, RefuseLate: true})
		ask := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return pool.Use(ctx, func(resource) error { time.Sleep(40 * ms); return nil })
		}
		for range 100 { // so that a typical use is known
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		var users sync.WaitGroup
		for range 100 { // 20 rounds of 40 ms
			users.Go(func() {
				if err := ask(); err != nil {
					t.Error(err)
				}
			})
		}
		users.Wait()
	})
}
