package puddle

import (
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

// What a resource may be for who has it.
const (
	idle int32 = iota // or destroyed
	acquired
	hijacked
)

// Resource is a resource of a pool, the same one each time it is acquired.
type Resource[T any] struct {
	pool    *Pool[T]
	value   T
	created time.Time
	reset   int64         // how many Resets there had been
	none    bool          // it has no value
	gone    chan struct{} // of one that was old when it was made: closed when it is destroyed
	used    int64         // nanotime of the last Release
	conn    pools.Conn[*Resource[T]]
	state   atomic.Int32
}

// never is a reset that is always old.
const never = -1

// old reports whether there was a Reset since it was made, or it is none.
func (r *Resource[T]) old() bool { return r.reset != r.pool.resets.Load() }

// ends ends the holder's right; only one of several callers gets past it.
func (r *Resource[T]) ends(what string, state int32) pools.Conn[*Resource[T]] {
	conn := r.conn
	if !r.state.CompareAndSwap(acquired, state) {
		panic("tried to " + what + " resource that is not acquired")
	}
	return conn
}

func (r *Resource[T]) held() {
	if r.state.Load() == idle {
		panic("tried to access resource that is not acquired or hijacked")
	}
}

// Value returns the resource's value.
func (r *Resource[T]) Value() T { r.held(); return r.value }

// Release gives the resource back.
func (r *Resource[T]) Release() {
	if r.state.Load() == acquired {
		r.used = r.pool.nanotime()
	}
	_ = r.ends("release", idle).Push()
}

// ReleaseUnused gives it back without a trace in LastUsedNanotime.
func (r *Resource[T]) ReleaseUnused() { _ = r.ends("release", idle).Push() }

// Destroy gives it back to be destroyed.
func (r *Resource[T]) Destroy() { _ = r.ends("destroy", idle).Destroy() }

// Hijack takes it out of the pool for good.
func (r *Resource[T]) Hijack() { _, _ = r.ends("hijack", hijacked).Detach() }

// CreationTime returns when it was made.
func (r *Resource[T]) CreationTime() time.Time { r.held(); return r.created }

// LastUsedNanotime returns when it was last released, or made, in nanoseconds
// since some moment.
func (r *Resource[T]) LastUsedNanotime() int64 { r.held(); return r.used }

// IdleDuration returns how long ago that is.
func (r *Resource[T]) IdleDuration() time.Duration {
	r.held()
	return time.Duration(r.pool.nanotime() - r.used)
}
