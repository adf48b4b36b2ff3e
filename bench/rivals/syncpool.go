package rivals

import (
	"context"
	"reflect"
	"sync"
)

var syncPool = Rival{
	Name: "sync.Pool", Kind: Floor,
	What: "not a pool of connections: it has no bound, no waiting and forgets at will",
	Real: reflect.TypeFor[sync.Pool](), Package: "sync",
	New: func(_ int, open func() *Resource) Pool {
		return &unbounded{sync.Pool{New: func() any { return open() }}}
	},
}

type unbounded struct{ p sync.Pool }

func (o *unbounded) Pairs(_ context.Context, n int) error {
	for range n {
		o.p.Put(o.p.Get().(*Resource))
	}
	return nil
}

func (o *unbounded) Do(_ context.Context, work func()) error {
	r := o.p.Get().(*Resource)
	work()
	o.p.Put(r)
	return nil
}

func (o *unbounded) Hold(_ context.Context, n int) (func(), error) {
	return held(n, func() (*Resource, error) { return o.p.Get().(*Resource), nil }, func(r *Resource) { o.p.Put(r) })
}

func (o *unbounded) Close() {}
