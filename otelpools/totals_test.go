package otelpools_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/otelpools"
)

// named makes a pool of that name, which others may have too.
func named(t *testing.T, name string) *pools.Pool[io.Closer] {
	t.Helper()
	open := pools.OpenFunc(func(context.Context) (io.Closer, error) { return io.NopCloser(nil), nil })
	pool := must(pools.New(name, open, pools.Settings{Size: 1, WaitTimeout: time.Microsecond}))(t)
	if err := pool.Fill(t.Context(), 1); err != nil { // a Pop that opens waits too
		t.Fatal(err)
	}
	return pool
}

// timeOut has so many waits of a pool end by a timeout.
func timeOut(t *testing.T, pool *pools.Pool[io.Closer], many int) {
	t.Helper()
	c := must(pool.Pop(t.Context()))(t)
	for range many {
		if _, err := pool.Pop(t.Context()); err == nil {
			t.Fatal("two have the only connection")
		}
	}
	c.Push()
}

func swap(t *testing.T, group *pools.Group, pool pools.AnyPool) {
	t.Helper()
	group.Remove(pool.Name())
	if err := group.Add(pool); err != nil {
		t.Fatal(err)
	}
}

func withTemporality(is metricdata.Temporality) sdkmetric.ManualReaderOption {
	return sdkmetric.WithTemporalitySelector(func(sdkmetric.InstrumentKind) metricdata.Temporality { return is })
}

// timeouts returns what a reader sees of the only name.
func timeouts(t *testing.T, reader sdkmetric.Reader) int64 {
	t.Helper()
	sum := collect(t, reader)["db.client.connection.timeouts"].Data.(metricdata.Sum[int64])
	if len(sum.DataPoints) != 1 || !sum.IsMonotonic {
		t.Fatalf("got %+v", sum)
	}
	return sum.DataPoints[0].Value
}

// waits returns what a producer says of a name's waits.
func waits(t *testing.T, from sdkmetric.Producer, name string) (d metricdata.HistogramDataPoint[float64]) {
	t.Helper()
	for _, s := range must(from.Produce(t.Context()))(t) {
		for _, m := range s.Metrics {
			for _, point := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				is, _ := point.Attributes.Value(attribute.Key("db.client.connection.pool.name"))
				if m.Name == "db.client.connection.wait_time" && is.AsString() == name {
					d = point
				}
			}
		}
	}
	return d
}

// A name's counter and times go on, whatever pool has the name.
func TestNameTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := new(pools.Group)
		total := sdkmetric.NewManualReader()
		delta := sdkmetric.NewManualReader(withTemporality(metricdata.DeltaTemporality))
		provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(total), sdkmetric.WithReader(delta))
		must(otelpools.Register(group, otelpools.Options{MeterProvider: provider}))(t)
		producer := must(otelpools.NewProducer(group, otelpools.Options{}))(t)
		start := time.Now()

		a, b := named(t, "db"), named(t, "db")
		timeOut(t, b, 1) // b has counted before it has the name
		for i, c := range []struct {
			pool        *pools.Pool[io.Closer]
			many        int
			total, more int64
		}{
			{a, 5, 5, 5},
			{b, 1, 7, 2},
			{nil, 0, 7, 0},
			{nil, 0, 7, 0},
			{a, 1, 8, 1},
			{nil, 0, 8, 0},
			{a, 0, 8, 0},
			{b, 9, 17, 9},
		} {
			time.Sleep(time.Second)
			if c.pool == nil {
				group.Remove("db")
			} else {
				swap(t, group, c.pool)
				timeOut(t, c.pool, c.many)
			}
			if got, more := timeouts(t, total), timeouts(t, delta); got != c.total || more != c.more {
				t.Errorf("%d: %d timeouts, %d more; want %d, %d", i, got, more, c.total, c.more)
			}
			d := waits(t, producer, "db")
			if c.pool == nil {
				if d.Count != 0 {
					t.Errorf("%d: a pool that was removed: %+v", i, d)
				}
				continue
			}
			var n uint64
			for _, in := range d.BucketCounts {
				n += in
			}
			longest, _ := d.Max.Value()
			mean := d.Sum / float64(d.Count)
			if d.Count != uint64(c.total) || n != d.Count || longest != 1e-6 || mean < 0.999e-6 || mean > 1.001e-6 {
				t.Errorf("%d: got %+v, want %d of a microsecond", i, d, c.total)
			}
			if !d.StartTime.Equal(start) || !d.Time.Equal(time.Now()) {
				t.Errorf("%d: from %v to %v, began %v", i, d.StartTime, d.Time, start)
			}
		}
	})
}

// What was counted before there was a producer, it was counted after the start.
func TestStart(t *testing.T) {
	early := time.Now()
	pool := named(t, "db")
	timeOut(t, pool, 1)
	group := groupOf(t, pool)
	producer := must(otelpools.NewProducer(group, otelpools.Options{}))(t)
	late := named(t, "late")
	timeOut(t, late, 1)
	waits(t, producer, "db")
	if err := group.Add(late); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"db", "late"} {
		if d := waits(t, producer, name); d.Count != 1 || d.StartTime.After(early) {
			t.Errorf("%s: got %+v, began %v", name, d, early)
		}
	}
}

