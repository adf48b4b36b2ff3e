package pools_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

var errLeft = errors.New("a transaction was left open")

// What a use left unfinished is reset, told and counted, and with FailUnfinished
// is an error.
func TestUnfinished(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var logged bytes.Buffer
			d := new(diary)
			server := poolstest.NewServer(t, 0)
			open, broken := false, false
			server.IsDirty = func(resource) bool { return false }
			server.IsBroken = func(resource, error) bool { return broken }
			server.IsUnfinished = func(resource) error {
				if broken {
					t.Error("a broken connection was asked")
				}
				if open {
					return errLeft
				}
				return nil
			}
			pool := poolstest.Make(t, server, pools.Settings{
				Size: 1, TrackHolders: true, TrackGoroutines: true, FailUnfinished: fails,
				Logger: slog.New(slog.NewTextHandler(&logged, nil)), Observer: d.observer(),
			}, poolstest.WithReset)
			count := uint64(0)
			is := func(what string, err error, left bool) {
				t.Helper()
				synctest.Wait()
				if left {
					count++
				}
				if failed := errors.Is(err, pools.ErrUnfinished) && errors.Is(err, errLeft); failed != (left && fails) {
					t.Errorf("%s: %v", what, err)
				}
				if st := pool.Stats(); st.Unfinished != count || server.Reset.Calls() != int(count) || len(d.of(pools.EventUnfinished)) != int(count) {
					t.Errorf("%s: %d counted, %d reset, %d told, not %d", what, st.Unfinished, server.Reset.Calls(), len(d.of(pools.EventUnfinished)), count)
				}
			}
			leave := func(r resource) error { open = true; return nil }
			use := func(f func(resource) error) error {
				open = false
				return pool.Use(t.Context(), f)
			}
			is("a use that leaves nothing", use(func(resource) error { return nil }), false)
			is("a Use", use(leave), true)
			if events := d.of(pools.EventUnfinished); len(events) == 1 {
				if e := events[0]; e.Err != errLeft || e.ID == "" || e.Goroutine == 0 || !strings.Contains(e.Stack, "TestUnfinished") {
					t.Errorf("told: %+v", e)
				}
			}
			if !strings.Contains(logged.String(), "left something unfinished") || !strings.Contains(logged.String(), errLeft.Error()) {
				t.Errorf("logged: %s", logged.String())
			}
			_, err := pools.UseResult(t.Context(), pool, func(r resource) (int, error) { return 1, leave(r) })
			is("a UseResult", err, true)
			conn := poolstest.Pop(t, pool).Has()
			open = true
			is("a Push", conn.Push(), true)
			conn = poolstest.Pop(t, pool).Has()
			is("a PushErr", conn.PushErr(errRefused), true)

			// The function's own error is the one that its caller looks for.
			err = use(func(r resource) error { open = true; return errRefused })
			if err != errRefused {
				t.Errorf("the error of the function became %v", err)
			}
			count++
			conn = poolstest.Pop(t, pool).Has()
			is("a Destroy", conn.Destroy(), false)
			broken = true
			is("a use that breaks", use(leave), false)
			broken = false
			if server.Opened() != 2 || server.IsOpen() != 0 {
				t.Errorf("%d opened, %d open", server.Opened(), server.IsOpen())
			}
		})
	}
}

// Of several pools that are used at once, any may say that something was left
// unfinished.
func TestUnfinishedInSeveralPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g pools.Group
		left := make(map[string]bool)
		make := func(name string) *pools.Pool[resource] {
			server := poolstest.NewServer(t, 0)
			server.IsUnfinished = func(resource) error {
				if left[name] {
					return errors.New(name)
				}
				return nil
			}
			pool, err := pools.New(name, server.Connector(poolstest.WithReset), pools.Settings{Size: 1, FailUnfinished: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = pool.Close(context.Background()) })
			if err := g.Add(pool); err != nil {
				t.Fatal(err)
			}
			return pool
		}
		a, b := make("a"), make("b")
		make("c")
		for _, use := range []struct {
			what string
			of   string
			err  func(err error) error
		}{
			{"Use2", "ab", func(err error) error {
				return pools.Use2(t.Context(), a, b, func(_, _ resource) error { return err })
			}},
			{"Use2, the other order", "ab", func(err error) error {
				return pools.Use2(t.Context(), b, a, func(_, _ resource) error { return err })
			}},
			{"Group.Use of one", "a", func(err error) error {
				return g.Use(t.Context(), []string{"a"}, func(pools.Resources) error { return err })
			}},
			{"Group.Use of three", "abc", func(err error) error {
				return g.Use(t.Context(), []string{"c", "a", "b"}, func(pools.Resources) error { return err })
			}},
		} {
			for _, who := range []string{"", "a", "b", "c", "ab", "bc", "abc"} {
				clear(left)
				for _, name := range who {
					left[string(name)] = true
				}
				err := use.err(nil)
				if leaves := strings.ContainsAny(use.of, who); errors.Is(err, pools.ErrUnfinished) != leaves || (err != nil) != leaves {
					t.Errorf("%s of %s, left in %q: %v", use.what, use.of, who, err)
				}
				for _, name := range who {
					if n := string(name); strings.Contains(use.of, n) && !strings.Contains(fmt.Sprint(err), pools.ErrUnfinished.Error()+": "+n) {
						t.Errorf("%s, left in %q: %v", use.what, who, err)
					}
				}
				if err := use.err(errRefused); err != errRefused {
					t.Errorf("%s, left in %q: the error of the function became %v", use.what, who, err)
				}
			}
		}
	})
}

// A connector that says what is unfinished must be able to end it.
func TestUnfinishedNeedsAReset(t *testing.T) {
	server := poolstest.NewServer(t, 0)
	connector := server.Connector()
	connector.Unfinished = func(resource) error { return nil }
	_, err := pools.New("db", connector, pools.Settings{Size: 1})
	if err == nil || !strings.Contains(err.Error(), "Connector.Unfinished: is set, but Connector.Reset is nil") {
		t.Errorf("%v", err)
	}
}
