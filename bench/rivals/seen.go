package rivals

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/otelpools"
	"github.com/utopia-go/pools/poolsdebug"
	"github.com/utopia-go/pools/prompools"
)

// What it costs to be seen. Whatever looks now and then does so ten times a
// second here, so that each measurement has some of it.
const lookEvery = 100 * time.Millisecond

var (
	oursPage = seen("pools, page", "the same while somebody has the page of poolsdebug open: a snapshot a second",
		func(group *pools.Group) (*pools.Observer, func(stop <-chan struct{})) {
			return nil, func(stop <-chan struct{}) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				go func() { <-stop; cancel() }()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/live?pool=bench", nil)
				if err != nil {
					panic(err)
				}
				poolsdebug.New(group, poolsdebug.Options{}).ServeHTTP(nobody{http.Header{}}, r)
			}
		})
	oursPrometheus = seen("pools, Prometheus", "the same while prompools is scraped ten times a second",
		func(group *pools.Group) (*pools.Observer, func(stop <-chan struct{})) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(prompools.New(group))
			return nil, regularly(func() {
				if _, err := registry.Gather(); err != nil {
					panic(err)
				}
			})
		})
	oursOTel = seen("pools, OpenTelemetry", "the same while a reader collects from otelpools.Register and NewProducer ten times a second",
		func(group *pools.Group) (*pools.Observer, func(stop <-chan struct{})) {
			times, err := otelpools.NewProducer(group, otelpools.Options{})
			if err != nil {
				panic(err)
			}
			reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(times))
			provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
			if _, err := otelpools.Register(group, otelpools.Options{MeterProvider: provider}); err != nil {
				panic(err)
			}
			return nil, regularly(func() {
				var all metricdata.ResourceMetrics
				if err := reader.Collect(context.Background(), &all); err != nil {
					panic(err)
				}
			})
		})
	oursOTelEach = seen("pools, OpenTelemetry each", "the same with otelpools.NewObserver, which records each use",
		func(*pools.Group) (*pools.Observer, func(stop <-chan struct{})) {
			provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
			o, err := otelpools.NewObserver(otelpools.Options{MeterProvider: provider})
			if err != nil {
				panic(err)
			}
			return o, func(stop <-chan struct{}) { <-stop }
		})
	oursObserver = seen("pools, Observer", "the same with an Observer of every pop and push, whose functions do nothing",
		func(*pools.Group) (*pools.Observer, func(stop <-chan struct{})) {
			nothing := func(pools.Event) {}
			return &pools.Observer{Event: nothing, Popped: nothing, Pushed: nothing, Waited: nothing}, func(stop <-chan struct{}) { <-stop }
		})
)

// seen is a variant of ours that somebody looks at: by an Observer, by what
// look does until it is stopped, or both.
func seen(name, what string, look func(*pools.Group) (*pools.Observer, func(stop <-chan struct{}))) Rival {
	return Rival{
		Name: name, Kind: Variant, Module: ours.Module, Real: ours.Real, Package: ours.Package, What: what,
		New: func(size int, open func() *Resource) Pool {
			group := new(pools.Group)
			observer, watch := look(group)
			p := newOurs(size, open, pools.Connector[*Resource]{}, pools.Settings{Observer: observer})
			if err := group.Add(p); err != nil {
				panic(err)
			}
			w := &watched{oursPool: oursPool{p}, stop: make(chan struct{})}
			w.all.Go(func() { watch(w.stop) })
			return w
		},
	}
}

type watched struct {
	oursPool
	stop chan struct{}
	all  sync.WaitGroup
}

func (w *watched) Close() {
	close(w.stop)
	w.all.Wait()
	w.oursPool.Close()
}

// regularly looks until it is stopped.
func regularly(look func()) func(stop <-chan struct{}) {
	return func(stop <-chan struct{}) {
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				look()
			case <-stop:
				return
			}
		}
	}
}

// nobody reads what a handler writes.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (n nobody) WriteHeader(int)             {}
func (n nobody) Flush()                      {}
