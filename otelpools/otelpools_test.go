package otelpools_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/otelpools"
	"github.com/utopia-go/pools/poolstest"
)

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func groupOf(t *testing.T, all ...pools.AnyPool) *pools.Group {
	t.Helper()
	group := new(pools.Group)
	if err := group.Add(all...); err != nil {
		t.Fatal(err)
	}
	return group
}

// collect returns what a reader sees, by name.
func collect(t *testing.T, reader sdkmetric.Reader) map[string]metricdata.Metrics {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	all := map[string]metricdata.Metrics{}
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			if _, twice := all[m.Name]; twice {
				t.Errorf("%s comes twice", m.Name)
			}
			all[m.Name] = m
		}
	}
	return all
}

// values returns the values of what counts, by "name{attributes}".
func values(all map[string]metricdata.Metrics) map[string]int64 {
	v := map[string]int64{}
	add := func(m metricdata.Metrics, points []metricdata.DataPoint[int64]) {
		for _, d := range points {
			v[m.Name+"{"+d.Attributes.Encoded(attribute.DefaultEncoder())+"} "+m.Unit] = d.Value
		}
	}
	for _, m := range all {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			add(m, data.DataPoints)
		case metricdata.Gauge[int64]:
			add(m, data.DataPoints)
		}
	}
	return v
}

// busy has a pool of 4: one lent, one idle, one opening, one vacant; a wait
// timed out.
func busy(t *testing.T, o *pools.Observer) (pool *pools.Pool[*poolstest.Resource], end func()) {
	pool, server := poolstest.New(t, pools.Settings{Size: 4, MinIdle: 1, Observer: o}, poolstest.WithCheck)
	if err := pool.Configure(func(s *pools.Settings) { s.WaitTimeout = time.Second }); err != nil {
		t.Fatal(err)
	}
	server.Open.Next(poolstest.Delay(30 * time.Millisecond))
	a := poolstest.Pop(t, pool)
	time.Sleep(30 * time.Millisecond)
	a.Has()
	time.Sleep(5 * time.Second) // MinIdle
	b := poolstest.Pop(t, pool)
	b.Has()
	server.Open.Always(poolstest.Delay(4 * time.Second))
	c := poolstest.Pop(t, pool)
	time.Sleep(time.Second)
	c.Fails(pools.ErrWaitTimeout)
	b.Push()
	synctest.Wait()
	return pool, func() { a.Push(); server.Open.Clear(); time.Sleep(10 * time.Second) }
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, end := busy(t, nil)
		group := groupOf(t, pool)
		reader := sdkmetric.NewManualReader()
		registration := must(otelpools.Register(group, otelpools.Options{
			MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
			Names:         otelpools.BothNames,
			Attributes:    []attribute.KeyValue{attribute.String("db.system.name", "redis")},
		}))(t)

		name := pool.Name()
		semantic := "{db.client.connection.pool.name=" + name
		stats := pool.Stats()
		want := map[string]int64{
			"db.client.connection.count" + semantic + ",db.client.connection.state=idle,db.system.name=redis} {connection}": 1,
			"db.client.connection.count" + semantic + ",db.client.connection.state=used,db.system.name=redis} {connection}": 1,
			"db.client.connection.max" + semantic + ",db.system.name=redis} {connection}":                                   4,
			"db.client.connection.idle.min" + semantic + ",db.system.name=redis} {connection}":                              1,
			"db.client.connection.idle.max" + semantic + ",db.system.name=redis} {connection}":                              4,
			"db.client.connection.pending_requests" + semantic + ",db.system.name=redis} {request}":                         0,
			"db.client.connection.timeouts" + semantic + ",db.system.name=redis} {timeout}":                                 1,
			"pool.connection.open.count{db.system.name=redis,pool=" + name + "} {connection}":                               2,
			"pool.connection.active.count{db.system.name=redis,pool=" + name + "} {connection}":                             1,
			"pool.connection.idle.count{db.system.name=redis,pool=" + name + "} {connection}":                               1,
			"pool.connection.capacity.count{db.system.name=redis,pool=" + name + "} {connection}":                           int64(stats.Size - stats.Vacant),
		}
		if got := values(collect(t, reader)); !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v\nof %+v", got, want, stats)
		}

		time.Sleep(10 * time.Second) // the three that are idle by now are to be checked
		idle := "db.client.connection.count" + semantic + ",db.client.connection.state=idle,db.system.name=redis} {connection}"
		if got := values(collect(t, reader))[idle]; got != 3 || pool.Stats().Stale != 3 {
			t.Errorf("%d are idle of %+v", got, pool.Stats())
		}

		group.Remove(name)
		timeouts := "db.client.connection.timeouts" + semantic + ",db.system.name=redis} {timeout}"
		if got := values(collect(t, reader)); len(got) != 1 || got[timeouts] != 1 {
			t.Errorf("a pool that was removed: %v", got)
		}
		if err := errors.Join(group.Add(pool), registration.Unregister()); err != nil {
			t.Fatal(err)
		}
		if got := values(collect(t, reader)); len(got) != 0 {
			t.Errorf("unregistered: %v", got)
		}
		end()
	})
}

