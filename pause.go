package pools

import "sync/atomic"

// pause lets tests hold up a goroutine between two steps of the protocol. Only
// tests can set it.
var pause atomic.Pointer[func(before string, call uint64)]

func pauseBefore(step string) { pauseCall(step, 0) }

// lockedMaybe stands for a call's number where the pool may be locked: a test
// may hold up a goroutine there only if it takes that into account.
const lockedMaybe = ^uint64(0)

// pauseCall is pauseBefore for one of several calls that take the same step at
// one instant.
func pauseCall(step string, call uint64) {
	if f := pause.Load(); f != nil {
		(*f)(step, call)
	}
}
