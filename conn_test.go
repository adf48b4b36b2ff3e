package pools_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// O1 and O3: of all that can end a lease, whatever races, one succeeds.
func TestALeaseEndsOnce(t *testing.T) {
	ends := map[string]func(pools.Conn[resource]) error{
		"Push":    pools.Conn[resource].Push,
		"PushErr": func(c pools.Conn[resource]) error { return c.PushErr(errRefused) },
		"Discard": func(c pools.Conn[resource]) error { return c.PushErr(pools.Discard(nil)) },
		"Destroy": pools.Conn[resource].Destroy,
		"Detach": func(c pools.Conn[resource]) error {
			r, err := c.Detach()
			if err == nil {
				r.Keep() // nobody waits: no open can be faster
			}
			return err
		},
	}
	for first, one := range ends {
		for second, two := range ends {
			t.Run(first+" and "+second, func(t *testing.T) {
				scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
					for racing := range 50 {
						conn, err := pool.Pop(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if racing%5 == 4 {
							time.Sleep(5 * time.Second) // it is watched
						}
						var won atomic.Int32
						var wg sync.WaitGroup
						for _, end := range []func(pools.Conn[resource]) error{one, two} {
							run := func() {
								switch err := end(conn); {
								case err == nil:
									won.Add(1)
								case !errors.Is(err, pools.ErrNotHeld):
									t.Error(err)
								}
							}
							if racing%2 == 0 {
								wg.Go(run)
							} else {
								run()
							}
						}
						wg.Wait()
						if won.Load() != 1 {
							t.Fatalf("%d ended the lease", won.Load())
						}
						if conn.ID() == "" {
							t.Error("an ended lease has no ID")
						}
					}
					if st := pool.Stats(); st.Misused != 50 {
						t.Errorf("misused %d, want 50", st.Misused)
					}
				})
			})
		}
	}
}

// O2
func TestEndedLeaseDoesNotTouchTheNextHolder(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		a := poolstest.Pop(t, pool).Has()
		if err := a.Push(); err != nil {
			t.Fatal(err)
		}
		b := poolstest.Pop(t, pool).Has()
		if a.ID() != b.ID() {
			t.Fatal("another connection")
		}
		if err := a.Push(); !errors.Is(err, pools.ErrNotHeld) {
			t.Error(err)
		}
		if err := a.Destroy(); !errors.Is(err, pools.ErrNotHeld) {
			t.Error(err)
		}
		func() {
			defer func() {
				if v := fmt.Sprint(recover()); !strings.Contains(v, "lease has ended") {
					t.Errorf("Resource of an ended lease: %v", v)
				}
			}()
			a.Resource()
		}()
		if b.Resource() == nil || pool.Stats().Held != 1 {
			t.Error("b was touched")
		}
		if err := b.Push(); err != nil {
			t.Error(err)
		}
	})
}

// O4: the functions of the connector.
func TestConnectorPanicsAndGoexits(t *testing.T) {
	for name, fault := range map[string]poolstest.Fault{"panic": poolstest.Panic(errRefused), "Goexit": poolstest.Goexit()} {
		for _, point := range []string{"Open", "Close", "Check", "Reset", "Broken"} {
			t.Run(point+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := poolstest.NewServer(t, 1)
					hurt := atomic.Bool{}
					server.IsBroken = func(resource, error) bool {
						if point == "Broken" && hurt.CompareAndSwap(false, true) {
							_ = fault(context.Background())
						}
						return false
					}
					pool := poolstest.Make(t, server, pools.Settings{Size: 1, ReconnectAttempts: 1},
						poolstest.WithCheck, poolstest.WithReset)
					if p := faultPoint(server, point); p != nil {
						p.Next(fault)
					}
					var surfaced any
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { surfaced = recover() }()
						_ = pool.Use(context.Background(), func(r resource) error { return pools.Discard(r.Do(nil)) })
						conn, err := pool.Pop(context.Background())
						if err == nil {
							_ = conn.Push()
						}
					}()
					<-done
					if want := point == "Broken" && name == "panic"; want != (surfaced != nil) {
						t.Errorf("surfaced: %v", surfaced)
					}
					time.Sleep(time.Minute) // the prober; and the idle one is stale
					use(t, pool)
					time.Sleep(time.Minute)
					use(t, pool)
					synctest.Wait()
					if st := pool.Stats(); st.Idle != 1 {
						t.Errorf("%+v", st)
					}
				})
			})
		}
	}
}

