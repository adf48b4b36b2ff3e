package prompools_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
	"github.com/utopia-go/pools/prompools"
)

// register registers a collector of these pools where what it did not describe
// is an error.
func register(t *testing.T, native bool, all ...pools.AnyPool) (*prometheus.Registry, *pools.Group) {
	t.Helper()
	registry, group := prometheus.NewPedanticRegistry(), new(pools.Group)
	if err := group.Add(all...); err != nil {
		t.Fatal(err)
	}
	collector := prompools.New(group)
	if native {
		collector = prompools.NewNative(group)
	}
	if err := registry.Register(collector); err != nil {
		t.Fatal(err)
	}
	return registry, group
}

// has compares all metrics of the names that are in want.
func has(t *testing.T, from prometheus.Gatherer, want string) {
	t.Helper()
	var names []string
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("nothing is compared")
	}
	if err := testutil.GatherAndCompare(from, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 4, MinIdle: 1, WaitTimeout: time.Second, LeakAfter: time.Minute, ReconnectAttempts: 1})
		registry, _ := register(t, false, pool)

		server.Open.Next(poolstest.Delay(30 * time.Millisecond))
		a := poolstest.Pop(t, pool)
		time.Sleep(30 * time.Millisecond)
		a.Has()
		time.Sleep(2 * time.Minute) // it leaks; and there is one idle by now
		b := poolstest.Pop(t, pool)
		conn := b.Has()
		if err := errors.Join(conn.Push(), conn.Push()); !errors.Is(err, pools.ErrNotHeld) {
			t.Errorf("got %v", err)
		}
		lease := poolstest.Pop(t, pool).Has()
		if err := lease.Destroy(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		c := poolstest.Pop(t, pool)
		c.Has()
		server.Open.Always(poolstest.Delay(5 * time.Second))
		d := poolstest.Pop(t, pool)
		time.Sleep(time.Second)
		d.Fails(pools.ErrWaitTimeout)
		e := poolstest.Pop(t, pool)
		e.Waits()

		want := `
# HELP pools_size How many connections may be open at once.
# TYPE pools_size gauge
pools_size{pool="TestValues"} 4
# HELP pools_min_idle How many connections are kept idle.
# TYPE pools_min_idle gauge
pools_min_idle{pool="TestValues"} 1
# HELP pools_connections Connections by state.
# TYPE pools_connections gauge
pools_connections{pool="TestValues",state="checking"} 0
pools_connections{pool="TestValues",state="closing"} 0
pools_connections{pool="TestValues",state="held"} 2
pools_connections{pool="TestValues",state="hung"} 0
pools_connections{pool="TestValues",state="idle"} 0
pools_connections{pool="TestValues",state="opening"} OPENING
pools_connections{pool="TestValues",state="resetting"} 0
pools_connections{pool="TestValues",state="returning"} 0
pools_connections{pool="TestValues",state="revoked"} 0
pools_connections{pool="TestValues",state="stale"} 0
# HELP pools_waiting Goroutines that wait for a connection.
# TYPE pools_waiting gauge
pools_waiting{pool="TestValues"} 1
# HELP pools_server_up 0 while opens fail.
# TYPE pools_server_up gauge
pools_server_up{pool="TestValues"} 1
# HELP pools_leases_total Connections lent.
# TYPE pools_leases_total counter
pools_leases_total{pool="TestValues"} 4
# HELP pools_waits_total Pops that had to wait.
# TYPE pools_waits_total counter
pools_waits_total{pool="TestValues"} 2
# HELP pools_waits_failed_total Waits that ended without a connection.
# TYPE pools_waits_failed_total counter
pools_waits_failed_total{pool="TestValues"} 1
# HELP pools_waits_timed_out_total Waits that ended by WaitTimeout or a deadline.
# TYPE pools_waits_timed_out_total counter
pools_waits_timed_out_total{pool="TestValues"} 1
# HELP pools_opened_total Connections opened.
# TYPE pools_opened_total counter
pools_opened_total{pool="TestValues"} 3
# HELP pools_closed_total Connections closed, by reason.
# TYPE pools_closed_total counter
pools_closed_total{pool="TestValues",reason="abandoned"} 0
pools_closed_total{pool="TestValues",reason="broken"} 0
pools_closed_total{pool="TestValues",reason="check"} 0
pools_closed_total{pool="TestValues",reason="close"} 0
pools_closed_total{pool="TestValues",reason="destroyed"} 1
pools_closed_total{pool="TestValues",reason="idle"} 0
pools_closed_total{pool="TestValues",reason="lifetime"} 0
pools_closed_total{pool="TestValues",reason="lost"} 0
pools_closed_total{pool="TestValues",reason="refresh"} 0
pools_closed_total{pool="TestValues",reason="reset"} 0
pools_closed_total{pool="TestValues",reason="resize"} 0
pools_closed_total{pool="TestValues",reason="revoked"} 0
pools_closed_total{pool="TestValues",reason="uses"} 0
# HELP pools_leaks_total Leases that lasted longer than LeakAfter.
# TYPE pools_leaks_total counter
pools_leaks_total{pool="TestValues"} 1
# HELP pools_misused_total Ended leases that were pushed, destroyed or detached again.
# TYPE pools_misused_total counter
pools_misused_total{pool="TestValues"} 1
# HELP pools_lost_total Leases that were forgotten without a Push.
# TYPE pools_lost_total counter
pools_lost_total{pool="TestValues"} 0
`
		has(t, registry, strings.ReplaceAll(want, "OPENING", fmt.Sprint(pool.Stats().Opening)))
		server.Open.Clear()
		a.Push()
		e.Has()
		e.Push()
		c.Push()
		time.Sleep(10 * time.Second)
	})
}

