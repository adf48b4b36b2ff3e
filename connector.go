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
	// Open opens a connection. Its ctx ends when Open returns, so a resource
	// must not depend on it. What lives as long as its ctx (an interpreter
	// started by exec.CommandContext, a browser tab of chromedp) needs another
	// one: context.WithoutCancel(ctx), or its own, which Close cancels. The
	// ctx carries no values of a Pop's ctx, except those that Values adds. An
	// error that a further try would not change should be [Permanent].
	Open func(ctx context.Context) (T, error)

	// Values returns a ctx with the values of a Pop's ctx that go along to
	// Open, such as the span of a trace. Open's ctx gets the values of the
	// longest waiting Pop when the open begins. It gets neither deadline nor
	// cancellation, since a connection outlives the request that it was opened
	// for: return only values that may be used after the request has ended.
	// Frameworks that reuse their contexts (fasthttp, fiber, gin) forbid that
	// for the ctx itself. Values runs in the Pop's goroutine, in each Pop that
	// finds nothing idle, and so must be quick. Nil, or a nil ctx: none.
	Values func(ctx context.Context) context.Context

	// Close closes a connection. If it is nil, the pool calls the resource's
	// own Close method, which may be Close() error, Close() or Close(ctx)
	// error; New returns an error if T has none of them.
	Close func(ctx context.Context, resource T) error

	// Check returns nil if a connection that was idle for a long time
	// (CheckAfter) is still alive. It may do I/O. Nil: idle connections are
	// not checked.
	Check func(ctx context.Context, resource T) error

	// Peek returns an error if a connection is known to be of no use, as far as
	// this can be known without a round trip: the server has closed it. It is
	// called before a connection is lent that was idle for a while, which is
	// between one look of the keeper and two (up to two seconds, see Settings),
	// also if CheckAfter has not passed yet. One that was used since is lent
	// without it. It runs in the goroutine of the Pop or TryPop, must not wait,
	// and costs nothing where it is not called. After an error the connection is
	// closed, its siblings are suspected, and the Pop goes on. A Pop that had to
	// wait for such a connection (the pool was paused) gets it after a Check
	// instead; without a Check, with CheckAfter Never, or if its WaitTimeout ends
	// just then, it gets it as it is. Nil: the resource is asked as for Broken, if
	// that is nil too.
	Peek func(resource T) error

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
	// io.EOF and driver.ErrBadConn ([Breaks]), and if the resource says that
	// it is of no use: if T has a method IsClosed() bool, IsClosing() bool,
	// IsValid() bool or Err() error, each return asks it. Such a method must
	// be as quick as Broken; asking adds about 50 ns to each Push. Panics,
	// Goexit and Discard always close the connection.
	//
	// Errors that break nothing count too: when five uses of a connection on
	// end have returned one, it is checked before it is lent again, or reset
	// if it is dirty. Without a Check and without a Broken it is closed, if a
	// use of it had succeeded before. Neither happens more than once a second
	// in a pool, since such errors may be the fault of the requests.
	Broken func(resource T, err error) bool

	// Unfinished returns an error that says what the holder has left unfinished
	// and the next user must not find, such as an open transaction; nil if there
	// is nothing. Such a connection is always Reset, whatever Dirty says, so a
	// Reset is required. It is told (EventUnfinished, with the holder's stack if
	// TrackHolders is set), counted (Stats), and with FailUnfinished an error of
	// Use, Push and PushErr. It is called in the same way as Broken: after it, and
	// only if the connection is not broken. Nil: nobody is told.
	Unfinished func(resource T) error

	// Abort interrupts a connection while its holder is using it, so that the
	// holder's call fails at once (net.Conn.Close does this). It is called on
	// RevokeAll and Revoke, and when a Close of the pool runs out of time. The
	// holder may return the connection meanwhile, so Close may run concurrently
	// with Abort. Nil: the pool waits for holders.
	Abort func(resource T)

	judges bool // Broken is the user's
}

// OpenFunc is a function and not a type: it returns a Connector whose Open is the
// given function. T is inferred.
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

// The methods by which a resource may say that it is of no use any more.
type (
	closedTeller  interface{ IsClosed() bool }
	closingTeller interface{ IsClosing() bool }
	validTeller   interface{ IsValid() bool }
	errTeller     interface{ Err() error }
)

// tells reports whether a T can say that it is of no use.
func tells[T any]() bool {
	t := reflect.TypeFor[T]()
	return t.Implements(reflect.TypeFor[closedTeller]()) || t.Implements(reflect.TypeFor[closingTeller]()) ||
		t.Implements(reflect.TypeFor[validTeller]()) || t.Implements(reflect.TypeFor[errTeller]())
}

var errTold = errors.New("pools: the resource says that it is of no use")

// brokenItself is the Broken of connectors without one whose T tells.
func brokenItself[T any](resource T, err error) bool {
	if Breaks(err) {
		return true
	}
	r := any(resource)
	if r, ok := r.(closedTeller); ok && r.IsClosed() {
		return true
	}
	if r, ok := r.(closingTeller); ok && r.IsClosing() {
		return true
	}
	if r, ok := r.(validTeller); ok && !r.IsValid() {
		return true
	}
	if r, ok := r.(errTeller); ok && r.Err() != nil {
		return true
	}
	return false
}

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

// complete fills in a nil Close, and a nil Broken if the resource can tell. It
// returns all faults.
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
	c.judges = c.Broken != nil
	if c.Broken == nil && tells[T]() {
		c.Broken = brokenItself[T]
		if c.Peek == nil {
			c.Peek = func(resource T) error {
				if brokenItself(resource, nil) {
					return errTold
				}
				return nil
			}
		}
	}
	if c.Dirty != nil && c.Reset == nil {
		faults = append(faults, fieldError("Connector.Dirty", "is set, but Connector.Reset is nil; give the Reset that cleans a dirty connection"))
	}
	if c.Unfinished != nil && c.Reset == nil {
		faults = append(faults, fieldError("Connector.Unfinished", "is set, but Connector.Reset is nil; give the Reset that ends what was left unfinished"))
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
