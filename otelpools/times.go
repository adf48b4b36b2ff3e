package otelpools

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/utopia-go/pools"
)

// timing is one of the three times of a pool, under one name.
type timing struct {
	name, description string
	set               func(pool string) attribute.Set
	of                func(*times) *spread
	kind              pools.EventKind
}

func (o Options) timings() (all []timing) {
	waits := func(t *times) *spread { return &t.wait }
	uses := func(t *times) *spread { return &t.use }
	if o.Names.semantic() {
		var create dbconv.ClientConnectionCreateTime
		var wait dbconv.ClientConnectionWaitTime
		var use dbconv.ClientConnectionUseTime
		opens := func(t *times) *spread { return &t.open }
		all = append(all,
			timing{create.Name(), create.Description(), o.semanticSet, opens, pools.EventOpened},
			timing{wait.Name(), wait.Description(), o.semanticSet, waits, pools.EventWaited},
			timing{use.Name(), use.Description(), o.semanticSet, uses, pools.EventPushed})
	}
	if o.Names.ours() {
		all = append(all,
			timing{"pool.connection.wait_time", "How long Pops had to wait.", o.poolSet, waits, pools.EventWaited},
			timing{"pool.connection.use_time", "How long connections were lent.", o.poolSet, uses, pools.EventPushed})
	}
	return all
}

// The buckets of the times are bounded by each power of two of nanoseconds
// from 4 microseconds to 69 seconds. A pool's own buckets are bounded by these
// too, so that none of them has to be divided.
const firstPower, lastPower = 12, 36

var bounds = func() (b []float64) {
	for power := firstPower; power <= lastPower; power++ {
		b = append(b, time.Duration(1<<power).Seconds())
	}
	return b
}()

// times are what a pool's histograms say.
type times struct{ open, wait, use spread }

func timesOf(s pools.Stats) times {
	return times{spreadOf(s.Open), spreadOf(s.Wait), spreadOf(s.Use)}
}

func (t times) plus(other times) times {
	return times{t.open.plus(other.open), t.wait.plus(other.wait), t.use.plus(other.use)}
}

// spread is a histogram over the buckets of bounds.
type spread struct {
	count   uint64
	sum     time.Duration
	longest time.Duration
	buckets [lastPower - firstPower + 2]uint64
}

func spreadOf(h pools.Histogram) spread {
	s := spread{count: h.Count, sum: h.Sum, longest: h.Max}
	i := 0
	for _, b := range h.Buckets {
		for i < len(bounds) && b.From >= 1<<(firstPower+i) {
			i++
		}
		s.buckets[i] += b.Count
	}
	return s
}

func (s spread) plus(other spread) spread {
	s.count += other.count
	if s.sum += other.sum; s.sum < 0 {
		s.sum = math.MaxInt64 // and stays there, as a pool's own
	}
	s.longest = max(s.longest, other.longest)
	for i, n := range other.buckets {
		s.buckets[i] += n
	}
	return s
}

// NewObserver makes an observer that records the times of all pools to whose
// Settings it is given, see the package's comment. Where there is another one,
// [pools.Observers] joins them. It is safe for any number of goroutines.
func NewObserver(o Options) (*pools.Observer, error) {
	if err := o.check("NewObserver"); err != nil {
		return nil, err
	}
	meter := o.meter()
	var faults []error
	by := map[pools.EventKind][]*recorder{}
	for _, t := range o.timings() {
		h, err := meter.Float64Histogram(t.name, metric.WithDescription(t.description), metric.WithUnit("s"),
			metric.WithExplicitBucketBoundaries(bounds...))
		faults = append(faults, err)
		by[t.kind] = append(by[t.kind], &recorder{to: h, set: t.set})
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	record := func(e pools.Event) {
		for _, r := range by[e.Kind] {
			r.record(e)
		}
	}
	return &pools.Observer{Event: record, Waited: record, Pushed: record}, nil
}

type recorder struct {
	to   metric.Float64Histogram
	set  func(pool string) attribute.Set
	sets sync.Map // the options with the set of each pool
	many atomic.Int64
}

// mostSets is how many sets are kept: some of them may be of pools that are no
// more. The SDK does not keep more apart by default.
const mostSets = 2000

func (r *recorder) record(e pools.Event) {
	with, ok := r.sets.Load(e.Pool)
	if !ok {
		if r.many.Add(1) > mostSets {
			r.sets.Clear()
			r.many.Store(1)
		}
		with, _ = r.sets.LoadOrStore(e.Pool, []metric.RecordOption{metric.WithAttributeSet(r.set(e.Pool))})
	}
	r.to.Record(context.Background(), e.Took.Seconds(), with.([]metric.RecordOption)...)
}

// NewProducer makes a producer that hands the times of a group's pools over,
// see the package's comment: give it to the reader or the exporter, by its
// option WithProducer. A collection costs one [pools.Pool.Stats] for each pool
// that is in the group then. It is safe for any number of goroutines.
func NewProducer(group *pools.Group, o Options) (sdkmetric.Producer, error) {
	err := errors.Join(checkGroup("NewProducer", group), o.check("NewProducer"))
	if o.MeterProvider != nil {
		err = errors.Join(err, fault("NewProducer", "Options.MeterProvider is set, but a producer makes no instruments; leave it nil, and give the producer to a reader"))
	}
	if err != nil {
		return nil, err
	}
	return &producer{group, o.timings(), newTotals[times]()}, nil
}

// producer hands over all that was counted since the program began. This is
// the simplest that is right: neither a pool nor a group says since when it is
// there, and one that began later would leave out, for example, a pool's first
// opens.
type producer struct {
	group   *pools.Group
	timings []timing
	totals  *totals[times]
}

// Produce returns the times of all pools that are in the group.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	p.totals.Lock()
	defer p.totals.Unlock()
	points := make([][]metricdata.HistogramDataPoint[float64], len(p.timings))
	for name, pool := range p.group.All() {
		all, start := p.totals.set(name, pool, timesOf(pool.Stats()))
		now := time.Now()
		for i, t := range p.timings {
			points[i] = append(points[i], point(t.of(&all), t.set(name), start, now))
		}
	}
	p.totals.end()
	if len(points[0]) == 0 {
		return nil, nil
	}
	scoped := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope, SchemaURL: semconv.SchemaURL}}
	for i, t := range p.timings {
		scoped.Metrics = append(scoped.Metrics, metricdata.Metrics{
			Name: t.name, Description: t.description, Unit: "s",
			Data: metricdata.Histogram[float64]{DataPoints: points[i], Temporality: metricdata.CumulativeTemporality},
		})
	}
	return []metricdata.ScopeMetrics{scoped}, nil
}

func point(s *spread, set attribute.Set, start, now time.Time) metricdata.HistogramDataPoint[float64] {
	d := metricdata.HistogramDataPoint[float64]{
		Attributes: set, StartTime: start, Time: now,
		Count: s.count, Sum: s.sum.Seconds(), Bounds: slices.Clone(bounds), BucketCounts: slices.Clone(s.buckets[:]),
	}
	if s.count > 0 {
		d.Max = metricdata.NewExtrema(s.longest.Seconds())
	}
	return d
}
