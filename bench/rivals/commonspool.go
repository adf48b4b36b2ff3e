package rivals

import (
	"context"
	"reflect"

	pool "github.com/jolestar/go-commons-pool/v2"
)

var commonsPool = Rival{
	Name: "go-commons-pool", Kind: Library, Module: "github.com/jolestar/go-commons-pool/v2",
	What: "the port of Apache Commons Pool: BorrowObject and ReturnObject",
	Real: reflect.TypeFor[pool.ObjectPool](), Package: "github.com/jolestar/go-commons-pool/v2",
	New: func(size int, open func() *Resource) Pool {
		config := pool.NewDefaultPoolConfig()
		config.MaxTotal, config.MaxIdle = size, size
		factory := pool.NewPooledObjectFactorySimple(func(context.Context) (any, error) { return open(), nil })
		return commons{pool.NewObjectPool(context.Background(), factory, config)}
	},
}

type commons struct{ p *pool.ObjectPool }

func (o commons) Pairs(ctx context.Context, n int) error {
	for range n {
		r, err := o.p.BorrowObject(ctx)
		if err != nil {
			return err
		}
		if err := o.p.ReturnObject(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (o commons) Do(ctx context.Context, work func()) error {
	r, err := o.p.BorrowObject(ctx)
	if err != nil {
		return err
	}
	work()
	return o.p.ReturnObject(ctx, r)
}

func (o commons) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (any, error) { return o.p.BorrowObject(ctx) },
		func(r any) { _ = o.p.ReturnObject(ctx, r) })
}

func (o commons) Close() { o.p.Close(context.Background()) }
