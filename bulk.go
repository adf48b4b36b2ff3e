package pools

// What one holding of the lock does is bounded: it visits about batch slots,
// calls or waiters, however many there are. Work on more of them is bulk work:
// it is done in slices, and the lock is free between them. Work that a goroutine
// does for itself (the keeper's look, RevokeAll) yields between slices. Work
// that an event leaves to the pool (closing, refusing or serving many) goes on
// in the next settle, which the alarm calls at once.

// batch is the number of visits of a slice. Tests make it small.
var batch = 128

// visits counts the visits of one holding of the lock.
type visits struct {
	now  int // since the lock was taken
	most int // of any holding of the lock, for tests
}

// visit counts a visit. It reports whether this holding of the lock still had
// it to spend. Each visit must make progress (hand out, close, take out, or clear
// a hint that was wrong), or the bulk work would never end.
func (v *visits) visit() bool {
	v.now++
	return v.now <= batch
}

// spent reports whether the visits of this holding of the lock are spent.
func (v *visits) spent() bool { return v.now >= batch }
