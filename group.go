package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// AnyPool is a pool whose resources may be of any type. Every *Pool is one,
// and nothing else is.
type AnyPool interface {
	Name() string
	Size() int
	Available() int
	Stats() Stats
	Settings() Settings
	Connections() iter.Seq[Connection]
	Events() []Event
	Configure(change func(*Settings)) error
	Refresh(ctx context.Context, over time.Duration) error
	Pause()
	Resume()
	RevokeAll() int
	Close(ctx context.Context) error

	order() uint64
	configurable
	useAny(ctx context.Context, fn func(resource any) error) (ran bool, err error)
}

// order is 0 for a pool that New has not made.
func (p *Pool[T]) order() uint64 {
	if p == nil {
		return 0
	}
	return p.serial
}

func (p *Pool[T]) useAny(ctx context.Context, fn func(resource any) error) (bool, error) {
	return p.use(ctx, func(resource T) error { return fn(resource) })
}

// use is Use that also says whether fn ran.
func (p *Pool[T]) use(ctx context.Context, fn func(resource T) error) (ran bool, err error) {
	err = p.Use(ctx, func(resource T) error {
		ran = true
		return fn(resource)
	})
	return ran, err
}

// inside uses b within a use of a. If b gives nothing, a's resource was not
// used and goes back as it is.
func inside[A, B any](ctx context.Context, a *Pool[A], b *Pool[B], fn func(A, B) error) error {
	var popErr error
	err := a.Use(ctx, func(ra A) error {
		var marked error // what fn returned: a Discard is for a's resource too
		ran, err := b.use(ctx, func(rb B) error {
			marked = fn(ra, rb)
			return marked
		})
		if !ran {
			popErr = err
		}
		return marked
	})
	if popErr != nil {
		return popErr
	}
	return err
}

// Use2 uses connections of two pools at once. Whatever the order in which
// callers name them, pools are popped from in one order (the one in which
// they were made), so that two Use2 cannot block each other. If the second
// pool gives nothing, the first gets its connection back and fn does not run.
// The same pool twice is refused with ErrSamePool.
func Use2[A, B any](ctx context.Context, a *Pool[A], b *Pool[B], fn func(A, B) error) error {
	if a.order() == 0 || b.order() == 0 {
		return ErrZero
	}
	switch {
	case a.serial == b.serial:
		return fmt.Errorf("%w: %q", ErrSamePool, a.name)
	case a.serial < b.serial:
		return inside(ctx, a, b, fn)
	}
	return inside(ctx, b, a, func(rb B, ra A) error { return fn(ra, rb) })
}

// Use3 is Use2 for three pools.
func Use3[A, B, C any](ctx context.Context, a *Pool[A], b *Pool[B], c *Pool[C], fn func(A, B, C) error) error {
	return useAll(ctx, []AnyPool{a, b, c}, func(r []any) error {
		return fn(as[A](r[0]), as[B](r[1]), as[C](r[2]))
	})
}

// as is a type assertion that lets a nil interface pass.
func as[T any](resource any) T {
	r, _ := resource.(T)
	return r
}

func byOrder(a, b AnyPool) int { return cmp.Compare(a.order(), b.order()) }

// useAll uses a connection of each pool at once, popped in the pools' order;
// fn gets the resources in the order of pools.
func useAll(ctx context.Context, all []AnyPool, fn func(resources []any) error) error {
	turns := make([]int, len(all))
	for i := range turns {
		turns[i] = i
	}
	slices.SortFunc(turns, func(i, j int) int { return byOrder(all[i], all[j]) })
	for _, p := range all {
		if p.order() == 0 {
			return ErrZero
		}
	}
	for k := 1; k < len(turns); k++ {
		if all[turns[k-1]].order() == all[turns[k]].order() {
			return fmt.Errorf("%w: %q", ErrSamePool, all[turns[k]].Name())
		}
	}
	resources := make([]any, len(all))
	var popErr, marked error // marked is what fn returned: a Discard is for all
	var next func(k int) error
	next = func(k int) error {
		if k == len(turns) {
			marked = fn(resources)
			return marked
		}
		ran, err := all[turns[k]].useAny(ctx, func(resource any) error {
			resources[turns[k]] = resource
			return next(k + 1)
		})
		if !ran {
			// The outer connections were not used: they go back as they are.
			popErr = err
		}
		if k > 0 {
			return marked
		}
		return err
	}
	err := next(0)
	if popErr != nil {
		return popErr
	}
	return err
}

