package pools

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"
)

// The reasons for which this package refuses something. Test for them with
// [errors.Is]. A Pop returns its reason inside a [*PopError].
var (
	ErrClosed         = errors.New("pools: the pool is closed")
	ErrWaitTimeout    = errors.New("pools: no connection became available within WaitTimeout")
	ErrTooManyWaiting = errors.New("pools: MaxWaiting goroutines are already waiting")
	ErrTooLate        = errors.New("pools: the pool is overloaded, and this Pop could not be served in time")
	ErrOpenFailed     = errors.New("pools: no connection could be opened")
	ErrOpenTimeout    = errors.New("pools: Open took longer than OpenTimeout")
	// ErrPaused also matches ErrWaitTimeout.
	ErrPaused error = &hidden{"pools: the pool is paused and was not resumed within WaitTimeout", ErrWaitTimeout}

	ErrAbandoned = errors.New("pools: the call did not return in time and was abandoned")

	// ErrNotHeld is also the error for a zero Conn, and for one that belongs to
	// another pool.
	ErrNotHeld = errors.New("pools: this lease has ended; push, destroy or detach a Conn only once")
	// ErrRevoked also matches ErrNotHeld.
	ErrRevoked error = &hidden{"pools: this lease was revoked; the pool closes its connection", ErrNotHeld}

	// ErrUnfinished is an error of Use, Push and PushErr with FailUnfinished. It
	// wraps what Connector.Unfinished has returned.
	ErrUnfinished = errors.New("pools: the use left something unfinished")

	ErrUnknown = errors.New("pools: the group has no pool of this name and type")

	// Mistakes in the program have a text, but nothing to test for.
	errForeign  error = &hidden{"pools: this Conn belongs to another pool", ErrNotHeld}
	errZeroConn error = &hidden{"pools: zero Conn; Conns come from Pop", ErrNotHeld}
	errZeroPool       = errors.New("pools: zero Pool; make it with pools.New")
	errSamePool       = errors.New("pools: the same pool is named twice; holding two connections of one pool can deadlock")

	// errStanding is what MaxQueueDelay refuses with.
	errStanding error = &hidden{"pools: refused by MaxQueueDelay: every Pop has waited for longer than that of late", ErrTooLate}

	// errGoexit is the error of user code that ended its goroutine.
	errGoexit = errors.New("pools: the connector's function called runtime.Goexit")
)

// PopError says why a Pop returned no connection, and describes the pool at
// that moment. When a Use returns the PopError of its own pool, its function
// never ran.
//
// errors.Is(err, context.DeadlineExceeded) is true only if the caller's own
// ctx ended. errors.Is and errors.As find the error of an Open only if it
// happened during this wait; otherwise it is only in the text.
type PopError struct {
	Pool string
	// Size, and the number of slots in each of three states. These need not
	// add up to Size: see Stats for all states. In a pool of more than 64
	// slots, Held and Idle may be up to 10 ms old.
	Size, Held, Idle, Opening int
	Own                       int           // those of Held that the popping goroutine holds; only with TrackGoroutines
	Waiting                   int           // other goroutines that were waiting
	Waited                    time.Duration // how long this Pop waited
	Err                       error         // the reason: one of the errors above or the ctx's error
	OpenErr                   error         // the latest failure of Open, if it is relevant

	// Oldest has been lent for longest. It may be up to a second out of date,
	// since the keeper notices a new holder only at its next look: its For is a
	// lower bound. The zero Connection: nobody holds one, or, in a pool of more
	// than 64 slots, the one of the keeper's last look has come back.
	Oldest Connection

	openErrIsOurs bool // OpenErr happened during this wait
}

