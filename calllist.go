package pools

// callList is a list of calls, the oldest first. Under the lock. Only this file
// writes its fields.
type callList struct {
	first, last *call
	len         int
	slots       int   // the number of them that keep their slot
	young       *call // the oldest that is not slow; nil: all are
	slow        int
}

func (l *callList) append(c *call) {
	c.prev, c.next = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	if l.young == nil {
		l.young = c
	}
	l.len++
	if c.keepsSlot {
		l.slots++
	}
}

func (l *callList) remove(c *call) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	if l.young == c {
		l.young = c.next
	}
	l.len--
	if c.slow {
		l.slow--
		c.slow = false
	}
	if c.keepsSlot {
		l.slots--
	}
	c.next, c.prev = nil, nil
}

// age marks the calls that have run for at least bound as slow: they may hang. A
// slow call stays slow.
func (l *callList) age(now, bound int64, v *visits) {
	for c := l.young; c != nil && now-c.since >= bound && v.visit(); c = l.young {
		c.slow = true
		l.slow++
		l.young = c.next
	}
}

// fresh is the number of calls that are not slow.
func (l *callList) fresh() int { return l.len - l.slow }
