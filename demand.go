package pools

import "slices"

// demand is what wants connections besides the waiters: Fills, Refreshes and
// MinIdle. Under the lock.
type demand struct {
	fills     []*filler  // told when an open ends; includes those of Refreshes
	refreshes []*refresh // those that have old connections left, even if their callers have gone
	filling   int        // the most connections that any of them wants open
	lackIdle  int        // what MinIdle lacked at the last look, minus the opens since
	lackFresh int        // the new connections that the last Refresh still lacked when it ended, minus the opens since
	refreshed uint64     // the current refresh generation; the first is 1
}

// filler is a Fill under way.
type filler struct {
	n      int   // connections wanted
	err    error // of an open that failed meanwhile
	wake   chan struct{}
	number uint64 // among the pool's calls, for tests that hold them up
}

// newFiller numbers the filler among the calls, for tests that hold it up.
func (cs *calls) newFiller() *filler {
	cs.begun++
	return &filler{wake: make(chan struct{}, 1), number: cs.begun}
}

func (f *filler) tell(err error) {
	if err != nil {
		f.err = err
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// refresh is a Refresh that is not over: old connections are left.
type refresh struct {
	filler            // wants as many connections open as when it began
	generation uint64 // connections of an older one are to be replaced
	left       int    // the number of those
	least      int    // n at the beginning, without the opens under way
	proved     bool   // a new connection was opened
	refused    bool   // an open has failed since
}

// wanted is how many more opens should be running when aliveSoon connections
// are open or being opened.
func (d *demand) wanted(aliveSoon int) int {
	return max(d.filling-aliveSoon, d.lackIdle, d.lackFresh)
}

// began notes that an open has begun.
func (d *demand) began() {
	d.lackIdle--
	d.lackFresh--
}

// givenUp notes that an open was given up: another one is to begin in its place.
func (d *demand) givenUp() { d.lackFresh = max(d.lackFresh, 0) + 1 }

// tellFills wakes the Fills and Refreshes: something has changed for them, or an
// open has ended, with err.
func (d *demand) tellFills(err error) {
	for _, f := range d.fills {
		f.tell(err)
	}
}

func (d *demand) addFill(f *filler) {
	d.fills = append(d.fills, f)
	d.count()
}

func (d *demand) endFill(f *filler) {
	d.fills = remove(d.fills, f)
	d.count()
}

// inFill reports whether a Fill is under way: what it has opened must not yet
// close for IdleTimeout.
func (d *demand) inFill() bool { return len(d.fills) > len(d.refreshes) }

// count computes filling. It is called whenever a filler has changed.
func (d *demand) count() {
	d.filling = 0
	for _, f := range d.fills {
		d.filling = max(d.filling, f.n)
	}
	for _, r := range d.refreshes {
		if !r.proved && !r.refused && r.n > 0 {
			d.filling = max(d.filling, r.n+1) // one new connection beside the old ones, if there is room
		}
	}
}

// addRefresh begins a Refresh, of which open connections are open and opening are
// being opened. While an earlier one is not over, it wants no fewer than that:
// else each would give one more connection up while the server refuses.
func (d *demand) addRefresh(r *refresh, open, opening int) {
	r.least = open
	for _, earlier := range d.refreshes {
		r.least = max(r.least, earlier.n)
	}
	r.n = max(open+opening, r.least) // or those that are being opened now would pass for the new ones
	d.refreshes = append(d.refreshes, r)
	d.addFill(&r.filler)
}

// mayReplace reports whether a connection may be closed for a Refresh when open
// ones are open. roomy says whether there is room for an open beside them, down
// whether the server refuses.
//
// A server that has refused an open may be full: then one connection is given up,
// and a new one opened in its place, before the next. The last one is not: if the
// server is not full but gone, or the credentials are wrong, nobody could be
// served.
func (d *demand) mayReplace(open, size int, roomy, down bool) bool {
	if len(d.refreshes) == 0 {
		return false
	}
	want := min(d.filling, size)
	r := d.refreshes[len(d.refreshes)-1]
	switch {
	case down:
		return r.refused && open >= max(want, 2)
	case r.proved:
		return open > want-max(want/2, 1)
	}
	return open >= want && (!roomy || r.refused && open > 1)
}

// refuse notes that an open of that generation has failed. A Refresh no longer
// wants what was only being opened when it began.
func (d *demand) refuse(generation uint64, how openFault) {
	for _, r := range d.refreshes {
		r.n = max(r.n-1, min(r.least, r.n))
		if generation >= r.generation && how == faultRefused {
			r.refused = true
		}
	}
	d.count()
}

// prove notes that a connection of that generation was opened.
func (d *demand) prove(generation uint64) {
	for _, r := range d.refreshes {
		if generation >= r.generation && !r.proved {
			r.proved = true
			d.count()
		}
	}
}

// replaced notes that a connection of that generation is gone.
func (d *demand) replaced(generation uint64, aliveSoon, size int) {
	for _, r := range slices.Clone(d.refreshes) {
		if generation >= r.generation {
			continue
		}
		r.left--
		r.tell(nil)
		if r.left == 0 {
			// What is missing now opens in the background; no one waits for it.
			d.lackFresh = max(min(r.n, size)-aliveSoon, 0)
			d.refreshes = remove(d.refreshes, r)
			d.endFill(&r.filler)
		}
	}
}

// wantFewer lets the Refreshes want one connection less: one was closed because
// it was no longer needed.
func (d *demand) wantFewer() {
	for _, r := range d.refreshes {
		r.n = max(r.n-1, 0)
		r.least = min(r.least, r.n)
	}
	d.count()
}

func remove[E comparable](all []E, e E) []E {
	return slices.DeleteFunc(all, func(other E) bool { return other == e })
}