func (e *PopError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pools: pop from %q: %s", e.Pool, strings.TrimPrefix(e.Err.Error(), "pools: "))
	fmt.Fprintf(&b, " (waited %v; size %d, held %d, idle %d, opening %d, waiting %d",
		e.Waited.Round(time.Microsecond), e.Size, e.Held, e.Idle, e.Opening, e.Waiting)
	if e.Oldest.ID != "" {
		fmt.Fprintf(&b, "; longest held: %s, for at least %v", e.Oldest.ID, e.Oldest.For.Round(time.Millisecond))
		if e.Oldest.Goroutine != 0 {
			fmt.Fprintf(&b, ", by goroutine %d", e.Oldest.Goroutine)
		}
	}
	b.WriteByte(')')
	if e.Own > 0 && !errors.Is(e.Err, ErrClosed) && !errors.Is(e.Err, ErrPaused) {
		fmt.Fprintf(&b, ": this goroutine holds %d of this pool's connections, so it may have waited for itself; push them first, or take each connection from a different pool", e.Own)
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

// CloseError says what was still outstanding when a [Pool.Close] returned.
type CloseError struct {
	Pool      string
	Held      []Connection // those that are still lent
	Abandoned []string     // connector calls that hang, such as "Open for 12s"
	// Err says why the wait ended: the ctx's error, an error that says that
	// 30 s have passed, or ErrAbandoned if only hung calls were left.
	Err error

	busy, telling int // calls of the connector, and reports to an Observer or the Logger, that are under way
}

func (e *CloseError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "pools: close %q: %v", e.Pool, e.Err)
	separator := ": "
	add := func(format string, args ...any) {
		text.WriteString(separator + fmt.Sprintf(format, args...))
		separator = "; "
	}
	var ids []string
	for _, h := range e.Held[:min(len(e.Held), 10)] {
		ids = append(ids, h.ID)
	}
	if more := len(e.Held) - len(ids); more > 0 {
		add("still held: %s and %d more", strings.Join(ids, ", "), more)
	} else if len(ids) > 0 {
		add("still held: %s", strings.Join(ids, ", "))
	}
	if len(e.Abandoned) > 0 {
		add("hung: %s", strings.Join(e.Abandoned, ", "))
	}
	if e.busy > 0 {
		add("%d being opened, checked, reset or closed", e.busy)
	}
	if e.telling > 0 {
		add("%d reports to an Observer or the Logger under way", e.telling)
	}
	for _, h := range e.Held[:len(ids)] {
		if h.Stack == "" && h.Goroutine == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n%s is held", h.ID)
		if h.Goroutine != 0 {
			fmt.Fprintf(&text, " by goroutine %d", h.Goroutine)
		}
		if h.Stack != "" {
			text.WriteString(", taken at:\n" + strings.TrimSuffix(h.Stack, "\n"))
		}
	}
	return text.String()
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// PanicError reports a panic in Connector.Open, Close, Check, Reset or Abort,
// which run in goroutines of the pool.
type PanicError struct {
	Func  string // the function's name in Connector: "Open", "Close" ...
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

// isBug reports whether a call of the connector panicked or ended its goroutine.
func isBug(err error) bool {
	_, panicked := err.(*PanicError)
	return panicked || err == errGoexit
}

// fieldError returns an error about one field or argument.
func fieldError(field, format string, args ...any) error {
	return fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...))
}

// Discard marks err so that the connection is closed instead of returning to
// the pool, whatever Connector.Broken says. Return it from the function passed
// to Use, or pass it to PushErr. Use itself returns the original err, so
// Discard(nil) closes the connection without an error.
func Discard(err error) error { return &discard{err} }

type discard struct{ err error }

func (d *discard) Error() string {
	if d.err == nil {
		return "pools: discard the connection"
	}
	return d.err.Error()
}

func (d *discard) Unwrap() error { return d.err }

// Permanent marks an error of [Connector.Open] that a further try would not
// change: a wrong password, a database that does not exist, a certificate that is
// refused. This open is not tried again, and the next one not before 30 s have
// passed and somebody has asked; Pops until then get this error at once. What may
// have changed it, Resume, Configure and Refresh, makes the next try due at once.
// errors.Is and errors.As find err. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// isPermanent calls methods of the user's error: never call it under the lock.
func isPermanent(err error) bool {
	_, ok := errors.AsType[*permanent](err)
	return ok
}

// firstUse is the error of an open whose connection broke at its first use. It is
// made under the lock, so it calls no method of err before somebody reads it.
type firstUse struct{ err error }

func (f *firstUse) Error() string { return "the connection broke at its first use: " + f.err.Error() }
func (f *firstUse) Unwrap() error { return f.err }

// unfinished is what a use has left unfinished.
type unfinished struct{ err error }

func (u *unfinished) Error() string   { return ErrUnfinished.Error() + ": " + u.err.Error() }
func (u *unfinished) Unwrap() []error { return []error{ErrUnfinished, u.err} }

// timeouter is an error that may be a timeout. The errors of the operating
// system and of most protocols implement it.
type timeouter interface {
	error
	Timeout() bool
}

// isTimeout reports whether err may be the caller's timeout rather than a
// broken connection.
func isTimeout(err error) bool {
	if t, ok := errors.AsType[timeouter](err); ok && t.Timeout() {
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Breaks reports whether a reply may still be on its way after err: err is a
// timeout, a context error, a network or system error, [io.EOF] or
// [driver.ErrBadConn]. A file that is missing, exists or may not be opened
// ([fs.ErrNotExist], [fs.ErrExist], [fs.ErrPermission]) does not break, except
// in a [*net.OpError]. A pool without a Connector.Broken uses Breaks and also asks
// the resource, if its type has a method that tells; see [Connector.Broken]. Most
// custom Broken functions should start with Breaks.
func Breaks(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[timeouter](err); ok && (!ofFile(err) || breaksApart(err)) {
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

// ofFile reports whether err says that a file is missing, exists, or may not be
// opened. Such errors are system errors too.
func ofFile(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission)
}

// breaksApart reports whether err contains a network or system error besides those
// of files.
func breaksApart(err error) bool {
	switch e := err.(type) {
	case *net.OpError:
		return true
	case timeouter:
		return !ofFile(err)
	case interface{ Unwrap() error }:
		return breaksApart(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), breaksApart)
	}
	return false
}

// hidden is an error with its own text that wraps another error, or none. An
// error of Open that is itself a deadline or a cancellation is hidden, so that
// it is never mistaken for the end of the caller's own ctx.
type hidden struct {
	text string
	is   error
}

func (h *hidden) Error() string { return h.text }
func (h *hidden) Unwrap() error { return h.is }

// hide returns err, or hides it if it could be mistaken for the end of the
// caller's ctx.
func hide(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &hidden{err.Error(), nil}
	}
	return err
}
