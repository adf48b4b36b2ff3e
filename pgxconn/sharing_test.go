package pgxconn

import (
	"testing"
	"testing/synctest"
	"time"
)

// What was seen of a proxy is forgotten after a minute: it may have another mode.
func TestSharingIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sharing
		if s.recently() {
			t.Error("before it was seen")
		}
		s.seen.Store(time.Now().UnixNano())
		time.Sleep(sharedFor - time.Nanosecond)
		if !s.recently() {
			t.Error("within the minute")
		}
		time.Sleep(time.Nanosecond)
		if s.recently() {
			t.Error("after the minute")
		}
	})
}
