// Package otelpools tells OpenTelemetry about pools: counts, times and spans,
// by the semantic conventions for database clients (db.client.connection.*,
// version 1.43).
//
//	var group pools.Group // with all pools, or one
//	...
//	registration, err := otelpools.Register(&group, otelpools.Options{})
//	times, err := otelpools.NewProducer(&group, otelpools.Options{})
//	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(times))
//
// # Counts
//
// [Register] observes each pool of a group when metrics are collected, and
// costs nothing in between:
//
//	db.client.connection.count             by state, idle or used
//	db.client.connection.max               Size
//	db.client.connection.idle.min          MinIdle
//	db.client.connection.idle.max          Size: all may be idle
//	db.client.connection.pending_requests  goroutines that wait
//	db.client.connection.timeouts          waits that ended by a timeout
//
// Timeouts is a counter, of all pools that had the name one after another.
//
// The convention knows two states. Idle is what may be lent, if need be after
// a check; used is every other open connection: lent, being checked, reset or
// closed, or kept by a call that hangs. One that is being opened is neither.
//
// # Times
//
// There are two ways to db.client.connection.create_time, wait_time and
// use_time, with the same buckets. Take one of them, or each time is told
// twice.
//
// [NewProducer] hands over the histograms that each pool keeps anyway. A use
// costs nothing, since no instrument is called; that is why it is the one to
// prefer. It is for whoever makes the SDK's reader. The SDK's views do not
// apply to it, its temporality is always cumulative, since the program began,
// and use_time is of samples ([pools.Stats]).
//
// [NewObserver] records each time as it comes. It works with any
// MeterProvider, with views and with delta temporality, and use_time is of
// every use that began since the observer was set; that makes a Pop with its
// Push some 400 ns dearer.
//
// The times of a name go on when another pool takes it, as the counter does.
//
// wait_time is of the Pops that had to wait, also of those that failed: the
// others took no time.
//
// # Spans
//
// [Connector] makes a span of each open that somebody waits for, [Pop] and
// [Use] one of each wait. They need no provider: a span is made by the one
// that made the span in ctx, and without a sampled span in ctx there is none.
package otelpools

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/utopia-go/pools"
)

const scope = "github.com/utopia-go/pools/otelpools"

// Options say how pools are told about. The zero value is the global
// MeterProvider and the names of the semantic conventions.
type Options struct {
	// MeterProvider makes the instruments. Default: otel.GetMeterProvider().
	// NewProducer makes none and refuses one.
	MeterProvider metric.MeterProvider

	// Names says by which names. Default: SemanticNames.
	Names Names

	// Attributes are added to all, for example semconv.DBSystemNameRedis.
	// They must not be those that say which pool, or which state.
	Attributes []attribute.KeyValue
}

// Names are names of metrics.
type Names uint8

const (
	// SemanticNames are db.client.connection.*, with the attribute
	// db.client.connection.pool.name.
	SemanticNames Names = iota

	// PoolNames are those of utopia-php/pools, with the attribute pool: the
	// gauges pool.connection.open.count, active.count (lent), idle.count and
	// capacity.count (slots that are taken, also by a connection that is being
	// opened), and the histograms pool.connection.wait_time and use_time. Its
	// attribute size is left out: a Size may change, and would end each series.
	PoolNames

	// BothNames are both.
	BothNames
)

func (n Names) semantic() bool { return n != PoolNames }
func (n Names) ours() bool     { return n != SemanticNames }

const poolKey = attribute.Key("pool")

var taken = map[attribute.Key]bool{
	poolKey: true, semconv.DBClientConnectionPoolNameKey: true, semconv.DBClientConnectionStateKey: true,
}

// check returns every fault.
func (o Options) check(in string) error {
	var faults []error
	if o.Names > BothNames {
		faults = append(faults, fault(in, "Options.Names is %d; give SemanticNames, PoolNames or BothNames", o.Names))
	}
	for i, a := range o.Attributes {
		switch {
		case !a.Valid():
			faults = append(faults, fault(in, "Options.Attributes[%d] has no key or no value; give both", i))
		case taken[a.Key]:
			faults = append(faults, fault(in, "Options.Attributes[%d] is %q, which each pool has of its own; leave it out", i, a.Key))
		}
	}
	return errors.Join(faults...)
}

func checkGroup(in string, group *pools.Group) error {
	if group == nil {
		return fault(in, "group is nil; give a *pools.Group, if need be one with a single pool")
	}
	return nil
}

func fault(in, format string, args ...any) error {
	return fmt.Errorf("otelpools: %s: %s", in, fmt.Sprintf(format, args...))
}

func (o Options) meter() metric.Meter {
	provider := o.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	return provider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}

// set is the attributes of something about a pool.
func (o Options) set(about ...attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(about, o.Attributes...)...)
}

func (o Options) semanticSet(pool string) attribute.Set {
	return o.set(semconv.DBClientConnectionPoolName(pool))
}

func (o Options) poolSet(pool string) attribute.Set { return o.set(poolKey.String(pool)) }
