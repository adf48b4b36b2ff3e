package pools

import (
	"context"
	"errors"
	"reflect"
)

// Connector defines how connections of one kind are opened, closed and
// maintained. Only Open is required.
//
// Open, Close, Check, Reset and Abort run in goroutines of the pool. Any number
// of them may run at once, and each call is for one connection. Each is bounded
// by its timeout in [Settings] (Abort by CloseTimeout). Its ctx ends at the
// timeout. A call that has still not returned a little later (a tenth of the
// timeout, at most 100 ms) is abandoned: Stats counts it, and the pool cleans
// up after it when it returns. These functions may panic, call runtime.Goexit
// and use the pool.
type Connector[T any] struct {
	// Open opens a connection. Its ctx carries the values of the first
	// waiter's ctx, for tracing, but neither its deadline nor its
	// cancellation: a connection outlives the request it was opened for.
	Open func(ctx context.Context) (T, error)

	// Close closes a connection. If it is nil, the pool calls the resource's
	// own Close method, which may be Close() error, Close() or Close(ctx)
	// error; New returns an error if T has none of them.
	Close func(ctx context.Context, resource T) error

	// Check returns nil if a connection that was idle for a long time
	// (CheckAfter) is still alive. It may do I/O. Nil: idle connections are
	// not checked.
	Check func(ctx context.Context, resource T) error

	// Reset cleans a connection for its next user. It runs in the background
	// after each return (but see Dirty), and may do I/O. An error closes the
	// connection. Nil: there is nothing to clean.
	Reset func(ctx context.Context, resource T) error

	// Dirty reports whether a connection needs a Reset, as far as this can be
	// known at no cost. It exists because a Reset delays the connection's next
	// user. It is called in the same way as Broken, and after it. Nil: Reset
	// runs after each return.
	Dirty func(resource T) bool

	// Broken reports whether a connection must be closed instead of being
	// lent again. It is called at every return, except those that close the
	// connection anyway (Destroy, Discard, a revoked lease). It runs in the
	// holder's goroutine and gets the error that the holder returned: nil for
	// a plain Push. It must be quick and do no I/O. Nil: a connection is
	// closed after any timeout, context error, network or system error,
	// io.EOF and driver.ErrBadConn. Panics, Goexit and Discard always close
	// it.
	Broken func(resource T, err error) bool

	// Abort interrupts a connection while its holder is using it, so that the
	// holder's call fails at once (net.Conn.Close does this). It is called on
	// RevokeAll, and when a Close of the pool runs out of time. The holder
	// may return the connection meanwhile, so Close may run concurrently with
	// Abort. Nil: the pool waits for holders.
	Abort func(resource T)
}

// OpenFunc returns a Connector whose Open is the given function. T is inferred.
// The resource's own Close method closes the connection.
func OpenFunc[T any](open func(ctx context.Context) (T, error)) Connector[T] {
	return Connector[T]{Open: open}
}

// The Close methods that a resource may have.
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

// complete fills in a nil Close and returns all faults.
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
				"is nil, and %v has no method Close() error, Close() or Close(context.Context) error; give the function that closes a connection", t))
		}
		c.Close = closeItself[T]
	}
	if c.Dirty != nil && c.Reset == nil {
		faults = append(faults, fieldError("Connector.Dirty", "is set, but Connector.Reset is nil; give the Reset that cleans a dirty connection"))
	}
	return errors.Join(faults...)
}

// isNil reports whether a resource is a nil pointer, map, channel, function or
// interface.
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
