package pools

import (
	"time"
	"weak"
)

// timer calls a function of the pool at a given time; it can be set again. It
// does not keep a dropped pool alive. Under the lock. Only this file writes its
// fields.
type timer struct {
	fire  func()
	timer *time.Timer
	at    int64 // when it will fire; 0: it is not set
}

// newTimer makes a timer that calls do.
func newTimer[T any](p *Pool[T], do func(*Pool[T])) timer {
	dropped := weak.Make(p)
	return timer{fire: func() {
		if p := dropped.Value(); p != nil {
			do(p)
		}
	}}
}

// by has the timer fire at that time, unless it is already set to fire earlier.
func (t *timer) by(at, now int64) {
	at = max(at, now) // or it would seem to be late
	if t.at != 0 && t.at <= at {
		return
	}
	t.at = at
	after := time.Duration(at - now)
	if t.timer == nil {
		t.timer = time.AfterFunc(after, t.fire)
	} else {
		t.timer.Reset(after)
	}
}

// fired notes that the timer has fired.
func (t *timer) fired() { t.at = 0 }

func (t *timer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.at = 0
}
