package rivals

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A rival that is used wrongly would be measured wrongly.
func TestRivalsPool(t *testing.T) {
	const size = 3
	for _, r := range All {
		if r.Kind == Floor {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			var opened, out, most, uses atomic.Int64
			p := r.New(size, func() *Resource {
				opened.Add(1)
				return new(Resource)
			})
			defer p.Close()
			work := func() {
				n := out.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				runtime.Gosched()
				uses.Add(1)
				out.Add(-1)
			}
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					for range 100 {
						if err := p.Do(context.Background(), work); err != nil {
							t.Error(err)
							return
						}
					}
					if err := p.Pairs(context.Background(), 100); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if opened.Load() > size || most.Load() > size || uses.Load() != 1000 {
				t.Errorf("%d were opened, %d in use at once, of %d; used %d times of 1000", opened.Load(), most.Load(), size, uses.Load())
			}
			release, err := p.Hold(context.Background(), size)
			if err != nil {
				t.Fatal(err)
			}
			release()
			if err := p.Do(context.Background(), func() {}); err != nil {
				t.Errorf("nothing came back from Hold: %v", err)
			}
		})
	}
}

// What broke in use must be replaced, and nothing else.
func TestRivalsBreak(t *testing.T) {
	const size = 2
	broke := errors.New("broke")
	for _, r := range All {
		var opened atomic.Int64
		p := r.New(size, func() *Resource {
			opened.Add(1)
			return new(Resource)
		})
		frail, ok := p.(Frail)
		if !ok {
			p.Close()
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			defer p.Close()
			release, err := p.Hold(context.Background(), size)
			if err != nil {
				t.Fatal(err)
			}
			release()
			for range 5 {
				if err := frail.Try(context.Background(), func() error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if n := opened.Load(); n != size {
				t.Errorf("%d were opened, of %d", n, size)
			}
			for range size { // no more: some use only one while it works
				if err := frail.Try(context.Background(), func() error { return broke }); !errors.Is(err, broke) {
					t.Errorf("%v, want %v", err, broke)
				}
			}
			all, err := p.Hold(context.Background(), size)
			if err != nil {
				t.Fatal(err)
			}
			all()
			for range 2 * size { // with channel+select, what nobody has needed yet
				if err := frail.Try(context.Background(), func() error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if n := opened.Load(); n != 2*size {
				t.Errorf("%d were opened, of %d of which all broke once", n, 2*size)
			}
		})
	}
}
