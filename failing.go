package pools

import (
	"fmt"
	"time"
)

// A dead connection may fail each use with an error that breaks nothing: the
// driver has its own word for "closed". It is back at once and is lent again, so
// that it attracts all uses. But such errors may also be the fault of the
// requests (no such row, no such key), and then nothing is wrong.
//
// So a streak of failsOnEnd uses without a success in between tells against a
// connection: fewer are what one caller with retries makes of one wrong request.
// It is checked, and if that fails so are the others. Without a Check it is
// closed, unless no use of it has ever succeeded: then the requests are to blame,
// or a new connection would fare no better. And once in suspectEvery is enough: a
// pool whose requests fail most of the time loses no more than that.
const (
	failsOnEnd   = 5
	suspectEvery = int64(time.Second)
)

// streak is the failed uses of a connection that followed on each other. A lease
// in between that ended well shows in its number alone, so the fast path need not
// count. Under the lock. Only this file writes its fields.
type streak struct {
	lease uint64 // of the latest
	n     int
}

// failing says when streaks tell against their connections. Under the lock. Only
// this file writes its fields.
type failing struct{ at int64 } // when one last did; 0: never

// tells notes that a use has failed. w is the word of the connection's slot. It
// reports whether the streak tells against the connection now. Unless it will be
// checked, a use of it must have succeeded before.
func (f *failing) tells(s *streak, w word, before uint64, checked bool, now func() int64) bool {
	if s.lease+1 != w.lease() {
		s.n = 0
	}
	s.lease = w.lease()
	s.n++
	if s.n < failsOnEnd || !checked && uses(w, before) <= s.n || f.at != 0 && now()-f.at < suspectEvery {
		return false
	}
	f.at, s.n = now(), 0
	return true
}

// failedUses is why a connection was closed after a streak. Error formats the
// user's error here, and not under the lock.
type failedUses struct{ err error }

func (e *failedUses) Error() string {
	return fmt.Sprintf("at least %d uses on end have failed: %v", failsOnEnd, e.err)
}
func (e *failedUses) Unwrap() error { return e.err }
