package pools_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// diary is an Observer that keeps all it is told.
type diary struct {
	mu     sync.Mutex
	events []pools.Event
}

func (d *diary) note(e pools.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func (d *diary) of(kind pools.EventKind) (some []pools.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Kind == kind {
			some = append(some, e)
		}
	}
	return some
}

func (d *diary) observer() *pools.Observer {
	return &pools.Observer{Event: d.note, Popped: d.note, Pushed: d.note, Waited: d.note}
}

// Each reason is counted and told, for the connection that it closed.
func TestClosedBy(t *testing.T) {
	broken := errors.New("broken")
	for reason, c := range map[pools.Reason]struct {
		settings pools.Settings
		cause    func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server)
		err      error
	}{
		pools.ReasonLifetime: {settings: pools.Settings{MaxLifetime: time.Hour, IdleTimeout: pools.Never}, cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			use(t, pool)
			time.Sleep(2 * time.Hour)
		}},
		pools.ReasonUses: {settings: pools.Settings{MaxUses: 1}, cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) { use(t, pool) }},
		pools.ReasonIdle: {settings: pools.Settings{IdleTimeout: time.Minute}, cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			use(t, pool)
			time.Sleep(2 * time.Minute)
		}},
		pools.ReasonBroken: {err: broken, cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			_ = pool.Use(t.Context(), func(resource) error { return broken })
		}},
		pools.ReasonDestroyed: {cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			_ = poolstest.Pop(t, pool).Has().Destroy()
		}},
		pools.ReasonCheck: {err: broken, cause: func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			use(t, pool)
			time.Sleep(time.Minute)
			server.Check.Next(poolstest.Fail(broken))
			use(t, pool)
		}},
		pools.ReasonReset: {err: broken, cause: func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Reset.Next(poolstest.Fail(broken))
			use(t, pool)
		}},
		pools.ReasonLost: {cause: func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			if _, err := pool.Pop(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "lost", func() bool { return pool.Stats().Lost == 1 })
		}},
		pools.ReasonRefresh: {cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			use(t, pool)
			if err := pool.Refresh(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}},
		pools.ReasonResize: {settings: pools.Settings{Size: 2}, cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			if err := pool.Fill(t.Context(), 2); err != nil {
				t.Error(err)
			}
			if err := pool.Configure(func(s *pools.Settings) { s.Size = 1 }); err != nil {
				t.Error(err)
			}
		}},
		pools.ReasonRevoked: {cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			conn := poolstest.Pop(t, pool).Has()
			pool.RevokeAll()
			_ = conn.Push()
		}},
		pools.ReasonAbandoned: {settings: pools.Settings{OpenTimeout: time.Second, ReconnectAttempts: 1}, cause: func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
			server.Open.Next(poolstest.Deaf(time.Minute))
			_, _ = pool.Pop(t.Context())
			time.Sleep(2 * time.Minute)
		}},
		pools.ReasonClose: {cause: func(t *testing.T, pool *pools.Pool[resource], _ *poolstest.Server) {
			use(t, pool)
			if err := pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := new(diary)
				c.settings.Observer = &pools.Observer{Event: d.note}
				c.settings.Size = max(c.settings.Size, 1)
				server := poolstest.NewServer(t, 0)
				server.IsBroken = func(_ resource, err error) bool { return err != nil }
				pool := poolstest.Make(t, server, c.settings, poolstest.WithCheck, poolstest.WithReset)
				c.cause(t, pool, server)
				synctest.Wait()
				st := pool.Stats()
				for other, n := range st.ClosedBy {
					if other == reason && n == 0 || other != reason && n > 0 {
						t.Errorf("%d closed by %v", n, other)
					}
				}
				closed := d.of(pools.EventClosed)
				if uint64(len(closed)) != st.Closed {
					t.Fatalf("%d were closed, %d events", st.Closed, len(closed))
				}
				if e := closed[0]; e.Reason != reason || !errors.Is(e.Err, c.err) || e.ID == "" || e.Pool != pool.Name() {
					t.Errorf("%+v", e)
				}
				if !slices.ContainsFunc(d.of(pools.EventOpened), func(e pools.Event) bool { return e.ID == closed[0].ID }) {
					t.Errorf("%s was closed, and never opened", closed[0].ID)
				}
			})
		})
	}
}

