package rivals

import (
	"context"
	"reflect"

	"github.com/utopia-go/pools"
)

var ours = Rival{
	Name: "pools", Kind: Ours, Module: "github.com/utopia-go/pools",
	What: "this library, Pop and Push",
	Real: reflect.TypeFor[pools.Pool[*Resource]](), Package: "github.com/utopia-go/pools",
	New: func(size int, open func() *Resource) Pool {
		return oursPool{newOurs(size, open, pools.Connector[*Resource]{}, pools.Settings{})}
	},
}

var oursUse = Rival{
	Name: "pools, Use", Kind: Variant, Module: ours.Module, Real: ours.Real, Package: ours.Package,
	What: "the same by Use",
	New: func(size int, open func() *Resource) Pool {
		return oursByUse{oursPool{newOurs(size, open, pools.Connector[*Resource]{}, pools.Settings{})}}
	},
}

var oursBroken = Rival{
	Name: "pools, Broken", Kind: Variant, Module: ours.Module, Real: ours.Real, Package: ours.Package,
	What: "the same with a Connector.Broken, asked at each Push",
	New: func(size int, open func() *Resource) Pool {
		return oursPool{newOurs(size, open, pools.Connector[*Resource]{
			Broken: func(*Resource, error) bool { return false },
		}, pools.Settings{})}
	},
}

var oursReset = Rival{
	Name: "pools, Reset", Kind: Variant, Module: ours.Module, Real: ours.Real, Package: ours.Package,
	What: "the same with a Connector.Reset, called in a goroutine after each Push",
	New: func(size int, open func() *Resource) Pool {
		return oursPool{newOurs(size, open, pools.Connector[*Resource]{
			Reset: func(context.Context, *Resource) error { return nil },
		}, pools.Settings{})}
	},
}

var oursTracking = Rival{
	Name: "pools, TrackHolders", Kind: Variant, Module: ours.Module, Real: ours.Real, Package: ours.Package,
	What: "the same with Settings.TrackHolders",
	New: func(size int, open func() *Resource) Pool {
		return oursPool{newOurs(size, open, pools.Connector[*Resource]{}, pools.Settings{TrackHolders: true})}
	},
}

func newOurs(size int, open func() *Resource, connector pools.Connector[*Resource], settings pools.Settings) *pools.Pool[*Resource] {
	connector.Open = func(context.Context) (*Resource, error) { return open(), nil }
	settings.Size = size
	p, err := pools.New("bench", connector, settings)
	if err != nil {
		panic(err)
	}
	return p
}

type oursPool struct{ p *pools.Pool[*Resource] }

func (o oursPool) Pairs(ctx context.Context, n int) error {
	for range n {
		conn, err := o.p.Pop(ctx)
		if err != nil {
			return err
		}
		if err := conn.Push(); err != nil {
			return err
		}
	}
	return nil
}

func (o oursPool) Do(ctx context.Context, work func()) error {
	conn, err := o.p.Pop(ctx)
	if err != nil {
		return err
	}
	work()
	return conn.Push()
}

func (o oursPool) Try(ctx context.Context, use func() error) error {
	return o.p.Use(ctx, func(*Resource) error {
		if err := use(); err != nil {
			return pools.Discard(err)
		}
		return nil
	})
}

func (o oursPool) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (pools.Conn[*Resource], error) { return o.p.Pop(ctx) },
		func(c pools.Conn[*Resource]) { _ = c.Push() })
}

func (o oursPool) Close() { _ = o.p.Close(context.Background()) }

type oursByUse struct{ oursPool }

func (o oursByUse) Do(ctx context.Context, work func()) error {
	return o.p.Use(ctx, func(*Resource) error { work(); return nil })
}

func (o oursByUse) Pairs(ctx context.Context, n int) error {
	fn := func(*Resource) error { return nil }
	for range n {
		if err := o.p.Use(ctx, fn); err != nil {
			return err
		}
	}
	return nil
}
