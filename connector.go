package pools

import (
	"context"
	"errors"
	"reflect"
)

// Connector says how connections of one kind are made and kept. Only Open is
// required.
//
// Open, Close, Check, Reset and Abort run in goroutines of the pool, any number
// at a time, each for one connection, and each is bounded by its timeout in
// [Settings] (Abort by CloseTimeout): its ctx ends then, and a call that has not returned a little
// later (a tenth of the timeout, at most 100 ms) is abandoned: counted in
// Stats, and cleaned up when it comes back. They may panic, call
// runtime.Goexit and use the pool.
type Connector[T any] struct {
	// Open makes a connection. Its ctx carries the values of the first
	// waiter's ctx, for traces, but neither its deadline nor its
	// cancellation: a connection outlives the request it was opened for.
	Open func(ctx context.Context) (T, error)

	// Close ends a connection. If it is nil, the resource's own Close is
	// called, which may be Close() error, Close() or Close(ctx) error; New
	// refuses a T that has none of these.
	Close func(ctx context.Context, resource T) error

	// Check says whether a connection that was idle for long (CheckAfter) is
	// still alive. It may do I/O. Nil: idle connections are not checked.
	Check func(ctx context.Context, resource T) error

	// Reset makes a connection clean for its next user. It runs after each
	// return (but see Dirty), in the background; it may do I/O. An error closes the
	// connection. Nil: nothing to clean.
	Reset func(ctx context.Context, resource T) error

	// Dirty says whether a connection needs its Reset, as far as it can be
	// told at no cost: a Reset keeps a connection from its next user for a
	// while. It is asked like Broken, after it. Nil: Reset runs after each
	// return.
	Dirty func(resource T) bool

	// Broken says whether a connection must be closed instead of being lent
	// again. It is asked at every return but those that close it anyway
	// (Destroy, Discard, a revoked lease), in the goroutine of the holder,
	// with the error the holder gave: nil for a plain Push. It must be quick
	// and do no I/O. Nil: a connection is closed after any timeout, context
	// error, network or system error, io.EOF and driver.ErrBadConn. Panics,
	// Goexit and Discard close it in any case.
	Broken func(resource T, err error) bool

	// Abort interrupts a connection while somebody is using it, so that the
	// holder's call fails now (net.Conn.Close does). It is called for a
	// RevokeAll, and for a Close of the pool that runs out of time. The
	// holder may come back meanwhile, so that Close runs beside it. Nil:
	// holders are waited for.
	Abort func(resource T)
}

// OpenFunc makes a Connector of a function that opens a connection. T is
// inferred; the connection's own Close method ends it.
func OpenFunc[T any](open func(ctx context.Context) (T, error)) Connector[T] {
	return Connector[T]{Open: open}
}

// The methods by which a resource may close itself.
type (
	closer      interface{ Close() error }
	quietCloser interface{ Close() }
	ctxCloser   interface{ Close(context.Context) error }
)

func closeItself[T any](ctx context.Context, resource T) error {
	switch r := any(resource).(type) {
	case closer:
		return r.Close()
	case ctxCloser:
		return r.Close(ctx)
	case quietCloser:
		r.Close()
	}
	return nil
}

// complete fills in what is nil and returns every fault.
func (c *Connector[T]) complete() error {
	var faults []error
	if c.Open == nil {
		faults = append(faults, fieldError("Connector.Open", "is nil; give the function that opens a connection"))
	}
	if c.Close == nil {
		t := reflect.TypeFor[T]()
		if !t.Implements(reflect.TypeFor[closer]()) &&
			!t.Implements(reflect.TypeFor[ctxCloser]()) &&
			!t.Implements(reflect.TypeFor[quietCloser]()) {
			faults = append(faults, fieldError("Connector.Close",
				"is nil and %v has no method Close() error, Close() or Close(context.Context) error; give a function that closes it", t))
		}
		c.Close = closeItself[T]
	}
	if c.Dirty != nil && c.Reset == nil {
		faults = append(faults, fieldError("Connector.Dirty", "is there and Connector.Reset is nil; give what makes a dirty connection clean"))
	}
	return errors.Join(faults...)
}

// isNil reports whether an Open returned nothing: a nil pointer, map,
// channel, function or interface.
func isNil[T any](resource T) bool {
	v := reflect.ValueOf(resource)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return v.IsNil()
	}
	return false
}