// What an Observer sees of one use after the other, to the nanosecond.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(diary)
		pool, server := poolstest.New(t, pools.Settings{Size: 1, Observer: d.observer()})
		began := time.Now()
		server.Open.Next(poolstest.Delay(3 * time.Second))
		a := poolstest.Pop(t, pool)
		time.Sleep(3 * time.Second)
		conn := a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		time.Sleep(5 * time.Second)
		a.Push()
		b.Has()
		time.Sleep(7 * time.Second)
		b.Push()
		c := poolstest.Pop(t, pool)
		c.Has()
		time.Sleep(11 * time.Second)
		c.Push()
		synctest.Wait()
		type seen struct {
			kind pools.EventKind
			at   time.Duration
			took time.Duration
		}
		want := []seen{
			{pools.EventOpened, 3 * time.Second, 3 * time.Second},
			{pools.EventPopped, 3 * time.Second, 3 * time.Second},
			{pools.EventWaited, 3 * time.Second, 3 * time.Second},
			{pools.EventPushed, 8 * time.Second, 5 * time.Second},
			{pools.EventPopped, 8 * time.Second, 5 * time.Second},
			{pools.EventWaited, 8 * time.Second, 5 * time.Second},
			{pools.EventPushed, 15 * time.Second, 7 * time.Second},
			{pools.EventPopped, 15 * time.Second, 0},
			{pools.EventPushed, 26 * time.Second, 11 * time.Second},
		}
		var got []seen
		for _, e := range d.events {
			got = append(got, seen{e.Kind, e.Time.Sub(began).Round(time.Millisecond), e.Took})
			if e.Kind != pools.EventWaited && e.ID != conn.ID() {
				t.Errorf("%+v", e)
			}
		}
		// At one instant, of two goroutines, either may tell first.
		order := []pools.EventKind{pools.EventOpened, pools.EventPushed, pools.EventPopped, pools.EventWaited}
		slices.SortStableFunc(got, func(a, b seen) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(slices.Index(order, a.kind), slices.Index(order, b.kind)))
		})
		if !slices.Equal(got, want) {
			t.Errorf("seen:\n%v\nwant:\n%v", got, want)
		}
		st := pool.Stats()
		if st.Use.Count != 3 || st.Use.Sum != 23*time.Second || st.Use.Max != 11*time.Second || st.Wait.Sum != 8*time.Second || st.Open.Sum != 3*time.Second {
			t.Errorf("%+v", st)
		}
		if _, err := pool.Pop(ended(t)); err == nil {
			t.Error("popped with an ended ctx")
		}
		if n := len(d.of(pools.EventWaited)); n != 2 {
			t.Errorf("%d waits were told; who is refused at once has not waited", n)
		}
	})
}

// A wait that fails is told with its error.
func TestObserverOfAFailedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(diary)
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, WaitTimeout: time.Minute, Observer: &pools.Observer{Waited: d.note}})
		a := poolstest.Pop(t, pool)
		a.Has()
		if _, err := pool.Pop(t.Context()); err == nil {
			t.Fatal("popped")
		}
		a.Push()
		all := d.of(pools.EventWaited)
		if len(all) != 2 || all[0].Err != nil || all[1].Took != time.Minute || !errors.Is(all[1].Err, pools.ErrWaitTimeout) {
			t.Errorf("%+v", all)
		}
		if n := len(d.of(pools.EventPopped)); n != 0 {
			t.Errorf("%d pops were told", n)
		}
	})
}

// A server that goes down and comes back.
func TestServerDownAndUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		d := new(diary)
		pool, server := poolstest.New(t, pools.Settings{
			Size: 3, ReconnectAttempts: 1, Observer: &pools.Observer{Event: d.note}, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		refused := errors.New("connection refused")
		server.Open.Always(poolstest.Fail(refused))
		for range 1000 {
			if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
				t.Fatal(err)
			}
		}
		ask := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				_ = pool.Use(t.Context(), holdFor(0))
			}
		}
		ask(3600)
		server.Open.Always(poolstest.Fail(nil))
		ask(60)
		synctest.Wait()
		down, up := d.of(pools.EventDown), d.of(pools.EventUp)
		if len(down) != 1 || down[0].Err != refused || len(up) != 1 || up[0].Took < time.Hour || up[0].Took > time.Hour+3*time.Second {
			t.Errorf("down %+v, up %+v", down, up)
		}
		failed := d.of(pools.EventOpenFailed)
		if len(failed) < 100 || failed[0].Count != 1 || failed[9].Count != 10 || failed[9].RetryIn <= 0 || failed[9].RetryIn > 2*time.Second {
			t.Errorf("%d failed, the tenth: %+v", len(failed), failed[9])
		}
		text := logged.String()
		if n := strings.Count(text, "open failed"); n > 10+len(failed) || n < 100 {
			t.Errorf("%d times logged", n)
		}
		if strings.Count(text, "the server is down") != 1 || strings.Count(text, "the server is up again") != 1 || !strings.Contains(text, `"next try in"=`) {
			t.Error(text)
		}
	})
}

