package pools

// What one holding of the lock does is bounded: it visits about batch slots,
// calls or waiters, however many there are. What concerns more of them is bulk
// work, and goes in slices between which the lock is free. Work that somebody's
// goroutine does for itself (the keeper's look, RevokeAll) yields between
// slices. Work that an event leaves to the pool (closing, refusing or serving
// many) goes on in the next settle, which the alarm calls at once.

// batch is how many visits make a slice. Tests make it small.
var batch = 128

// visits counts the visits of one holding of the lock.
type visits struct {
	now  int // since the lock was taken
	most int // in one holding, for tests
}

// visit counts a visit. It reports whether there may be more of them in this
// holding of the lock. Each visit gets the work further (it hands out, closes,
// takes out, or clears a hint that was wrong), or the rest would never end.
func (v *visits) visit() bool {
	v.now++
	return v.now <= batch
}

// spent reports whether this holding of the lock has had its visits.
func (v *visits) spent() bool { return v.now >= batch }