// Group is pools by name, of any kinds. Its zero value is ready. It is safe
// for any number of goroutines.
type Group struct {
	mu    sync.Mutex
	pools map[string]AnyPool
	names []string // in the order in which they were added
}

// Add adds pools. It returns every fault at once, and then adds none.
func (g *Group) Add(all ...AnyPool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var faults []error
	names := map[string]bool{}
	for i, p := range all {
		if p == nil || p.order() == 0 {
			faults = append(faults, fieldError("Group.Add", "pool %d is nil or zero; make it by pools.New", i))
			continue
		}
		if g.pools[p.Name()] != nil || names[p.Name()] {
			faults = append(faults, fieldError("Group.Add", "there are two pools of the name %q; give each its own, or Remove the old one first", p.Name()))
		}
		names[p.Name()] = true
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if g.pools == nil {
		g.pools = map[string]AnyPool{}
	}
	for _, p := range all {
		g.pools[p.Name()] = p
		g.names = append(g.names, p.Name())
	}
	return nil
}

// Remove takes a pool out and returns it, or nil. It does not close it.
func (g *Group) Remove(name string) AnyPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pools[name]
	delete(g.pools, name)
	g.names = slices.DeleteFunc(g.names, func(n string) bool { return n == name })
	return p
}

// All returns the pools that were there when it began, in the order in which
// they were added.
func (g *Group) All() iter.Seq2[string, AnyPool] {
	return func(yield func(string, AnyPool) bool) {
		for _, p := range g.list() {
			if !yield(p.Name(), p) {
				return
			}
		}
	}
}

func (g *Group) list() []AnyPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]AnyPool, len(g.names))
	for i, name := range g.names {
		all[i] = g.pools[name]
	}
	return all
}

// Stats returns a snapshot of each pool, in the order of All.
func (g *Group) Stats() []Stats {
	var all []Stats
	for _, p := range g.list() {
		all = append(all, p.Stats())
	}
	return all
}

// Configure changes settings of all pools at once. change is called for each
// with the settings in force, see [Pool.Configure]; if the result has faults
// for any, or a pool is closed, all faults come in one error and no pool
// changes.
func (g *Group) Configure(change func(name string, s *Settings)) error {
	if change == nil {
		return fieldError("Group.Configure", "change is nil; give the function that changes the settings")
	}
	all := g.list()
	slices.SortFunc(all, byOrder)
	return configure(all, change)
}

// Close closes all pools at once and returns their errors joined.
func (g *Group) Close(ctx context.Context) error {
	all := g.list()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { errs[i] = p.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Use uses a connection of each named pool at once; see [Use2] for the order
// and for what happens when one gives nothing. Take the resources with [Of].
func (g *Group) Use(ctx context.Context, names []string, fn func(Resources) error) error {
	if len(names) == 0 {
		return fieldError("Group.Use", "names is empty; give the name of at least one pool")
	}
	all := make([]AnyPool, len(names))
	for i, name := range names {
		p, err := g.find(name)
		if err != nil {
			return err
		}
		all[i] = p
	}
	return useAll(ctx, all, func(resources []any) error {
		return fn(Resources{names, resources})
	})
}

func (g *Group) find(name string) (AnyPool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pools[name]
	if p == nil {
		return nil, fmt.Errorf("%w: %q; there are %q", ErrUnknown, name, g.names)
	}
	return p, nil
}

// Get returns the pool of that name. An unknown name is ErrUnknown, another
// type of resource ErrType.
func Get[T any](g *Group, name string) (*Pool[T], error) {
	found, err := g.find(name)
	if err != nil {
		return nil, err
	}
	p, ok := found.(*Pool[T])
	if !ok {
		return nil, fmt.Errorf("%w: %q is a %T, not a %T", ErrType, name, found, p)
	}
	return p, nil
}

// Resources are what a [Group.Use] has popped.
type Resources struct {
	names     []string
	resources []any
}

// Of returns the resource of the named pool. It panics if the Use did not
// name that pool, or if its resource is not a T: both are mistakes in the
// program.
func Of[T any](r Resources, name string) T {
	i := slices.Index(r.names, name)
	if i < 0 {
		panic(fmt.Sprintf("pools: Of(%q): this Use named %q", name, r.names))
	}
	resource, ok := r.resources[i].(T)
	if !ok && r.resources[i] != nil {
		panic(fmt.Sprintf("pools: Of(%q): the resource is a %T", name, r.resources[i]))
	}
	return resource
}
