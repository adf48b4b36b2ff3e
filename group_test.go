package pools_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

func named(t *testing.T, name string, size int) *pools.Pool[resource] {
	t.Helper()
	pool, err := pools.New(name, poolstest.NewServer(t, size).Connector(), pools.Settings{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// P10
func TestOppositeOrdersDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := named(t, "a", 1), named(t, "b", 1), named(t, "c", 1)
		var g pools.Group
		if err := g.Add(a, b, c); err != nil {
			t.Fatal(err)
		}
		both := func(x, y resource) error {
			time.Sleep(time.Millisecond)
			return errors.Join(x.Do(nil), y.Do(nil))
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for _, err := range []error{
					pools.Use2(t.Context(), a, b, both),
					pools.Use2(t.Context(), b, a, both),
					g.Use(t.Context(), []string{"c", "b", "a"}, func(r pools.Resources) error {
						x, y, z := pools.Of[resource](r, "c"), pools.Of[resource](r, "b"), pools.Of[resource](r, "a")
						if x == y || y == z {
							t.Error("the same resource twice")
						}
						return both(x, y)
					}),
					g.Use(t.Context(), []string{"c", "a"}, func(r pools.Resources) error {
						return both(pools.Of[resource](r, "c"), pools.Of[resource](r, "a"))
					}),
					g.Use(t.Context(), []string{"a", "c"}, func(r pools.Resources) error {
						return both(pools.Of[resource](r, "c"), pools.Of[resource](r, "a"))
					}),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// P10: a part that fails gives back the others, whole.
func TestPartThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := named(t, "a", 1), named(t, "b", 1), named(t, "c", 1)
		var g pools.Group
		if err := g.Add(a, b, c); err != nil {
			t.Fatal(err)
		}
		held, err := b.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range []func(context.Context) error{
			func(ctx context.Context) error {
				return pools.Use2(ctx, a, b, func(resource, resource) error { t.Error("it ran"); return nil })
			},
			func(ctx context.Context) error {
				return pools.Use2(ctx, b, a, func(resource, resource) error { t.Error("it ran"); return nil })
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := use(ctx)
			cancel()
			if e, ok := errors.AsType[*pools.PopError](err); !ok || e.Pool != "b" || !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if st := a.Stats(); st.Idle != 1 || st.Closed != 0 {
				t.Errorf("a did not get its connection back: %+v", st)
			}
		}
		_ = held.Push()
		// Discard is for both, whichever was popped first.
		for _, err := range []error{
			pools.Use2(t.Context(), a, b, func(resource, resource) error { return pools.Discard(nil) }),
			pools.Use2(t.Context(), b, a, func(resource, resource) error { return pools.Discard(nil) }),
			g.Use(t.Context(), []string{"b", "a", "c"}, func(pools.Resources) error { return pools.Discard(nil) }),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if a.Stats().Closed != 3 || b.Stats().Closed != 3 || c.Stats().Closed != 1 {
			t.Errorf("closed %d, %d and %d", a.Stats().Closed, b.Stats().Closed, c.Stats().Closed)
		}
		if err := pools.Use2(t.Context(), a, new(pools.Pool[resource]), nil); err == nil || !strings.Contains(err.Error(), "zero Pool") {
			t.Error(err)
		}
		for _, err := range []error{
			pools.Use2(t.Context(), a, a, func(resource, resource) error { return nil }),
			g.Use(t.Context(), []string{"a", "b", "a"}, func(pools.Resources) error { return nil }),
		} {
			if err == nil || !strings.Contains(err.Error(), `the same pool is named twice; holding two connections of one pool can deadlock: "a"`) {
				t.Error(err)
			}
		}
	})
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := named(t, "a", 1), named(t, "b", 2)
		var g pools.Group
		err := g.Add(a, b, a, (*pools.Pool[int])(nil))
		if err == nil || !strings.Contains(err.Error(), `two pools are named "a"`) || !strings.Contains(err.Error(), "pool 3 is nil") {
			t.Error(err)
		}
		if len(maps.Collect(g.All())) != 0 {
			t.Error("half of them were added")
		}
		if err := g.Add(b, a); err != nil {
			t.Fatal(err)
		}
		if err := g.Add(named(t, "a", 1)); err == nil {
			t.Error("two pools of one name")
		}
		var names []string
		for name := range g.All() {
			names = append(names, name)
		}
		if !slices.Equal(names, []string{"b", "a"}) {
			t.Error(names)
		}
		if got, err := pools.Get[resource](&g, "a"); err != nil || got != a {
			t.Error(got, err)
		}
		if _, err := pools.Get[resource](&g, "x"); !errors.Is(err, pools.ErrUnknown) {
			t.Error(err)
		}
		if _, err := pools.Get[string](&g, "a"); !errors.Is(err, pools.ErrUnknown) || !strings.Contains(err.Error(), "not a *pools.Pool[string]") {
			t.Error(err)
		}
		if err := g.Use(t.Context(), []string{"a", "x"}, nil); !errors.Is(err, pools.ErrUnknown) {
			t.Error(err)
		}
		if err := g.Use(t.Context(), []string{"a", "a"}, nil); err == nil || !strings.Contains(err.Error(), "named twice") {
			t.Error(err)
		}
		if g.Remove("b") != pools.AnyPool(b) || g.Remove("b") != nil {
			t.Error("Remove")
		}
		if err := b.Use(t.Context(), func(resource) error { return nil }); err != nil {
			t.Error("Remove closed the pool:", err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := a.Pop(t.Context()); !errors.Is(err, pools.ErrClosed) {
			t.Error(err)
		}
		if st := g.Stats(); len(st) != 1 || st[0].Name != "a" {
			t.Error(st)
		}
	})
}

// A Group.Use without names is refused, and fn does not run.
func TestGroupUseWithoutNames(t *testing.T) {
	var g pools.Group
	for _, names := range [][]string{nil, {}} {
		err := g.Use(t.Context(), names, func(pools.Resources) error { t.Error("fn ran"); return nil })
		if err == nil || !strings.Contains(err.Error(), "Group.Use: names is empty; give the name of at least one pool") {
			t.Error(err)
		}
	}
}

// However many pools are used at once, fn's error comes back as Pool.Use
// returns it, and a Discard closes the connection of every pool.
func TestDiscardOfSeveralPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := named(t, "a", 1), named(t, "b", 1), named(t, "c", 1)
		var g pools.Group
		if err := g.Add(a, b, c); err != nil {
			t.Fatal(err)
		}
		fault := errors.New("fault")
		wrapped := fmt.Errorf("wrapped: %w", pools.Discard(fault))
		joined := errors.Join(fault, wrapped)
		for _, returned := range []struct {
			name      string
			err, want error
			closes    uint64
		}{
			{"no error", nil, nil, 0},
			{"an error", fault, fault, 0},
			{"Discard(nil)", pools.Discard(nil), nil, 1},
			{"Discard(err)", pools.Discard(fault), fault, 1},
			{"a wrapped Discard", wrapped, wrapped, 1},
			{"a joined Discard", joined, joined, 1},
			{"a Discard of a wrapped Discard", pools.Discard(wrapped), wrapped, 1},
		} {
			err := returned.err
			for _, use := range []struct {
				name  string
				pools []*pools.Pool[resource]
				err   func() error
			}{
				{"Pool.Use", list(a), func() error { return a.Use(t.Context(), func(resource) error { return err }) }},
				{"Use2", list(a, b), func() error {
					return pools.Use2(t.Context(), a, b, func(_, _ resource) error { return err })
				}},
				{"Use2, the other order", list(a, b), func() error {
					return pools.Use2(t.Context(), b, a, func(_, _ resource) error { return err })
				}},
				{"Group.Use of one", list(a), func() error {
					return g.Use(t.Context(), []string{"a"}, func(pools.Resources) error { return err })
				}},
				{"Group.Use of two", list(a, b), func() error {
					return g.Use(t.Context(), []string{"b", "a"}, func(pools.Resources) error { return err })
				}},
				{"Group.Use of three", list(a, b, c), func() error {
					return g.Use(t.Context(), []string{"c", "a", "b"}, func(pools.Resources) error { return err })
				}},
			} {
				var before []uint64
				for _, p := range use.pools {
					_ = p.Use(t.Context(), func(resource) error { return nil }) // or the faults would be a streak
					before = append(before, p.Stats().Closed)
				}
				if got := use.err(); got != returned.want {
					t.Errorf("%s, %s: returned %#v, want %#v", use.name, returned.name, got, returned.want)
				}
				synctest.Wait()
				for i, p := range use.pools {
					if closed := p.Stats().Closed - before[i]; closed != returned.closes {
						t.Errorf("%s, %s: %q closed %d connections, want %d", use.name, returned.name, p.Name(), closed, returned.closes)
					}
				}
			}
		}
	})
}

func list(all ...*pools.Pool[resource]) []*pools.Pool[resource] { return all }
