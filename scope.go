package pools

import (
	"context"
	"errors"
)

// scope is the opens that began between two calls of Refresh or RevokeAll. These
// give up the opens that are running, without a walk: the pool begins a new scope
// under the lock, and ends the old one when the lock is free, which cancels its
// opens. What a given-up open returns is closed, and its failure says nothing of
// the server. One that does not return is abandoned like any other call.
type scope struct {
	context.Context
	end context.CancelCauseFunc // not under the lock: it calls methods of users' contexts
	why Reason                  // "": not given up. Under the lock
}

var errGivenUp = errors.New("pools: the pool gave up this open, for a Refresh or RevokeAll")

func newScope() *scope {
	ctx, end := context.WithCancelCause(context.Background())
	return &scope{Context: ctx, end: end}
}

// giveUp gives up the opens that are running. It returns their scope, to be
// cancelled when the lock is free.
func (cs *calls) giveUp(why Reason) *scope {
	old := cs.scope
	old.why, cs.scope = why, newScope()
	return old
}

// cancel cancels the opens of a scope that was given up; nil: there is none.
func (s *scope) cancel() {
	if s != nil {
		s.end(errGivenUp)
	}
}

// givenUp reports whether the open was given up.
func (c *call) givenUp() bool { return c.scope.why != "" }
