package rivals

import (
	"context"
	"reflect"
	"sync"
)

var mutexCond = Rival{
	Name: "mutex+cond", Kind: Pattern,
	What: "a mutex, a slice and a sync.Cond: whoever runs takes; a wait cannot be cancelled",
	Real: reflect.TypeFor[sync.Cond](), Package: "sync",
	New: func(size int, open func() *Resource) Pool {
		b := &barging{}
		b.some.L = &b.mu
		for range size {
			b.idle = append(b.idle, open())
		}
		return b
	},
}

type barging struct {
	mu   sync.Mutex
	some sync.Cond
	idle []*Resource
}

func (b *barging) take() *Resource {
	b.mu.Lock()
	for len(b.idle) == 0 {
		b.some.Wait()
	}
	n := len(b.idle)
	r := b.idle[n-1]
	b.idle = b.idle[:n-1]
	b.mu.Unlock()
	return r
}

func (b *barging) give(r *Resource) {
	b.mu.Lock()
	b.idle = append(b.idle, r)
	b.mu.Unlock()
	b.some.Signal()
}

func (b *barging) Pairs(_ context.Context, n int) error {
	for range n {
		b.give(b.take())
	}
	return nil
}

func (b *barging) Do(_ context.Context, work func()) error {
	r := b.take()
	work()
	b.give(r)
	return nil
}

func (b *barging) Hold(_ context.Context, n int) (func(), error) {
	return held(n, func() (*Resource, error) { return b.take(), nil }, b.give)
}

func (b *barging) Close() {}
