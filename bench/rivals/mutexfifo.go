package rivals

import (
	"context"
	"reflect"
	"sync"
)

var mutexFIFO = Rival{
	Name: "mutex+slice", Kind: Pattern,
	What: "a mutex and a slice; a waiter is handed what is given back, first come, first served",
	Real: reflect.TypeFor[sync.Mutex](), Package: "sync",
	New: func(size int, open func() *Resource) Pool {
		f := &fifo{}
		for range size {
			f.idle = append(f.idle, open())
		}
		return f
	},
}

type fifo struct {
	mu      sync.Mutex
	idle    []*Resource
	waiting []chan *Resource
}

func (f *fifo) take(ctx context.Context) (*Resource, error) {
	f.mu.Lock()
	if n := len(f.idle); n > 0 {
		r := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		return r, nil
	}
	c := make(chan *Resource, 1)
	f.waiting = append(f.waiting, c)
	f.mu.Unlock()
	select {
	case r := <-c:
		return r, nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	for i := range f.waiting {
		if f.waiting[i] == c {
			f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
			f.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	f.mu.Unlock()
	f.give(<-c)
	return nil, ctx.Err()
}

func (f *fifo) give(r *Resource) {
	f.mu.Lock()
	if len(f.waiting) > 0 {
		c := f.waiting[0]
		f.waiting = f.waiting[1:]
		f.mu.Unlock()
		c <- r
		return
	}
	f.idle = append(f.idle, r)
	f.mu.Unlock()
}

func (f *fifo) Pairs(ctx context.Context, n int) error {
	for range n {
		r, err := f.take(ctx)
		if err != nil {
			return err
		}
		f.give(r)
	}
	return nil
}

func (f *fifo) Do(ctx context.Context, work func()) error {
	r, err := f.take(ctx)
	if err != nil {
		return err
	}
	work()
	f.give(r)
	return nil
}

func (f *fifo) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (*Resource, error) { return f.take(ctx) }, f.give)
}

func (f *fifo) Close() {}