func serverUp(is int, name string) string {
	return fmt.Sprintf("# HELP pools_server_up 0 while opens fail.\n# TYPE pools_server_up gauge\npools_server_up{pool=%q} %d\n", name, is)
}

func TestServerUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 1, ReconnectAttempts: 1})
		registry, _ := register(t, false, pool)
		is := func(up int) {
			t.Helper()
			synctest.Wait()
			has(t, registry, serverUp(up, pool.Name()))
		}
		use := func() { _ = pool.Use(t.Context(), func(*poolstest.Resource) error { return pools.Discard(nil) }) }
		is(1) // nobody knows better
		server.Open.Always(poolstest.Fail(errors.New("down")))
		use()
		is(0)
		server.Open.Clear()
		time.Sleep(time.Minute) // nobody has tried
		use()
		is(1)
		server.Open.Always(poolstest.Fail(errors.New("down again")))
		use()
		is(0)
		for range 100 {
			time.Sleep(time.Minute)
			use()
			is(0) // even when no event is left that says down
		}
		server.Open.Clear()
		time.Sleep(time.Minute)
		use()
		is(1)
	})
}

// Pools that come and go do so between two scrapes.
func TestPoolsComeAndGo(t *testing.T) {
	newPool := func(name string) pools.AnyPool {
		server := poolstest.NewServer(t, 1)
		pool, err := pools.New(name, server.Connector(), pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pool.Close(t.Context()) })
		return pool
	}
	sizes := func(names ...string) string {
		lines := []string{"# HELP pools_size How many connections may be open at once.", "# TYPE pools_size gauge"}
		for _, name := range names {
			lines = append(lines, fmt.Sprintf("pools_size{pool=%q} 1", name))
		}
		return strings.Join(lines, "\n") + "\n"
	}
	registry, group := register(t, false)
	if err := testutil.GatherAndCompare(registry, strings.NewReader("")); err != nil {
		t.Error(err)
	}
	if err := group.Add(newPool("a"), newPool("b")); err != nil {
		t.Fatal(err)
	}
	has(t, registry, sizes("a", "b"))
	group.Remove("b")
	if err := group.Add(newPool("c")); err != nil {
		t.Fatal(err)
	}
	has(t, registry, sizes("a", "c"))
}

