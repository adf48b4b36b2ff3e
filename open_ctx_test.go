package pools_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// reused is a request's ctx that its framework reuses: nothing may touch it after
// the request.
type reused struct {
	context.Context
	over atomic.Bool
}

func (c *reused) Value(key any) any {
	if c.over.Load() {
		panic("Value of a ctx whose request is over")
	}
	return c.Context.Value(key)
}

type traceKey struct{}

// openCtx makes a pool whose Open tries three times, a second apart, and asks its
// ctx for the trace each time. It returns what Open was answered.
func openCtx(t *testing.T, values func(ctx context.Context) context.Context) (*pools.Pool[resource], *poolstest.Server, func() []any) {
	defer pools.SetRandom(func(below time.Duration) time.Duration { return below - 1 })()
	server := poolstest.NewServer(t, 2)
	connector := server.Connector()
	open := connector.Open
	var mu sync.Mutex
	var answers []any
	connector.Open = func(ctx context.Context) (resource, error) {
		mu.Lock()
		answers = append(answers, ctx.Value(traceKey{}))
		mu.Unlock()
		return open(ctx)
	}
	connector.Values = values
	pool, err := pools.New("open's ctx", connector, pools.Settings{Size: 2, ReconnectAttempts: 3, ReconnectSleep: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server.Open.Next(poolstest.Fail(errRefused), poolstest.Fail(errRefused))
	return pool, server, func() []any {
		synctest.Wait()
		return answers
	}
}

// An open goes on after its request: it does not ask the request's ctx.
func TestOpenAsksNoRequestThatHasEnded(t *testing.T) {
	for name, values := range map[string]func(ctx context.Context) context.Context{
		"nothing": nil,
		"nil":     func(context.Context) context.Context { return nil },
		"one": func(ctx context.Context) context.Context {
			return context.WithValue(context.Background(), traceKey{}, ctx.Value(traceKey{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, _, answers := openCtx(t, values)
				request := &reused{Context: context.WithValue(t.Context(), traceKey{}, "trace")}
				ctx, cancel := context.WithTimeout(request, time.Millisecond)
				_, err := pool.Pop(ctx)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				synctest.Wait() // the timer of ctx may still be taking it out of the request's
				request.over.Store(true)
				time.Sleep(time.Minute)
				conn, ok := pool.TryPop()
				if !ok {
					t.Fatal("the open died with its request")
				}
				_ = conn.Push()
				want := any(nil)
				if name == "one" {
					want = "trace"
				}
				got := answers()
				if len(got) != 3 || got[0] != want || got[2] != want {
					t.Errorf("Open was answered %v", got)
				}
			})
		})
	}
}

// Values may use the pool. It runs in the goroutine of the Pop, so that one that
// panics or ends its goroutine does no harm.
func TestValuesIsTheCallersCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool *pools.Pool[resource]
		var calls atomic.Int32 // each in the goroutine of its Pop
		panics := false
		pool, server, answers := openCtx(t, func(ctx context.Context) context.Context {
			calls.Add(1)
			_ = pool.Stats()
			if conn, ok := pool.TryPop(); ok {
				_ = conn.Push()
			}
			if panics {
				panic("values")
			}
			return ctx
		})
		server.Open.Clear()
		a := poolstest.PopContext(context.WithValue(t.Context(), traceKey{}, 1), t, pool)
		b := poolstest.PopContext(context.WithValue(t.Context(), traceKey{}, 2), t, pool)
		a.Has()
		b.Has()
		a.Push()
		b.Push()
		use(t, pool)
		if got := answers(); calls.Load() != 2 || len(got) != 2 {
			t.Errorf("%d calls of Values; Open was answered %v", calls.Load(), got)
		}
		a, b = poolstest.Pop(t, pool), poolstest.Pop(t, pool)
		a.Has()
		b.Has()
		panics = true
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = pool.Pop(t.Context())
		}()
		if st := pool.Stats(); st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		a.Push()
		b.Push()
		use(t, pool)
	})
}

// tab lives as long as its ctx, like an interpreter or a browser's tab.
type tab struct {
	ctx   context.Context
	close context.CancelFunc
}

func (t *tab) Close() { t.close() }

// Open's ctx ends when Open returns; a ctx of its own does not.
func TestOpenCtxEndsWithOpen(t *testing.T) {
	for name, of := range map[string]func(ctx context.Context) context.Context{
		"of Open": func(ctx context.Context) context.Context { return ctx },
		"its own": context.WithoutCancel,
	} {
		synctest.Test(t, func(t *testing.T) {
			pool, err := pools.New("tabs", pools.OpenFunc(func(ctx context.Context) (*tab, error) {
				ctx, cancel := context.WithCancel(of(ctx))
				return &tab{ctx, cancel}, nil
			}), pools.Settings{Size: 1})
			if err != nil {
				t.Fatal(err)
			}
			var closed *tab
			err = pool.Use(t.Context(), func(tab *tab) error {
				closed = tab
				time.Sleep(time.Minute)
				if lives := tab.ctx.Err() == nil; lives != (name == "its own") {
					t.Errorf("a ctx %s: %v", name, tab.ctx.Err())
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if err := pool.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if closed.ctx.Err() == nil {
				t.Error("Close did not end it")
			}
		})
	}
}