// Many events of a kind do not flood the log, nor push others out of Events.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		d := new(diary)
		pool, _ := poolstest.New(t, pools.Settings{
			Size: 1, Observer: &pools.Observer{Event: d.note}, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		conn := poolstest.Pop(t, pool).Has()
		_ = conn.Push()
		for range 1000 {
			if err := conn.Push(); !errors.Is(err, pools.ErrNotHeld) {
				t.Fatal(err)
			}
		}
		if n := strings.Count(logged.String(), "again"); n != 10 || len(d.of(pools.EventMisused)) != 1000 {
			t.Errorf("%d logged, %d told", n, len(d.of(pools.EventMisused)))
		}
		time.Sleep(10 * time.Second)
		_ = conn.Push()
		if n := strings.Count(logged.String(), "again"); n != 11 || !strings.Contains(logged.String(), "suppressed=990") {
			t.Errorf("%d logged: %s", n, logged.String())
		}
		past := pool.Events()
		if len(past) != 12 || past[0].Kind != pools.EventOpened || past[11].Suppressed != 990 || past[11].ID != conn.ID() || past[11].Time != time.Now() {
			t.Errorf("%+v", past)
		}
		// The ring keeps the latest, in order.
		for range 200 {
			time.Sleep(10 * time.Second)
			_ = conn.Push()
		}
		past = pool.Events()
		if len(past) != 64 || !slices.IsSortedFunc(past, func(a, b pools.Event) int { return a.Time.Compare(b.Time) }) || past[63].Time != time.Now() {
			t.Errorf("%d are kept: %+v", len(past), past)
		}
	})
}

func TestObservers(t *testing.T) {
	var order []string
	note := func(who string) func(pools.Event) {
		return func(e pools.Event) { order = append(order, who+" "+string(e.Kind)) }
	}
	o := pools.Observers(&pools.Observer{Event: note("a"), Popped: note("a")}, nil, &pools.Observer{Event: note("b"), Waited: note("b")})
	o.Event(pools.Event{Kind: pools.EventUp})
	o.Popped(pools.Event{Kind: pools.EventPopped})
	o.Waited(pools.Event{Kind: pools.EventWaited})
	if want := []string{"a up", "b up", "a popped", "b waited"}; !slices.Equal(order, want) || o.Pushed != nil {
		t.Errorf("%v, want %v", order, want)
	}
	if o := pools.Observers(); o == nil || !reflect.ValueOf(*o).IsZero() {
		t.Errorf("%+v", o)
	}
}

// L8 for the Observer: its functions may use the pool, and close it.
func TestObserverUsesThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool *pools.Pool[resource]
		var mu sync.Mutex
		called := make(map[pools.EventKind]int)
		busy := false
		all := func(e pools.Event) {
			mu.Lock()
			called[e.Kind]++
			again := busy
			busy = true
			mu.Unlock()
			if again {
				return
			}
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				busy = false
			}()
			_, _, _ = pool.Stats(), pool.Events(), pool.Available()
			if conn, ok := pool.TryPop(); ok {
				_ = conn.Push()
			}
			if err := pool.Configure(func(*pools.Settings) {}); err != nil && !errors.Is(err, pools.ErrClosed) {
				t.Error(err)
			}
			if e.Kind == pools.EventMisused {
				_ = pool.Close(ended(t))
			}
		}
		pool, _ = poolstest.New(t, pools.Settings{Size: 2, Observer: &pools.Observer{Event: all, Popped: all, Pushed: all, Waited: all}})
		conn := poolstest.Pop(t, pool).Has()
		if err := conn.Push(); err != nil {
			t.Error(err)
		}
		_ = conn.Push()
		synctest.Wait()
		for _, kind := range []pools.EventKind{pools.EventOpened, pools.EventPopped, pools.EventPushed, pools.EventWaited, pools.EventMisused, pools.EventClosed} {
			if called[kind] == 0 {
				t.Errorf("%s was not told", kind)
			}
		}
	})
}

func TestStatsAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 2, MaxUses: 1})
		for range 3 {
			use(t, pool)
			time.Sleep(time.Second)
		}
		st := pool.Stats()
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		var again pools.Stats
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(st, again) {
			t.Errorf("%v\n%+v was\n%+v", err, again, st)
		}
		if !bytes.Contains(text, []byte(`"uses":3`)) || !bytes.Contains(text, []byte(`"broken":0`)) {
			t.Errorf("%s", text)
		}
	})
}

func TestReasonsHaveNames(t *testing.T) {
	pool, _ := poolstest.New(t, pools.Settings{Size: 1})
	counts := pool.Stats().ClosedBy
	if len(counts) != 13 || counts.String() != "" {
		t.Errorf("%d: %v", len(counts), counts)
	}
	counts[pools.ReasonBroken]++ // a copy
	for reason := range counts {
		counts[reason]++
	}
	if n := len(strings.Split(counts.String(), ", ")); n != 13 || !strings.Contains(counts.String(), "1 idle, 2 broken, ") {
		t.Error(counts)
	}
	if n := pool.Stats().ClosedBy[pools.ReasonBroken]; n != 0 {
		t.Error(n)
	}
}

// ended is a ctx that has.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// An Observer or a Logger that panics, or ends its goroutine, costs no slot.
func TestObserverThatPanics(t *testing.T) {
	broken := func(_ resource, err error) bool { return err != nil }
	for _, kind := range []pools.EventKind{pools.EventPopped, pools.EventPushed, pools.EventWaited} {
		for _, way := range []string{"panic", "Goexit"} {
			for _, careful := range []bool{false, true} {
				t.Run(fmt.Sprint(kind, " ", way, " ", careful), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						angry := true
						f := func(e pools.Event) {
							if !angry || e.Kind != kind {
								return
							}
							angry = false
							if way == "panic" {
								panic("the Observer")
							}
							runtime.Goexit()
						}
						server := poolstest.NewServer(t, 0)
						if careful {
							server.IsBroken = broken
						}
						pool := poolstest.Make(t, server, pools.Settings{
							Size: 1, KeepLost: true, Observer: &pools.Observer{Popped: f, Pushed: f, Waited: f},
						})
						done := make(chan struct{})
						go func() {
							defer close(done)
							defer func() { _ = recover() }()
							_ = pool.Use(t.Context(), func(resource) error { return nil })
						}()
						<-done
						if angry {
							t.Fatal("it was not told")
						}
						use(t, pool)
						if st := pool.Stats(); st.Held != 0 || st.Returning != 0 {
							t.Errorf("%+v", st)
						}
					})
				})
			}
		}
	}
}

// Whoever is told of a push may pop what was pushed.
func TestObserverPopsWhatWasPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool *pools.Pool[resource]
		popped := 0
		pool, _ = poolstest.New(t, pools.Settings{Size: 1, Observer: &pools.Observer{Pushed: func(pools.Event) {
			if popped++; popped == 1 {
				use(t, pool)
			}
		}}})
		began := time.Now()
		use(t, pool)
		conn := poolstest.Pop(t, pool).Has()
		if err := conn.Destroy(); err != nil {
			t.Error(err)
		}
		if popped != 3 || time.Since(began) != 0 {
			t.Errorf("told %d times, after %v", popped, time.Since(began))
		}
	})
}

// What is counted as a wait is told as one, and nothing else.
func TestWaitsThatAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(diary)
		pool, server := poolstest.New(t, pools.Settings{
			Size: 1, MaxWaiting: 1, ReconnectAttempts: 1, Observer: &pools.Observer{Waited: d.note},
		})
		server.Open.Always(poolstest.Fail(errors.New("refused")))
		for range 5 {
			if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
				t.Fatal(err)
			}
		}
		server.Open.Clear()
		time.Sleep(time.Minute)
		a := poolstest.Pop(t, pool)
		a.Has()
		b := poolstest.Pop(t, pool)
		b.Waits()
		if _, err := pool.Pop(t.Context()); !errors.Is(err, pools.ErrTooManyWaiting) {
			t.Error(err)
		}
		a.Push()
		b.Push()
		if st, told := pool.Stats(), len(d.of(pools.EventWaited)); uint64(told) != st.Waits {
			t.Errorf("%d waits were told, %d counted", told, st.Waits)
		}
	})
}

func TestStatsSayThatTheServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 1, ReconnectAttempts: 1})
		is := func(down bool) {
			t.Helper()
			if st := pool.Stats(); st.Down != down {
				t.Errorf("%+v", st)
			}
		}
		is(false)
		server.Open.Next(poolstest.Fail(errors.New("refused")))
		_, _ = pool.Pop(t.Context())
		is(true)
		time.Sleep(time.Minute) // nobody asks
		is(true)
		use(t, pool)
		is(false)
	})
}

// Close returns when all has been told, and names what is not.
func TestCloseWaitsForObservers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := false
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, Observer: &pools.Observer{Event: func(e pools.Event) {
			if e.Kind == pools.EventClosed {
				time.Sleep(5 * time.Second)
				told = true
			}
		}}})
		use(t, pool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := pool.Close(ctx)
		if e, ok := errors.AsType[*pools.CloseError](err); !ok || len(e.Held) != 0 || !strings.Contains(err.Error(), "1 reports to an Observer") {
			t.Errorf("%v", err)
		}
		began := time.Now()
		if err := pool.Close(t.Context()); err != nil || !told || time.Since(began) != 4*time.Second {
			t.Errorf("closed after %v more, told %v: %v", time.Since(began), told, err)
		}
	})
}

// What goes as it should does not keep what goes wrong out of the log.
func TestRoutineDrownsNoErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, MaxUses: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for i := range 6000 {
			_ = pool.Use(t.Context(), func(resource) error {
				if i%600 == 599 {
					return io.EOF
				}
				return nil
			})
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "a connection was closed"); n != 10 {
			t.Errorf("10 were broken, one each 6 s, and %d are in the log", n)
		}
	})
}

// A Discard without an error is no news for the log; one with an error is.
func TestDiscardWithoutAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for _, discarded := range []error{nil, io.ErrShortWrite} {
			if err := pool.Use(t.Context(), func(resource) error { return pools.Discard(discarded) }); !errors.Is(err, discarded) {
				t.Error(err)
			}
			synctest.Wait()
			if logged := strings.Contains(log.String(), "a connection was closed"); logged != (discarded != nil) {
				t.Errorf("after Discard(%v): %s", discarded, &log)
			}
		}
		if st := pool.Stats(); st.ClosedBy[pools.ReasonDestroyed] != 2 {
			t.Errorf("%v", st.ClosedBy)
		}
	})
}

// A panic of an Observer or a Logger ends in the pool's own goroutines, and is
// logged; the pool goes on.
func TestObserverPanicsInThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		pool, _ := poolstest.New(t, pools.Settings{
			Size: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			LeakAfter: time.Second, MaxLifetime: time.Minute, // the keeper tells, too
			Observer: &pools.Observer{Event: func(e pools.Event) { panic("no " + string(e.Kind)) }},
		})
		conn := poolstest.Pop(t, pool).Has()
		time.Sleep(time.Minute)
		func() {
			defer func() {
				if v := recover(); v != "no returned" { // a holder's goroutine is not the pool's
					t.Errorf("the panic of the Observer: %v", v)
				}
			}()
			_ = conn.Push()
		}()
		time.Sleep(time.Minute)
		use(t, pool)
		synctest.Wait()
		for _, kind := range []string{"no opened", "no leaked", "no closed"} {
			if !strings.Contains(log.String(), kind) {
				t.Errorf("%q is not logged:\n%s", kind, log.String())
			}
		}
	})
}

// A Detach that an Observer does not let return leaves nothing behind.
func TestObserverPanicsInDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{
			Size: 1, Observer: &pools.Observer{Pushed: func(pools.Event) { panic("the Observer") }},
		})
		conn := poolstest.Pop(t, pool).Has()
		func() {
			defer func() { _ = recover() }()
			_, _ = conn.Detach()
			t.Error("Detach has returned")
		}()
		synctest.Wait()
		if st := pool.Stats(); server.IsOpen() != 0 || st.Detached != 0 || st.ClosedBy[pools.ReasonDestroyed] != 1 {
			t.Errorf("%d are open: %+v", server.IsOpen(), st)
		}
	})
}
