package rivals

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
)

var twoCAS = Rival{
	Name: "two CAS", Kind: Floor,
	What: "two compare-and-swaps on one word, and nothing else",
	Real: reflect.TypeFor[atomic.Uint64](), Package: "sync/atomic",
	New: func(int, func() *Resource) Pool { return &word{} },
}

var noPool = Rival{
	Name: "no pool", Kind: Floor,
	What: "the work alone",
	Real: reflect.TypeFor[nothing](), Package: "github.com/utopia-go/pools/bench/rivals",
	New: func(int, func() *Resource) Pool { return nothing{} },
}

// nothing pools nothing and lends at once.
type nothing struct{}

func (nothing) Pairs(context.Context, int) error        { return nil }
func (nothing) Do(_ context.Context, work func()) error { work(); return nil }
func (nothing) Close()                                  {}

func (nothing) Hold(context.Context, int) (func(), error) {
	return nil, errors.New("a floor holds nothing")
}

// word is taken and given back by one swap each.
type word struct {
	nothing
	w atomic.Uint64
}

func (o *word) Pairs(_ context.Context, n int) error {
	for range n {
		before := o.w.Load()
		if !o.w.CompareAndSwap(before, before+3) || !o.w.CompareAndSwap(before+3, before+2) {
			return errors.New("one goroutine alone may use it")
		}
	}
	return nil
}
