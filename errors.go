package pools

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// The reasons for which this package refuses something. Test for them with
// [errors.Is]; those of a Pop come inside a [*PopError].
var (
	ErrClosed         = errors.New("pools: the pool is closed")
	ErrWaitTimeout    = errors.New("pools: no connection came free within WaitTimeout")
	ErrTooManyWaiting = errors.New("pools: MaxWaiting goroutines are waiting already")
	ErrOpenFailed     = errors.New("pools: no connection could be opened")
	ErrOpenTimeout    = errors.New("pools: Open took longer than OpenTimeout")
	// ErrPaused is ErrWaitTimeout too.
	ErrPaused error = &hidden{"pools: the pool is paused, and no Resume came within WaitTimeout", ErrWaitTimeout}

	ErrAbandoned = errors.New("pools: the call did not return in time and was abandoned")

	ErrNotHeld = errors.New("pools: this lease has ended; a Conn is pushed, destroyed or detached once")
	// ErrRevoked is ErrNotHeld too.
	ErrRevoked error = &hidden{"pools: this lease was revoked; its connection is closed now", ErrNotHeld}

	ErrForeign  = errors.New("pools: this Conn belongs to another pool")
	ErrZero     = errors.New("pools: a zero value; pools are made by pools.New and Conns by Pop")
	ErrSamePool = errors.New("pools: the same pool is asked for twice; two connections of one pool held at once can deadlock")
	ErrUnknown  = errors.New("pools: no pool of this name in the group")
	ErrType     = errors.New("pools: the pool's resources are of another type")
	ErrStillOut = errors.New("pools: closed, but not everything came back")

	// errGoexit stands for user code that ended its goroutine.
	errGoexit = errors.New("pools: called runtime.Goexit")
)

// PopError says why a Pop gave no connection, and what the pool looked like
// at that moment. When a Use returns the PopError of its own pool, its
// function never ran.
//
// errors.Is(err, context.DeadlineExceeded) is true only if the caller's own
// ctx ended. The error of an Open can be reached by errors.Is and errors.As
// only if it happened during this wait; else it is in the text alone.
type PopError struct {
	Pool string
	// Size and what the slots were. The four need not add up to Size: see
	// Stats for all states.
	Size, Held, Idle, Opening int
	Own                       int           // of Held, by the goroutine that popped; counted with TrackHolders
	Waiting                   int           // others that were waiting
	Waited                    time.Duration // how long this Pop waited
	Err                       error         // the reason: one of the errors above or the ctx's
	OpenErr                   error         // the latest failure of Open, if there is one that matters

	openErrIsOurs bool // it happened during this wait
}

func (e *PopError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pools: pop from %q: %s", e.Pool, strings.TrimPrefix(e.Err.Error(), "pools: "))
	fmt.Fprintf(&b, " (waited %v; size %d, held %d, idle %d, opening %d, waiting %d)",
		e.Waited.Round(time.Microsecond), e.Size, e.Held, e.Idle, e.Opening, e.Waiting)
	if e.Own > 0 {
		fmt.Fprintf(&b, ": this goroutine holds %d of these itself, so it may have waited for itself; push them first, or take all it needs from different pools", e.Own)
	}
	if e.OpenErr != nil {
		fmt.Fprintf(&b, ": open: %v", e.OpenErr)
	}
	return b.String()
}

// Unwrap returns Err and, if it happened during this wait, OpenErr.
func (e *PopError) Unwrap() []error {
	if e.OpenErr == nil || !e.openErrIsOurs {
		return []error{e.Err}
	}
	return []error{e.Err, e.OpenErr}
}

// CloseError says what had not come back when a [Pool.Close] ended. It is
// ErrStillOut, and Err.
type CloseError struct {
	Pool      string
	Held      []Holder // connections that are still lent
	Abandoned []string // calls of the connector that hang, as "Open for 12s"
	Busy      int      // connections that are just being opened, checked, reset or closed
	Telling   int      // reports to an Observer or the Logger that are under way
	Err       error    // why the wait ended: the ctx's error, that 30 s were over, or ErrAbandoned when all but hung calls was over
}

func (e *CloseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pools: close %q: %v:", e.Pool, e.Err)
	for i, h := range e.Held {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more,", len(e.Held)-i)
			break
		}
		fmt.Fprintf(&b, " %s is held,", h.ID)
	}
	for _, a := range e.Abandoned {
		fmt.Fprintf(&b, " %s hangs,", a)
	}
	if e.Busy > 0 {
		fmt.Fprintf(&b, " %d are being opened, checked, reset or closed,", e.Busy)
	}
	if e.Telling > 0 {
		fmt.Fprintf(&b, " %d reports to an Observer or the Logger are under way,", e.Telling)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// Unwrap makes it ErrStillOut and Err.
func (e *CloseError) Unwrap() []error { return []error{ErrStillOut, e.Err} }

// PanicError is a panic in Connector.Open, Close, Check, Reset or Abort, which run
// in goroutines of the pool.
type PanicError struct {
	Func  string // as in Connector: "Open", "Close" ...
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("pools: panic in Connector.%s: %v", e.Func, e.Value)
}

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// fieldError is one fault of a connector or of settings.
func fieldError(field, format string, args ...any) error {
	return fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...))
}

// Discard marks err so that the connection is closed instead of going back to
// the pool, whatever Connector.Broken says. Return it from the function of a
// Use, or hand it to PushErr. Use itself returns err as it was: Discard(nil)
// drops a connection without failing.
func Discard(err error) error { return &discard{err} }

type discard struct{ err error }

func (d *discard) Error() string {
	if d.err == nil {
		return "pools: discard the connection"
	}
	return d.err.Error()
}

func (d *discard) Unwrap() error { return d.err }

// timeouter is an error that knows of timeouts: those of the operating system
// and of most protocols do.
type timeouter interface {
	error
	Timeout() bool
}

// isTimeout reports whether err may say more of the user's patience than of
// the connection.
func isTimeout(err error) bool {
	if t, ok := errors.AsType[timeouter](err); ok && t.Timeout() {
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Breaks reports whether err may have left an answer on its way: a timeout, a
// context's error, an error of the network or the system, [io.EOF] or
// [driver.ErrBadConn]. It is what a pool asks without a Connector.Broken, and
// what a Broken of one's own should mostly begin with.
func Breaks(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[timeouter](err); ok {
		return true
	}
	for _, bad := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
		io.ErrClosedPipe, net.ErrClosed, driver.ErrBadConn,
	} {
		if errors.Is(err, bad) {
			return true
		}
	}
	return false
}

// hidden is a text of its own that is another error, or nothing. An error of
// Open that is itself a deadline or a cancellation is hidden so that it is
// never mistaken for the end of the caller's own ctx.
type hidden struct {
	text string
	is   error
}

func (h *hidden) Error() string { return h.text }
func (h *hidden) Unwrap() error { return h.is }

// hide returns err, hidden if it would pass for the end of the caller's ctx.
func hide(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &hidden{err.Error(), nil}
	}
	return err
}
