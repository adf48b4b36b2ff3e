package rivals

import (
	"context"
	"reflect"
)

var channel = Rival{
	Name: "channel", Kind: Pattern,
	What: "a buffered channel; a wait cannot be cancelled",
	Real: reflect.TypeFor[chan *Resource](),
	New:  func(size int, open func() *Resource) Pool { return channels{filled(size, open)} },
}

// filled returns a full channel of resources.
func filled(size int, open func() *Resource) chan *Resource {
	c := make(chan *Resource, size)
	for range size {
		c <- open()
	}
	return c
}

type channels struct{ c chan *Resource }

func (o channels) Pairs(_ context.Context, n int) error {
	for range n {
		o.c <- <-o.c
	}
	return nil
}

func (o channels) Do(_ context.Context, work func()) error {
	r := <-o.c
	work()
	o.c <- r
	return nil
}

func (o channels) Hold(_ context.Context, n int) (func(), error) {
	return held(n, func() (*Resource, error) { return <-o.c, nil }, func(r *Resource) { o.c <- r })
}

func (o channels) Close() {}