func TestRegistration(t *testing.T) {
	registry, group := register(t, false)
	var already prometheus.AlreadyRegisteredError
	if err := registry.Register(prompools.New(group)); !errors.As(err, &already) {
		t.Errorf("a second registration: %v", err)
	}
	if err := registry.Register(prompools.New(nil)); err == nil || !strings.Contains(err.Error(), "group is nil; give") {
		t.Errorf("a nil group: %v", err)
	}
	if err := prometheus.WrapRegistererWith(prometheus.Labels{"group": "b"}, prometheus.NewRegistry()).Register(prompools.New(new(pools.Group))); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 1})
		registry, _ := register(t, true, pool)
		problems, err := testutil.GatherAndLint(registry)
		if err != nil || len(problems) != 0 {
			t.Errorf("%v %v", problems, err)
		}
	})
}

// The buckets say how many times were below each border: the classic ones
// exactly, the native ones to within a pool's own buckets.
func TestHistograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, Observer: &pools.Observer{
			Pushed: func(e pools.Event) { took = append(took, e.Took) },
		}})
		registry, _ := register(t, true, pool)
		random := rand.New(rand.NewPCG(1, 2))
		for range 3000 {
			err := pool.Use(t.Context(), func(*poolstest.Resource) error {
				time.Sleep(time.Duration(math.Exp2(40 * random.Float64())))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		below := func(border float64) (n uint64) {
			for _, d := range took {
				if d.Seconds() < border {
					n++
				}
			}
			return n
		}
		h := find(t, registry, "pools_use_seconds").Histogram
		if h.GetSampleCount() != 3000 || len(took) != 3000 || len(h.Bucket) != 25 {
			t.Fatalf("%d times, %d told, %d buckets", h.GetSampleCount(), len(took), len(h.Bucket))
		}
		for _, b := range h.Bucket {
			if want := below(b.GetUpperBound()); b.GetCumulativeCount() != want {
				t.Errorf("le %v: %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
			}
		}
		// A native bucket i ends at 2^(i/8).
		if h.GetSchema() != 3 {
			t.Fatalf("schema %d", h.GetSchema())
		}
		total, count, bucket, delta := h.GetZeroCount(), int64(0), int32(0), 0
		for _, span := range h.PositiveSpan {
			bucket += span.GetOffset()
			for range span.GetLength() {
				count += h.PositiveDelta[delta]
				total += uint64(count)
				border := math.Exp2(float64(bucket) / 8)
				if least, most := below(border/1.033), below(border*1.033); total < least || total > most {
					t.Errorf("up to %v: %d, want from %d to %d", border, total, least, most)
				}
				bucket, delta = bucket+1, delta+1
			}
		}
		if total != 3000 || delta != len(h.PositiveDelta) {
			t.Errorf("%d times in %d native buckets", total, delta)
		}
	})
}

// What is longer than all buckets stays where it was when a longer one comes.
func TestLongestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := poolstest.New(t, pools.Settings{Size: 1, Observer: &pools.Observer{Pushed: func(pools.Event) {}}})
		registry, _ := register(t, true, pool)
		for _, d := range []time.Duration{20 * time.Hour, 100 * time.Hour} {
			if err := pool.Use(t.Context(), func(*poolstest.Resource) error { time.Sleep(d); return nil }); err != nil {
				t.Fatal(err)
			}
			h := find(t, registry, "pools_use_seconds").Histogram
			if n := h.GetSampleCount(); len(h.PositiveDelta) != 1 || h.PositiveDelta[0] != int64(n) || h.PositiveSpan[0].GetOffset() != 129 {
				t.Errorf("%d: %v in %v", n, h.PositiveDelta, h.PositiveSpan)
			}
		}
	})
}

func find(t *testing.T, from prometheus.Gatherer, name string) *dto.Metric {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0]
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// Scrapes while the pool works.
func TestConcurrency(t *testing.T) {
	pool, _ := poolstest.New(t, pools.Settings{Size: 2})
	registry, _ := register(t, true, pool)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if err := pool.Use(t.Context(), func(*poolstest.Resource) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCollect(b *testing.B) {
	pool, _ := poolstest.New(b, pools.Settings{Size: 100})
	for range 1000 {
		if err := pool.Use(b.Context(), func(*poolstest.Resource) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	group := new(pools.Group)
	if err := group.Add(pool); err != nil {
		b.Fatal(err)
	}
	collector := prompools.New(group)
	metrics := make(chan prometheus.Metric, 1000)
	for b.Loop() {
		collector.Collect(metrics)
		for len(metrics) > 0 {
			<-metrics
		}
	}
}
