package linear

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/anishathalye/porcupine"

	"github.com/utopia-go/pools"
)

// The sequential model: what a pool would do if it did one thing after the
// other. A history is right if its operations have some order in which each
// takes effect between its call and its return, and the model does the same.

// input is an operation that was called.
type input struct {
	kind  string // pop, trypop, push, destroy, configure or close
	lease int    // pop, trypop: what it will be; push, destroy: which
	conn  int    // push, destroy: that lease's connection
	size  int    // configure

	// crowded says that somebody else moved connections during it. A trypop
	// looks at one slot after the other and may then miss one that is there
	// at each moment.
	crowded bool

	// late says that the connection was being pushed meanwhile, by a push
	// that began before a configure was over. Such a push may have missed
	// that Size is smaller now, and the connection is lent once more before
	// it goes.
	late bool

	// beside says that a destroy was under way during a push. Its connection
	// counts until it is being closed, and after a shrink the one that is
	// pushed may then be one too many, and go.
	beside bool
}

// output is how it returned. conn is 0 if it gave none.
type output struct {
	conn int
	err  error
}

// state is a pool. Opens and closes happen when the pool likes, so the model
// does not say which connections are open, but which cannot be lent.
type state struct {
	size   int
	closed bool
	live   set // leases
	lent   set // connections
	gone   set // connections that were closed for certain
	idle   int // that are idle for certain, whichever they are
}

func (s state) step(in input, out output) (bool, state) {
	switch in.kind {
	case "pop", "trypop":
		if out.conn == 0 {
			if in.kind == "pop" {
				return s.closed && errors.Is(out.err, pools.ErrClosed), s
			}
			return s.closed || s.idle == 0 || in.crowded, s
		}
		if s.closed || s.lent.has(out.conn) || s.gone.has(out.conn) || s.lent.len() >= s.size && !in.late {
			return false, s
		}
		s.live, s.lent = s.live.with(in.lease), s.lent.with(out.conn)
		s.idle = max(s.idle-1, 0) // if not one of those, it is only another that is idle for certain
		return true, s
	case "push", "destroy":
		if !s.live.has(in.lease) {
			return errors.Is(out.err, pools.ErrNotHeld), s
		}
		s.live, s.lent = s.live.without(in.lease), s.lent.without(in.conn)
		if in.kind == "destroy" || s.closed {
			s.gone = s.gone.with(in.conn)
		} else if !in.beside {
			s.idle = min(s.idle+1, max(s.size-s.lent.len(), 0))
		}
		return out.err == nil, s
	case "configure":
		if s.closed {
			return errors.Is(out.err, pools.ErrClosed), s
		}
		s.size = in.size
		s.idle = min(s.idle, max(s.size-s.lent.len(), 0))
		return out.err == nil, s
	case "close":
		s.closed, s.idle = true, 0
		return out.err == nil || stillOut(out.err), s
	}
	return false, s
}

// stillOut reports whether Close returned before everything had come back.
func stillOut(err error) bool {
	_, ok := errors.AsType[*pools.CloseError](err)
	return ok
}

func model(size int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{size: size} },
		Step: func(s, in, out any) (bool, any) { return s.(state).step(in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			i, o := in.(input), out.(output)
			switch {
			case i.kind == "configure":
				return fmt.Sprintf("configure %d: %v", i.size, o.err)
			case i.kind == "close":
				return fmt.Sprintf("close: %v", o.err)
			case i.conn != 0:
				return fmt.Sprintf("%s lease %d of connection %d: %v", i.kind, i.lease, i.conn, o.err)
			}
			return fmt.Sprintf("%s lease %d: connection %d, %v", i.kind, i.lease, o.conn, o.err)
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

// set is a set of numbers below 128, which can be compared.
type set [2]uint64

func (s set) has(n int) bool    { return s[n/64]&(1<<(n%64)) != 0 }
func (s set) with(n int) set    { s[n/64] |= 1 << (n % 64); return s }
func (s set) without(n int) set { s[n/64] &^= 1 << (n % 64); return s }
func (s set) len() int          { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }
