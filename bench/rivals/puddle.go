package rivals

import (
	"context"
	"reflect"

	"github.com/jackc/puddle/v2"
)

var puddlePool = Rival{
	Name: "puddle", Kind: Library, Module: "github.com/jackc/puddle/v2",
	What: "jackc/puddle, which pgxpool stands on: Acquire and Release",
	Real: reflect.TypeFor[puddle.Pool[*Resource]](), Package: "github.com/jackc/puddle/v2",
	New: func(size int, open func() *Resource) Pool {
		p, err := puddle.NewPool(&puddle.Config[*Resource]{
			Constructor: func(context.Context) (*Resource, error) { return open(), nil },
			Destructor:  func(*Resource) {},
			MaxSize:     int32(size),
		})
		if err != nil {
			panic(err)
		}
		return puddles{p}
	},
}

type puddles struct{ p *puddle.Pool[*Resource] }

func (o puddles) Pairs(ctx context.Context, n int) error {
	for range n {
		r, err := o.p.Acquire(ctx)
		if err != nil {
			return err
		}
		r.Release()
	}
	return nil
}

func (o puddles) Do(ctx context.Context, work func()) error {
	r, err := o.p.Acquire(ctx)
	if err != nil {
		return err
	}
	work()
	r.Release()
	return nil
}

func (o puddles) Try(ctx context.Context, use func() error) error {
	r, err := o.p.Acquire(ctx)
	if err != nil {
		return err
	}
	if err := use(); err != nil {
		r.Destroy()
		return err
	}
	r.Release()
	return nil
}

func (o puddles) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (*puddle.Resource[*Resource], error) { return o.p.Acquire(ctx) },
		(*puddle.Resource[*Resource]).Release)
}

func (o puddles) Close() { o.p.Close() }
