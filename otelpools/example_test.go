package otelpools_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/otelpools"
)

type conn struct{}

func (*conn) Close() {}

// A real program gives the exporter of its choice to
// sdkmetric.NewPeriodicReader; this one collects by hand.
func Example() {
	ctx := context.Background()
	connector := pools.OpenFunc(func(context.Context) (*conn, error) { return new(conn), nil })
	pool, err := pools.New("cache", otelpools.Connector(connector, "cache"), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)
	var group pools.Group
	if err := group.Add(pool); err != nil {
		log.Fatal(err)
	}

	times, err := otelpools.NewProducer(&group, otelpools.Options{})
	if err != nil {
		log.Fatal(err)
	}
	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(times))
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer provider.Shutdown(ctx)
	registration, err := otelpools.Register(&group, otelpools.Options{MeterProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	defer registration.Unregister()

	// Within a request that is traced, this makes a span if it has to wait.
	err = otelpools.Use(ctx, pool, func(*conn) error { return nil })
	if err != nil {
		log.Fatal(err)
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			names = append(names, m.Name+" "+m.Unit)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Println(name)
	}
	// Output:
	// db.client.connection.count {connection}
	// db.client.connection.create_time s
	// db.client.connection.idle.max {connection}
	// db.client.connection.idle.min {connection}
	// db.client.connection.max {connection}
	// db.client.connection.pending_requests {request}
	// db.client.connection.timeouts {timeout}
	// db.client.connection.use_time s
	// db.client.connection.wait_time s
}
