package servers

import (
	"context"
	"testing"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
	"github.com/utopia-go/pools/internal/proxy"
	"github.com/utopia-go/pools/poolstest"
)

// The bare connections that the load is made of keep what a connector
// promises. The others are tested in internal/connectors.
func TestBareConnector(t *testing.T) {
	e, err := engine.Redis(t.Context(), clients)
	engine.Need(t, e, err)
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*load.Bare] {
		p, err := proxy.Start(e.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return poolstest.Subject[*load.Bare]{
			Connector: load.Redis.Connector(p.Address),
			Use:       func(ctx context.Context, conn *load.Bare) error { _, err := load.Redis.Ask(ctx, conn, 1); return err },
			Kill: func(*load.Bare) {
				if err := e.Terminate(t.Context(), clients); err != nil {
					t.Error(err)
				}
			},
			IsOpen: func() int {
				n, err := e.Connections(t.Context())
				if err != nil {
					t.Error(err)
				}
				return n
			},
			Silence: func() func() { p.Stall(); return p.Resume },
			Stop: func() func() {
				if err := e.Stop(); err != nil {
					t.Error(err)
				}
				return func() {
					if err := e.Continue(); err != nil {
						t.Error(err)
					}
				}
			},
			Failing: map[string]pools.Connector[*load.Bare]{"nobody who listens": load.Redis.Connector("127.0.0.1:1")},
		}
	})
}