// O4: the function of Use.
func TestUsePanicsAndGoexits(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v", v)
				}
			}()
			_ = pool.Use(t.Context(), func(resource) error { panic("boom") })
		}()
		use(t, pool)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = pool.Use(context.Background(), func(resource) error { runtime.Goexit(); return nil })
		}()
		<-done
		use(t, pool)
		if server.Opened() != 3 {
			t.Errorf("opened %d; a connection that was left in the middle goes", server.Opened())
		}
	})
}

// O5
func TestForeignPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := poolstest.New(t, pools.Settings{Size: 1})
		b, _ := poolstest.New(t, pools.Settings{Size: 1})
		conn, err := a.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Push(conn); !errors.Is(err, pools.ErrNotHeld) || !strings.Contains(err.Error(), "another pool") {
			t.Error(err)
		}
		if err := a.Push(conn); err != nil {
			t.Error(err)
		}
		if a.Stats().Idle != 1 || b.Stats().Idle != 0 {
			t.Error("it went to the wrong pool")
		}
	})
}

// O9: after which errors a connection is lent again.
func TestSafeDefault(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		err  error
		goes bool
	}{
		{nil, false},
		{errors.New("no such key"), false},
		{io.EOF, true},
		{fmt.Errorf("read reply: %w", io.ErrUnexpectedEOF), true},
		{context.DeadlineExceeded, true},
		{fmt.Errorf("query: %w", context.Canceled), true},
		{timeout, true},
		{syscall.ECONNRESET, true},
		{&net.OpError{Op: "write", Err: errors.New("broken")}, true},
		{driver.ErrBadConn, true},
		{net.ErrClosed, true},
		{errors.Join(errors.New("a"), io.EOF), true},
		{pools.Discard(errors.New("no such key")), true},
		{pools.Discard(nil), true},
		{fmt.Errorf("wrapped: %w", pools.Discard(nil)), true},
	} {
		for _, how := range []string{"PushErr", "Use"} {
			scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
				if how == "Use" {
					err := pool.Use(t.Context(), func(resource) error { return c.err })
					if c.err != nil && err != nil && err.Error() != c.err.Error() {
						t.Errorf("Use returned %v for %v", err, c.err)
					}
				} else if conn := poolstest.Pop(t, pool).Has(); conn.PushErr(c.err) != nil {
					t.Error("PushErr failed")
				}
				synctest.Wait()
				if goes := server.IsOpen() == 0; goes != c.goes {
					t.Errorf("%s(%v): closed is %v", how, c.err, goes)
				}
			})
		}
	}
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		if err := pool.Use(t.Context(), func(resource) error { return pools.Discard(nil) }); err != nil {
			t.Errorf("Discard(nil) fails the Use: %v", err)
		}
	})
}

