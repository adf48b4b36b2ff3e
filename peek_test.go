package pools_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Whatever happens to the pool while Peek looks, the connection is lent or closed,
// once, and nobody waits in vain.
func TestPeekWhileThePoolChanges(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, pool *pools.Pool[resource]){
		"close": func(t *testing.T, pool *pools.Pool[resource]) { go pool.Close(context.Background()) },
		"pause": func(t *testing.T, pool *pools.Pool[resource]) { pool.Pause(); time.AfterFunc(time.Second, pool.Resume) },
		"shrink": func(t *testing.T, pool *pools.Pool[resource]) {
			configure(t, pool, func(s *pools.Settings) { s.Size = 1 })
		},
		"refresh": func(t *testing.T, pool *pools.Pool[resource]) { go pool.Refresh(context.Background(), 0) },
		"suspect": func(t *testing.T, pool *pools.Pool[resource]) { pool.Suspect() },
		"revoke":  func(t *testing.T, pool *pools.Pool[resource]) { pool.RevokeAll() },
		"pop":     func(t *testing.T, pool *pools.Pool[resource]) { use(t, pool) },
		"track": func(t *testing.T, pool *pools.Pool[resource]) {
			configure(t, pool, func(s *pools.Settings) { s.TrackHolders = true })
		},
		"long": func(t *testing.T, pool *pools.Pool[resource]) { time.Sleep(5 * time.Second) },
		"no checks": func(t *testing.T, pool *pools.Pool[resource]) {
			configure(t, pool, func(s *pools.Settings) { s.CheckAfter = pools.Never })
		},
	} {
		for _, gone := range []bool{false, true} {
			for _, try := range []bool{false, true} {
				for _, checked := range []bool{false, true} {
					for _, maxUses := range []int{pools.NoLimit, 2} {
						t.Run(name, func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) {
								server := poolstest.NewServer(t, 0)
								var pool *pools.Pool[resource]
								peeked := false
								server.IsGone = func(resource) error {
									if peeked {
										return nil
									}
									peeked = true
									change(t, pool)
									synctest.Wait()
									if gone {
										return errGone
									}
									return nil
								}
								var options []poolstest.Option
								if checked {
									options = append(options, poolstest.WithCheck)
								}
								pool = poolstest.Make(t, server, pools.Settings{Size: 2, CheckAfter: time.Minute, MaxUses: maxUses, LeakAfter: 2 * time.Second}, options...)
								fill(t, pool, 2)
								time.Sleep(3 * time.Second)
								var conn pools.Conn[resource]
								if try {
									var ok bool
									if conn, ok = pool.TryPop(); !ok {
										conn = pools.Conn[resource]{}
									}
								} else {
									ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
									defer cancel()
									var err error
									if conn, err = pool.Pop(ctx); err != nil && !(name == "close" && errors.Is(err, pools.ErrClosed)) {
										t.Errorf("Pop: %v", err)
									}
								}
								if !peeked {
									t.Fatal("nobody peeked")
								}
								if err := conn.Push(); err != nil && conn != (pools.Conn[resource]{}) && !errors.Is(err, pools.ErrRevoked) {
									t.Errorf("Push: %v", err)
								}
								time.Sleep(5 * time.Second)
								st := pool.Stats()
								if st.Held+st.Revoked+st.Closing+st.Opening != 0 || st.Misused != 0 {
									t.Errorf("%+v", st)
								}
								if name == "close" {
									if server.IsOpen() != 0 {
										t.Errorf("%d open", server.IsOpen())
									}
									return
								}
								for range 3 {
									use(t, pool)
								}
							})
						})
					}
				}
			}
		}
	}
}
