// Package debugging serves what one wants to see of a running program: the page
// of its pools, and the profiles of the Go runtime.
package debugging

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolsdebug"
)

// Serve serves at an address as ":6060" until stop is called, with others by their
// paths. Nobody but this machine can reach it, unless the address names another host.
func Serve(address string, group *pools.Group, others map[string]http.Handler) (url string, stop func() error, err error) {
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
	// By IP address and as localhost only: Options.Hosts is for other names.
	mux.Handle("/debug/pools/", poolsdebug.New(group, poolsdebug.Options{AllowActions: true}))
	for path, other := range others {
		mux.Handle(path, other)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
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
