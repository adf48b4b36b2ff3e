// Package connectors holds the connectors that come with the pool against the
// real servers.
package connectors

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/proxy"
	"github.com/utopia-go/pools/poolstest"
)

// subject completes what a subject needs with what any engine can do.
func subject[T any](t *testing.T, e *engine.Engine, p *proxy.Proxy, s poolstest.Subject[T]) poolstest.Subject[T] {
	s.Kill = func(T) {
		if err := e.Terminate(t.Context(), 1000); err != nil {
			t.Error(err)
		}
	}
	s.IsOpen = func() int {
		n, err := e.Connections(t.Context())
		if err != nil {
			t.Error(err)
		}
		return n
	}
	s.Silence = func() func() { p.Stall(); return p.Resume }
	s.Stop = func() func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
		return func() {
			if err := e.Continue(); err != nil {
				t.Error(err)
			}
		}
	}
	s.Limit = 10 * time.Second // other tests may have the machine
	return s
}

// nobody is an address at which nobody listens.
const nobody = "127.0.0.1:1"

// before makes a network before a server.
func before(t *testing.T, e *engine.Engine) *proxy.Proxy {
	p, err := proxy.Start(e.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// await waits until is says so, which may never be.
func await(is func() bool) error {
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("not after half a minute")
		}
	}
	return nil
}

// next is two users of a pool of one, one after the other. same says that the
// second must have the connection of the first, or that it must not.
type next[T any] struct {
	name          string
	first, second func(ctx context.Context, conn T) error
	same          bool
}

func (n next[T]) run(t *testing.T, connector pools.Connector[T]) {
	t.Run(n.name, func(t *testing.T) {
		pool, err := pools.New("next", connector, pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := pool.Close(ctx); err != nil {
				t.Error(err)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = pool.Use(ctx, func(conn T) error { return n.first(ctx, conn) })
		if err := pool.Use(ctx, func(conn T) error { return n.second(ctx, conn) }); err != nil {
			t.Errorf("the next user: %v", err)
		}
		if same := pool.Stats().Opened == 1; same != n.same {
			t.Errorf("%d connections were opened; the same one again: want %v", pool.Stats().Opened, n.same)
		}
	})
}