// Both ways to the times tell the same: what a use took is exact when an
// Observer asks for it.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorded := sdkmetric.NewManualReader()
		options := otelpools.Options{Names: otelpools.BothNames}
		group := new(pools.Group)
		produced := sdkmetric.NewManualReader(sdkmetric.WithProducer(must(otelpools.NewProducer(group, options))(t)))
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(produced)) // a reader without a provider gives nothing
		if got := collect(t, produced); len(got) != 0 {
			t.Errorf("an empty group: %v", got)
		}
		options.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(recorded))
		observer := must(otelpools.NewObserver(options))(t)

		pool, end := busy(t, observer)
		if err := group.Add(pool); err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if err := pool.Use(t.Context(), func(*poolstest.Resource) error {
				time.Sleep(1<<i + 1) // just more than a border
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		end()

		points := func(reader sdkmetric.Reader) map[string]metricdata.HistogramDataPoint[float64] {
			all := map[string]metricdata.HistogramDataPoint[float64]{}
			for name, m := range collect(t, reader) {
				h := m.Data.(metricdata.Histogram[float64])
				if m.Unit != "s" || h.Temporality != metricdata.CumulativeTemporality || len(h.DataPoints) != 1 {
					t.Errorf("%s: unit %q, %v, %d points", name, m.Unit, h.Temporality, len(h.DataPoints))
				}
				all[name] = h.DataPoints[0]
			}
			return all
		}
		want, got := points(recorded), points(produced)
		names := slices.Sorted(maps.Keys(got))
		if all := []string{
			"db.client.connection.create_time", "db.client.connection.use_time", "db.client.connection.wait_time",
			"pool.connection.use_time", "pool.connection.wait_time",
		}; !slices.Equal(names, all) || len(want) != len(all) {
			t.Fatalf("got %v, recorded %d", names, len(want))
		}
		for name, w := range want {
			g := got[name]
			if g.Attributes != w.Attributes || g.Count != w.Count || !slices.Equal(g.Bounds, w.Bounds) || !slices.Equal(g.BucketCounts, w.BucketCounts) {
				t.Errorf("%s:\nproduced %+v\nrecorded %+v", name, g, w)
			}
			if d := g.Sum - w.Sum; d > 1e-6 || d < -1e-6 {
				t.Errorf("%s: the sum is %v, recorded %v", name, g.Sum, w.Sum)
			}
			if !g.StartTime.Before(g.Time) {
				t.Errorf("%s: from %v to %v", name, g.StartTime, g.Time)
			}
			gm, _ := g.Max.Value()
			if wm, _ := w.Max.Value(); gm != wm {
				t.Errorf("%s: the longest is %v, recorded %v", name, gm, wm)
			}
		}
		first := got["db.client.connection.use_time"].StartTime
		time.Sleep(time.Second)
		if again := points(produced)["db.client.connection.use_time"]; !again.StartTime.Equal(first) || !again.Time.After(got["db.client.connection.use_time"].Time) {
			t.Errorf("began %v, then %v", first, again.StartTime)
		}
	})
}

