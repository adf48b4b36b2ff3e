// What puddle's own tests leave out. They are in a file of this name, too, and
// take its place when internal/compat runs them.
package puddle_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/puddle/v2"
)

// factory makes numbers. The first makings, as many as held, wait until their
// ctx ends, and fail; the others wait for the gate, if there is one.
type factory struct {
	held  int32
	gate  chan struct{}
	made  atomic.Int32
	began chan struct{} // one for each making
}

func (f *factory) pool(t *testing.T, size int32) *puddle.Pool[int32] {
	f.began = make(chan struct{}, 1000)
	p, err := puddle.NewPool(&puddle.Config[int32]{
		Constructor: func(ctx context.Context) (int32, error) {
			n := f.made.Add(1)
			f.began <- struct{}{}
			if n <= f.held {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			if f.gate != nil {
				<-f.gate
			}
			return n, nil
		},
		Destructor: func(n int32) {
			if n <= f.held {
				t.Errorf("number %d was destroyed and never there", n)
			}
		},
		MaxSize: size,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// makers are what makes a resource with a ctx of its own.
var makers = map[string]func(p *puddle.Pool[int32], ctx context.Context) error{
	"CreateResource": func(p *puddle.Pool[int32], ctx context.Context) error { return p.CreateResource(ctx) },
	"TryAcquire": func(p *puddle.Pool[int32], ctx context.Context) error {
		_, err := p.TryAcquire(ctx)
		return err
	},
}

// The ctx of who has a resource made ends the making, and is nobody else's
// error; the pool does not take the server to be down for it.
func TestMakersCtx(t *testing.T) {
	for name, maker := range makers {
		t.Run(name, func(t *testing.T) {
			f := factory{held: 1}
			p := f.pool(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- maker(p, ctx) }()
			<-f.began
			acquired := make(chan error, 1)
			go func() {
				r, err := p.Acquire(context.Background())
				if err == nil {
					r.Release()
				}
				acquired <- err
			}()
			cancel() // whether the Acquire waits already or not
			if err := <-acquired; err != nil {
				t.Errorf("somebody else's ctx is the Acquire's error: %v", err)
			}
			if err := <-ended; err == nil {
				t.Error("nothing was made, without an error")
			} else if name == "CreateResource" && err != context.Canceled {
				t.Errorf("the constructor's error is %v now", err)
			}
			if n := f.made.Load(); n != 2 {
				t.Errorf("%d makings, want the one that was ended and the Acquire's", n)
			}
		})
	}
}

// What was ended leaves nothing behind.
func TestMakersCtxAlone(t *testing.T) {
	for name, maker := range makers {
		t.Run(name, func(t *testing.T) {
			f := factory{held: 1}
			p := f.pool(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- maker(p, ctx) }()
			<-f.began
			cancel()
			<-ended
			eventually(t, "the place is free", func() bool { return p.Stat().TotalResources() == 0 })
			began := time.Now()
			if err := p.CreateResource(t.Context()); err != nil {
				t.Error(err)
			}
			if r, err := p.TryAcquire(t.Context()); err != nil {
				t.Error(err)
			} else {
				r.Release()
			}
			if took := time.Since(began); took > 400*time.Millisecond {
				t.Errorf("the next one took %v", took)
			}
		})
	}
}

// One's ctx is not another's error.
func TestTwoMakersCtx(t *testing.T) {
	f := factory{held: 1}
	p := f.pool(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- p.CreateResource(ctx) }()
	<-f.began
	go func() { second <- p.CreateResource(t.Context()) }()
	<-f.began
	cancel()
	if err := <-first; err != context.Canceled {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

// Each TryAcquire that gets nothing makes one, as long as there is room.
func TestTryAcquires(t *testing.T) {
	f := factory{gate: make(chan struct{})}
	p := f.pool(t, 7)
	for range 5 {
		if _, err := p.TryAcquire(t.Context()); err != puddle.ErrNotAvailable {
			t.Fatal(err)
		}
	}
	close(f.gate)
	eventually(t, "five", func() bool { return p.Stat().IdleResources() == 5 })
	for range 5 + 10 {
		if r, err := p.TryAcquire(t.Context()); err == nil {
			defer r.Release()
		} else if err != puddle.ErrNotAvailable {
			t.Fatal(err)
		}
	}
	eventually(t, "seven", func() bool { return p.Stat().TotalResources() == 7 })
}

// It makes one beside the one that is being made for an Acquire.
func TestTryAcquireBesideAcquire(t *testing.T) {
	f := factory{held: 1}
	p := f.pool(t, 2)
	acquired := make(chan error, 1)
	go func() {
		r, err := p.Acquire(t.Context())
		if err == nil {
			r.Release()
		}
		acquired <- err
	}()
	<-f.began
	if _, err := p.TryAcquire(t.Context()); err != puddle.ErrNotAvailable {
		t.Fatal(err)
	}
	if err := <-acquired; err != nil {
		t.Error(err)
	}
}