// A pool that was removed can be collected, and what it counted stays.
func TestDropped(t *testing.T) {
	pool := named(t, "db")
	timeOut(t, pool, 3)
	group := groupOf(t, pool)
	reader := sdkmetric.NewManualReader()
	must(otelpools.Register(group, otelpools.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}))(t)
	producer := must(otelpools.NewProducer(group, otelpools.Options{}))(t)
	if n, d := timeouts(t, reader), waits(t, producer, "db"); n != 3 || d.Count != 3 {
		t.Errorf("got %d timeouts, %+v", n, d)
	}
	group.Remove("db")
	dropped := weak.Make(pool)
	pool = nil
	// Collections are real: wait for them in real time, bounded.
	for end := time.Now().Add(20 * time.Second); dropped.Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("the pool is still there")
		}
		runtime.Gosched()
	}
	if n := timeouts(t, reader); n != 3 {
		t.Errorf("got %d timeouts", n)
	}
	next := named(t, "db")
	timeOut(t, next, 1)
	swap(t, group, next)
	for range 2 { // its total is not counted again
		if n, d := timeouts(t, reader), waits(t, producer, "db"); n != 4 || d.Count != 4 {
			t.Errorf("got %d timeouts, %+v", n, d)
		}
	}
}

// Of names that do not come again only so many are kept.
func TestManyNames(t *testing.T) {
	group := new(pools.Group)
	reader := sdkmetric.NewManualReader()
	must(otelpools.Register(group, otelpools.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}))(t)
	producer := must(otelpools.NewProducer(group, otelpools.Options{}))(t)
	stays := named(t, "stays")
	timeOut(t, stays, 1)
	none := named(t, "none") // has no timeouts, which could fall: its series ends
	var all []pools.AnyPool
	for i := range 1001 {
		pool := named(t, fmt.Sprint("tenant ", i))
		timeOut(t, pool, 1)
		all = append(all, pool)
	}
	if err := group.Add(append(all, stays, none)...); err != nil {
		t.Fatal(err)
	}
	series := func() int {
		sum, _ := collect(t, reader)["db.client.connection.timeouts"].Data.(metricdata.Sum[int64])
		return len(sum.DataPoints)
	}
	if n := series(); n != 1003 {
		t.Errorf("%d series", n)
	}
	group.Remove("none")
	if n := series(); n != 1002 {
		t.Errorf("%d series", n)
	}
	first := waits(t, producer, "tenant 0")
	for _, pool := range all[1:] {
		group.Remove(pool.Name())
	}
	waits(t, producer, "tenant 0")
	if n := series(); n != 1002 {
		t.Errorf("1000 are gone: %d series", n)
	}
	group.Remove("tenant 0")
	waits(t, producer, "")
	if n := series(); n != 1 {
		t.Errorf("1001 are gone: %d series", n)
	}
	swap(t, group, all[0])
	if d := waits(t, producer, "tenant 0"); d.Count != 1 || !d.StartTime.After(first.Time) {
		t.Errorf("began %v, and after it was forgotten %+v", first.StartTime, d)
	}
	if d := waits(t, producer, "stays"); d.Count != 1 || !d.StartTime.Equal(first.StartTime) {
		t.Errorf("one that stays: %+v", d)
	}
}

// No reader sees a counter fall while pools take turns.
func TestNameTakenAtOnce(t *testing.T) {
	a, b := named(t, "db"), named(t, "db")
	timeOut(t, a, 1)
	timeOut(t, b, 3)
	group := groupOf(t, a)
	readers := []sdkmetric.Reader{sdkmetric.NewManualReader(), sdkmetric.NewManualReader()}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(readers[0]), sdkmetric.WithReader(readers[1]))
	must(otelpools.Register(group, otelpools.Options{MeterProvider: provider}))(t)
	timeouts(t, readers[0]) // the name is known: the group may be empty for a moment
	var wg sync.WaitGroup
	for _, reader := range readers {
		wg.Go(func() {
			var latest int64
			for range 200 {
				if n := timeouts(t, reader); n < latest {
					t.Errorf("%d timeouts, then %d", latest, n)
				} else {
					latest = n
				}
			}
		})
	}
	for range 100 {
		swap(t, group, b)
		swap(t, group, a)
		timeOut(t, a, 1)
	}
	wg.Wait()
}

// A struct around a pool is told about as it is.
func TestAround(t *testing.T) {
	pool := named(t, "db")
	timeOut(t, pool, 2)
	group := groupOf(t, struct{ pools.AnyPool }{pool})
	reader := sdkmetric.NewManualReader()
	must(otelpools.Register(group, otelpools.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}))(t)
	for range 2 {
		if n := timeouts(t, reader); n != 2 {
			t.Errorf("got %d timeouts", n)
		}
	}
}
