// Package debugging serves what one wants to see of a running program: its
// pools as a page and as metrics, and the profiles of the Go runtime.
package debugging

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolsdebug"
	"github.com/utopia-go/pools/prompools"
)

// Serve serves at an address as ":6060" until stop is called. Nobody but this
// machine can reach it, unless the address names another host.
func Serve(address string, group *pools.Group) (url string, stop func() error, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, fmt.Errorf("%q: %w; give an address as :6060", address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/pools/", poolsdebug.New(group, poolsdebug.Options{AllowActions: true}))
	metrics := prometheus.NewRegistry()
	if err := metrics.Register(prompools.New(group)); err != nil {
		return "", nil, errors.Join(err, listener.Close())
	}
	mux.Handle("/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: byAddress(mux), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return "http://" + listener.Addr().String() + "/debug/pools/", func() error {
		closed := server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return closed
	}, nil
}

// byAddress answers requests to an address or to localhost only: another name
// may be one that somebody else's page has made point here.
func byAddress(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if net.ParseIP(strings.Trim(host, "[]")) == nil && host != "localhost" {
			http.Error(w, "use the address, or localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
