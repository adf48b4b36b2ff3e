package otelpools

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/utopia-go/pools"
)

// Register has the pools of a group observed whenever metrics are collected:
// those that are in it then. Each costs one [pools.Pool.Stats] and one
// Settings. Unregister ends it. Two groups may be registered, if no two of
// their pools have one name.
//
// A counter goes on where it was when another pool takes the name of one that
// was removed, and until then it stays: one that ended would be counted again
// when it comes back, with delta temporality. Only when more than 1000 names
// have gone are these forgotten.
func Register(group *pools.Group, o Options) (metric.Registration, error) {
	if err := errors.Join(checkGroup("Register", group), o.check("Register")); err != nil {
		return nil, err
	}
	meter := o.meter()
	var m, counters meters
	if o.Names.semantic() {
		m, counters = semanticMeters(meter, o)
		m = append(m, counters...)
	}
	if o.Names.ours() {
		m = append(m, poolMeters(meter, o)...)
	}
	var faults []error
	var instruments []metric.Observable
	for _, one := range m {
		faults = append(faults, one.err)
		instruments = append(instruments, one.instrument)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	timeouts := newTotals[number]()
	return meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		tell := func(m meters, name string, now snapshot) {
			for _, one := range m {
				to.ObserveInt64(one.instrument, one.value(now), metric.WithAttributeSet(one.set(name)))
			}
		}
		timeouts.Lock() // each reader calls this
		defer timeouts.Unlock()
		for name, pool := range group.All() {
			now := snapshot{Stats: pool.Stats(), minIdle: pool.Settings().MinIdle}
			now.timeouts, _ = timeouts.set(name, pool, number(now.TimedOut))
			tell(m, name, now)
		}
		for name, n := range timeouts.end() {
			tell(counters, name, snapshot{timeouts: n})
		}
		return nil
	}, instruments...)
}

// snapshot is a pool at one moment.
type snapshot struct {
	pools.Stats
	minIdle  int
	timeouts number // of all pools that had the name
}

type number int64

func (n number) plus(other number) number { return n + other }

func (s snapshot) idle() int64 { return int64(s.Idle + s.Stale) }
func (s snapshot) lent() int64 { return int64(s.Held + s.Revoked) }
func (s snapshot) used() int64 {
	return s.lent() + int64(s.Checking+s.Resetting+s.Returning+s.Closing+s.Hung)
}

// meters are instruments, with where their value comes from.
type meters []struct {
	instrument metric.Int64Observable
	err        error
	set        func(pool string) attribute.Set
	value      func(snapshot) int64
}

func semanticMeters(meter metric.Meter, o Options) (gauges, counters meters) {
	count, countErr := dbconv.NewClientConnectionCountObservable(meter)
	most, mostErr := dbconv.NewClientConnectionMaxObservable(meter)
	idleMin, idleMinErr := dbconv.NewClientConnectionIdleMinObservable(meter)
	idleMax, idleMaxErr := dbconv.NewClientConnectionIdleMaxObservable(meter)
	pending, pendingErr := dbconv.NewClientConnectionPendingRequestsObservable(meter)
	timeouts, timeoutsErr := dbconv.NewClientConnectionTimeoutsObservable(meter)
	size := func(s snapshot) int64 { return int64(s.Size) }
	in := func(state dbconv.ClientConnectionStateAttr) func(string) attribute.Set {
		return func(pool string) attribute.Set {
			return o.set(semconv.DBClientConnectionPoolName(pool), count.AttrClientConnectionState(state))
		}
	}
	gauges = meters{
		{count.Inst(), countErr, in(dbconv.ClientConnectionStateIdle), snapshot.idle},
		{count.Inst(), countErr, in(dbconv.ClientConnectionStateUsed), snapshot.used},
		{most.Inst(), mostErr, o.semanticSet, size},
		{idleMin.Inst(), idleMinErr, o.semanticSet, func(s snapshot) int64 { return int64(s.minIdle) }},
		{idleMax.Inst(), idleMaxErr, o.semanticSet, size},
		{pending.Inst(), pendingErr, o.semanticSet, func(s snapshot) int64 { return int64(s.Waiting) }},
	}
	counters = meters{{timeouts.Inst(), timeoutsErr, o.semanticSet, func(s snapshot) int64 { return int64(s.timeouts) }}}
	return gauges, counters
}

func poolMeters(meter metric.Meter, o Options) (m meters) {
	for _, one := range []struct {
		name, description string
		value             func(snapshot) int64
	}{
		{"open", "Connections that are open.", func(s snapshot) int64 { return s.idle() + s.used() }},
		{"active", "Connections that are lent.", snapshot.lent},
		{"idle", "Connections that are idle.", snapshot.idle},
		{"capacity", "Slots that are taken by a connection, also by one that is being opened.", func(s snapshot) int64 {
			return int64(s.Size + s.Excess - s.Vacant)
		}},
	} {
		gauge, err := meter.Int64ObservableGauge("pool.connection."+one.name+".count",
			metric.WithDescription(one.description), metric.WithUnit("{connection}"))
		m = append(m, meters{{gauge, err, o.poolSet, one.value}}...)
	}
	return m
}