// O9, with the real thing: the answer that was on its way when the deadline
// struck is never read by the next user.
func TestLateAnswerIsNeverRead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	slow := make(chan struct{})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				ask := make([]byte, 1)
				for {
					if _, err := conn.Read(ask); err != nil {
						return
					}
					if ask[0] == 'A' {
						<-slow
					}
					if _, err := conn.Write(ask); err != nil {
						return
					}
				}
			}()
		}
	}()
	pool, err := pools.New("echo", pools.OpenFunc(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}), pools.Settings{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	ask := func(question byte, deadline time.Time) (byte, error) {
		return pools.UseResult(t.Context(), pool, func(conn net.Conn) (byte, error) {
			if err := conn.SetDeadline(deadline); err != nil {
				return 0, err
			}
			if _, err := conn.Write([]byte{question}); err != nil {
				return 0, err
			}
			answer := make([]byte, 1)
			_, err := conn.Read(answer)
			return answer[0], err
		})
	}
	if _, err := ask('A', time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	close(slow)
	if answer, err := ask('B', time.Now().Add(time.Minute)); err != nil || answer != 'B' {
		t.Errorf("asked B, got %c, %v", answer, err)
	}
}

// The owner of a connection is who swapped itself in; nobody else may be in.
func TestOwnerStress(t *testing.T) {
	type owned struct {
		*poolstest.Resource
		owner atomic.Int64
	}
	server := poolstest.NewServer(t, 4)
	base := server.Connector()
	pool, err := pools.New("owners", pools.Connector[*owned]{
		Open: func(ctx context.Context) (*owned, error) {
			r, err := base.Open(ctx)
			return &owned{Resource: r}, err
		},
		Close: func(ctx context.Context, o *owned) error { return base.Close(ctx, o.Resource) },
	}, pools.Settings{Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for round := range 3000 {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				if round%7 == 0 {
					cancel()
				}
				conn, err := pool.Pop(ctx)
				if err != nil {
					cancel()
					continue
				}
				o := conn.Resource()
				if !o.owner.CompareAndSwap(0, int64(i+1)) {
					t.Errorf("%s has two owners", conn.ID())
				}
				if round%3 == 0 {
					runtime.Gosched()
				}
				if !o.owner.CompareAndSwap(int64(i+1), 0) {
					t.Errorf("%s was taken from its owner", conn.ID())
				}
				if round%11 == 0 {
					err = conn.Destroy()
				} else {
					err = conn.Push()
				}
				if err != nil {
					t.Error(err)
				}
				if round%5 == 0 && conn.Push() == nil {
					t.Error("the lease ended twice")
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if st := pool.Stats(); st.Opened != st.Closed || server.IsOpen() != 0 || st.Vacant != 4 {
		t.Errorf("%d open, %+v", server.IsOpen(), st)
	}
}

func TestZeroValues(t *testing.T) {
	var conn pools.Conn[resource]
	_, detached := conn.Detach()
	for _, err := range []error{conn.Push(), conn.PushErr(io.EOF), conn.Destroy(), detached} {
		if !errors.Is(err, pools.ErrNotHeld) || !strings.Contains(err.Error(), "zero Conn") {
			t.Error(err)
		}
	}
	if conn.ID() != "" || conn.Age() != 0 || conn.Uses() != 0 {
		t.Error("a zero Conn has a history")
	}
	func() {
		defer func() {
			if v := fmt.Sprint(recover()); !strings.Contains(v, "zero Conn") {
				t.Error(v)
			}
		}()
		conn.Resource()
	}()

	pool := new(pools.Pool[resource])
	_, popped := pool.Pop(t.Context())
	for _, err := range []error{
		popped, pool.Use(t.Context(), func(resource) error { return nil }), pool.Fill(t.Context(), 1),
		pool.Close(t.Context()), pool.Push(conn), new(pools.Group).Add(pool),
	} {
		if err == nil || strings.Contains(err.Error(), "nil pointer") {
			t.Error(err)
		}
	}
	if _, ok := pool.TryPop(); ok || pool.Available() != 0 || pool.Settings().Size != 0 || pool.Stats().Size != 0 || pool.Name() != "" {
		t.Error("a zero Pool has something")
	}
}

func TestAgeAndUses(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for i := range 5 {
			conn := poolstest.Pop(t, pool).Has()
			if conn.Uses() != i+1 || conn.Age() != time.Duration(i)*time.Second {
				t.Errorf("uses %d, age %v, at %d", conn.Uses(), conn.Age(), i)
			}
			_ = conn.Push()
			time.Sleep(time.Second)
		}
		_ = poolstest.Pop(t, pool).Has().Destroy()
		if conn := poolstest.Pop(t, pool).Has(); conn.Uses() != 1 || conn.Age() != 0 {
			t.Errorf("a new connection in the slot: uses %d, age %v", conn.Uses(), conn.Age())
		} else {
			_ = conn.Push()
		}
	})
}