// What a real exporter writes.
func TestExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		exporter := must(stdoutmetric.New(stdoutmetric.WithWriter(&out)))(t)
		pool, end := busy(t, nil)
		group := groupOf(t, pool)
		times := must(otelpools.NewProducer(group, otelpools.Options{}))(t)
		reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(times))
		provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		must(otelpools.Register(group, otelpools.Options{MeterProvider: provider}))(t)
		end()
		if err := provider.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		last := out.Bytes()[bytes.LastIndexByte(bytes.TrimSpace(out.Bytes()), '\n')+1:]
		var written struct {
			ScopeMetrics []struct {
				Scope   struct{ Name string }
				Metrics []struct {
					Name, Unit string
					Data       struct {
						DataPoints []struct{ Value, Count, Sum float64 }
					}
				}
			}
		}
		if err := json.Unmarshal(last, &written); err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, s := range written.ScopeMetrics {
			if s.Scope.Name != "github.com/utopia-go/pools/otelpools" {
				t.Errorf("scope %q", s.Scope.Name)
			}
			for _, m := range s.Metrics {
				for _, d := range m.Data.DataPoints {
					got[m.Name+" "+m.Unit] += d.Value + d.Count
				}
			}
		}
		st := pool.Stats()
		want := map[string]float64{
			"db.client.connection.count {connection}":         float64(st.Idle + st.Stale),
			"db.client.connection.max {connection}":           4,
			"db.client.connection.idle.min {connection}":      1,
			"db.client.connection.idle.max {connection}":      4,
			"db.client.connection.pending_requests {request}": 0,
			"db.client.connection.timeouts {timeout}":         1,
			"db.client.connection.create_time s":              float64(st.Opened),
			"db.client.connection.wait_time s":                float64(st.Waits),
			"db.client.connection.use_time s":                 float64(st.Use.Count),
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v\n%s", got, want, last)
		}
	})
}

func TestFaults(t *testing.T) {
	group := new(pools.Group)
	for _, c := range []struct {
		group   *pools.Group
		options otelpools.Options
		want    []string
	}{
		{nil, otelpools.Options{}, []string{"group is nil; give"}},
		{group, otelpools.Options{Names: 7}, []string{"Options.Names is 7; give SemanticNames"}},
		{nil, otelpools.Options{Names: 3, Attributes: []attribute.KeyValue{{}, attribute.String("pool", "a")}},
			[]string{"group is nil", "Options.Names is 3", "Options.Attributes[0] has no key", `Options.Attributes[1] is "pool"`}},
	} {
		_, register := otelpools.Register(c.group, c.options)
		_, produce := otelpools.NewProducer(c.group, c.options)
		_, observe := otelpools.NewObserver(c.options)
		for i, err := range []error{register, produce, observe} {
			for _, want := range c.want {
				if strings.Contains(want, "group") && i == 2 {
					continue // an observer needs none
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%d: got %v, want %q", i, err, want)
				}
			}
		}
	}
	_, err := otelpools.NewProducer(group, otelpools.Options{MeterProvider: sdkmetric.NewMeterProvider()})
	if err == nil || !strings.Contains(err.Error(), "leave it nil") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkObserver(b *testing.B) {
	observer, err := otelpools.NewObserver(otelpools.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))})
	if err != nil {
		b.Fatal(err)
	}
	event := pools.Event{Kind: pools.EventPushed, Pool: "a", Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		observer.Pushed(event)
	}
}

// heap returns how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// An observer does not keep something of every name that there ever was.
func TestObserverOfManyNames(t *testing.T) {
	observer := must(otelpools.NewObserver(otelpools.Options{MeterProvider: noop.NewMeterProvider()}))(t)
	before := heap()
	for i := range 50_000 {
		observer.Waited(pools.Event{Kind: pools.EventWaited, Pool: "tenant " + strconv.Itoa(i)})
	}
	if kept := int64(heap() - before); kept > 2<<20 {
		t.Errorf("%d KiB are kept", kept>>10)
	}
	runtime.KeepAlive(observer)
}
