package rivals

import (
	"context"
	"reflect"
)

var channelSelect = Rival{
	Name: "channel+select", Kind: Pattern,
	What: "a buffered channel, and a select on the ctx when it is empty",
	Real: reflect.TypeFor[chan *Resource](),
	New:  func(size int, open func() *Resource) Pool { return selects{filled(size, open), open} },
}

type selects struct {
	c    chan *Resource
	open func() *Resource
}

func (o selects) take(ctx context.Context) (*Resource, error) {
	select { // a select of one is much cheaper than a select of two
	case r := <-o.c:
		return r, nil
	default:
	}
	select {
	case r := <-o.c:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o selects) Pairs(ctx context.Context, n int) error {
	for range n {
		r, err := o.take(ctx)
		if err != nil {
			return err
		}
		o.c <- r
	}
	return nil
}

func (o selects) Do(ctx context.Context, work func()) error {
	r, err := o.take(ctx)
	if err != nil {
		return err
	}
	work()
	o.c <- r
	return nil
}

// Try puts nothing into the place of what broke: who takes that opens.
func (o selects) Try(ctx context.Context, use func() error) error {
	r, err := o.take(ctx)
	if err != nil {
		return err
	}
	if r == nil {
		r = o.open()
	}
	if err := ctx.Err(); err != nil { // it took too long
		o.c <- r
		return err
	}
	if err := use(); err != nil {
		o.c <- nil
		return err
	}
	o.c <- r
	return nil
}

func (o selects) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (*Resource, error) { return o.take(ctx) }, func(r *Resource) { o.c <- r })
}

func (o selects) Close() {}
