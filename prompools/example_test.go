package prompools_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/prompools"
)

type conn struct{}

func (*conn) Close() {}

// A real program registers with prometheus.MustRegister and serves
// promhttp.Handler() as /metrics.
func Example() {
	ctx := context.Background()
	pool, err := pools.New("cache", pools.OpenFunc(func(context.Context) (*conn, error) { return new(conn), nil }), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)
	var group pools.Group
	if err := group.Add(pool); err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prompools.New(&group))

	for range 3 {
		if err := pool.Use(ctx, func(*conn) error { return nil }); err != nil {
			log.Fatal(err)
		}
	}

	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(response, httptest.NewRequest("GET", "/metrics", nil))
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "pools_leases_total") || strings.Contains(line, `state="idle"`) || strings.HasPrefix(line, "pools_size") {
			fmt.Println(line)
		}
	}
	// Output:
	// pools_connections{pool="cache",state="idle"} 1
	// pools_leases_total{pool="cache"} 3
	// pools_size{pool="cache"} 10
}
