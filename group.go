package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"time"
)

// AnyPool is a pool with resources of any type. Every *Pool implements it, and
// no other type does.
type AnyPool interface {
	Name() string
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
	Revoke(ids ...string) int
	Suspect()
	Close(ctx context.Context) error

	order() uint64
	configurable
	useAny(ctx context.Context, fn func(resource any) error) (ran bool, err error)
}

// order returns the pool's place in the order in which several pools are popped
// from. It is 0 for a pool that New has not made.
func (p *Pool[T]) order() uint64 {
	if p == nil {
		return 0
	}
	return p.serial
}

func (p *Pool[T]) useAny(ctx context.Context, fn func(resource any) error) (bool, error) {
	return p.use(ctx, func(resource T) error { return fn(resource) })
}

// use is Use, and also reports whether fn ran.
func (p *Pool[T]) use(ctx context.Context, fn func(resource T) error) (ran bool, err error) {
	err = p.Use(ctx, func(resource T) error {
		ran = true
		return fn(resource)
	})
	return ran, err
}

// useNested uses b within a use of a. If the Pop from b fails, a's resource was
// not used and goes back unchanged.
func useNested[A, B any](ctx context.Context, a *Pool[A], b *Pool[B], fn func(A, B) error) error {
	var popErr, left error
	err := a.Use(ctx, func(ra A) error {
		var fnErr error // as fn returned it: b.use unwraps a Discard, which is for a's connection too
		ran, err := b.use(ctx, func(rb B) error {
			fnErr = fn(ra, rb)
			return fnErr
		})
		switch {
		case !ran:
			popErr = err
		case fnErr == nil:
			left = err // with FailUnfinished
		}
		return fnErr
	})
	switch {
	case popErr != nil:
		return popErr
	case left != nil:
		return errors.Join(err, left)
	}
	return err
}

// Use2 uses connections of two pools at once. It always pops in the order in
// which the pools were made, whatever the order of its arguments, so that two
// calls of Use2 cannot block each other. If the second Pop fails, the first
// connection goes back and fn does not run. Both pools must not be the same. For
// more than two pools there is [Group.Use].
func Use2[A, B any](ctx context.Context, a *Pool[A], b *Pool[B], fn func(A, B) error) error {
	if a.order() == 0 || b.order() == 0 {
		return errZeroPool
	}
	switch {
	case a.serial == b.serial:
		return fmt.Errorf("%w: %q", errSamePool, a.name)
	case a.serial < b.serial:
		return useNested(ctx, a, b, fn)
	}
	return useNested(ctx, b, a, func(rb B, ra A) error { return fn(ra, rb) })
}

func byOrder(a, b AnyPool) int { return cmp.Compare(a.order(), b.order()) }

// useAll uses a connection of each pool at once. It pops them in the pools'
// order; fn gets the resources in the order of all.
func useAll(ctx context.Context, all []AnyPool, fn func(resources []any) error) error {
	turns := make([]int, len(all)) // indexes of all, in the pools' order
	for i := range turns {
		turns[i] = i
	}
	slices.SortFunc(turns, func(i, j int) int { return byOrder(all[i], all[j]) })
	for _, p := range all {
		if p.order() == 0 {
			return errZeroPool
		}
	}
	for k := 1; k < len(turns); k++ {
		if all[turns[k-1]].order() == all[turns[k]].order() {
			return fmt.Errorf("%w: %q", errSamePool, all[turns[k]].Name())
		}
	}
	resources := make([]any, len(all))
	// fnErr is the error as fn returned it: each Use unwraps a Discard, which is
	// for the connections of all pools.
	var popErr, fnErr, left error
	var next func(k int) error
	next = func(k int) error {
		if k == len(turns) {
			fnErr = fn(resources)
			return fnErr
		}
		ran, err := all[turns[k]].useAny(ctx, func(resource any) error {
			resources[turns[k]] = resource
			return next(k + 1)
		})
		switch {
		case !ran:
			// The outer connections were not used: they go back unchanged.
			popErr = err
		case fnErr == nil:
			left = errors.Join(left, err) // with FailUnfinished
		}
		if k > 0 {
			return fnErr
		}
		return err
	}
	err := next(0)
	switch {
	case popErr != nil:
		return popErr
	case left != nil:
		return left
	}
	return err
}

// Group is a set of pools of any types, by name. The zero value is ready to
// use. A Group is safe for concurrent use.
type Group struct {
	mu    sync.Mutex
	pools map[string]AnyPool
	names []string // in the order in which they were added
}

// Add adds pools. If there are faults, it returns all of them in one error and
// adds no pool.
func (g *Group) Add(all ...AnyPool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var faults []error
	names := map[string]bool{}
	for i, p := range all {
		if p == nil || p.order() == 0 {
			faults = append(faults, fieldError("Group.Add", "pool %d is nil or zero; make it with pools.New", i))
			continue
		}
		if g.pools[p.Name()] != nil || names[p.Name()] {
			faults = append(faults, fieldError("Group.Add", "two pools are named %q; give each its own name, or Remove the old one first", p.Name()))
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

// Remove removes the named pool from the group and returns it, or nil if there
// is none. It does not close the pool.
func (g *Group) Remove(name string) AnyPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pools[name]
	delete(g.pools, name)
	g.names = slices.DeleteFunc(g.names, func(n string) bool { return n == name })
	return p
}

// All returns the pools that were in the group when the iteration began, in the
// order in which they were added.
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

// Configure changes settings of all pools at once. It calls change for each
// pool with the settings in force, see [Pool.Configure]. If the settings of any
// pool have faults, or a pool is closed, Configure returns all faults in one
// error and changes no pool.
func (g *Group) Configure(change func(name string, s *Settings)) error {
	if change == nil {
		return fieldError("Group.Configure", "change is nil; give the function that changes the settings")
	}
	all := g.list()
	slices.SortFunc(all, byOrder)
	return configure(all, change)
}

// Suspect calls Suspect for each pool, see [Pool.Suspect].
func (g *Group) Suspect() {
	for _, p := range g.list() {
		p.Suspect()
	}
}

// Close closes all pools concurrently and returns their errors joined.
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

// Use uses a connection of each named pool at once. See [Use2] for the order of
// the Pops and for a Pop that fails. Get the resources with [Of]. Use returns
// an error if names is empty.
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
		return nil, fmt.Errorf("%w: %q; its pools are %q", ErrUnknown, name, g.names)
	}
	return p, nil
}

// Get returns the named pool. It returns ErrUnknown if the group has no pool of
// that name, or if the resources of that pool are not of type T.
func Get[T any](g *Group, name string) (*Pool[T], error) {
	found, err := g.find(name)
	if err != nil {
		return nil, err
	}
	p, ok := found.(*Pool[T])
	if !ok {
		return nil, fmt.Errorf("%w: %q is a %T, not a %T", ErrUnknown, name, found, p)
	}
	return p, nil
}

// Resources are the resources of the connections that a [Group.Use] has popped.
type Resources struct {
	names     []string
	resources []any
}

// Of returns the resource of the named pool. It panics if Group.Use did not name
// that pool, or if its resource is not a T: both are bugs in the program.
func Of[T any](r Resources, name string) T {
	i := slices.Index(r.names, name)
	if i < 0 {
		panic(fmt.Sprintf("pools: Of(%q): Group.Use did not name this pool, only %q", name, r.names))
	}
	resource, ok := r.resources[i].(T)
	if !ok && r.resources[i] != nil {
		panic(fmt.Sprintf("pools: Of(%q): the resource is a %T, not a %v", name, r.resources[i], reflect.TypeFor[T]()))
	}
	return resource
}
