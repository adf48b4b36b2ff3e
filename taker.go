package pools

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
)

// taker describes the Pop that took a connection, as TrackHolders records it. It
// never changes.
type taker struct {
	lease     uint64
	goroutine uint64
	depth     int
	stack     [stackDepth]uintptr
}

const stackDepth = 32

// profile shows the holders of all pools to /debug/pprof and its tools.
var profile = holderProfile()

func holderProfile() *pprof.Profile {
	const name = "pools"
	if p := pprof.Lookup(name); p != nil {
		return p // the program contains another major version of this package
	}
	return pprof.NewProfile(name)
}

// newTaker describes the Pop that calls it.
func newTaker(lease word) *taker {
	h := &taker{lease: lease.lease(), goroutine: goroutineID()}
	h.depth = runtime.Callers(3, h.stack[:])
	profile.Add(h, 3)
	return h
}

// takers counts the tracked leases by goroutine. Under the lock. Only this file
// writes its fields.
type takers struct{ byGoroutine map[uint64]int }

// record notes who took a slot.
func (t *takers) record(c *cell, by *taker) {
	if t.byGoroutine == nil {
		t.byGoroutine = make(map[uint64]int)
	}
	t.forget(c)
	c.taker = by
	t.byGoroutine[by.goroutine]++
}

// forget drops the slot's taker.
func (t *takers) forget(c *cell) {
	by := c.taker
	if by == nil {
		return
	}
	profile.Remove(by)
	c.taker = nil
	if t.byGoroutine[by.goroutine]--; t.byGoroutine[by.goroutine] == 0 {
		delete(t.byGoroutine, by.goroutine)
	}
}

// lose is called by the collector when no lease is left, or when the pool was
// dropped.
func (t *trace) lose() {
	t.lost.Store(true)
	if h := t.taker.Load(); h != nil {
		profile.Remove(h) // also for a dropped pool, which removes nothing itself
	}
}

// takerOf returns the taker of lease w, or nil if the slot is not lent or the
// taker is not known. Under the lock.
func (c *cell) takerOf(w word) *taker {
	if h := c.taker; w.lent() && h != nil && h.lease == w.lease() {
		return h
	}
	return nil
}

// goroutineID returns the number of this goroutine. The runtime gives it only at
// the head of a stack trace: "goroutine 7 [running]:".
func goroutineID() uint64 {
	var head [40]byte
	digits := bytes.TrimPrefix(head[:runtime.Stack(head[:], false)], []byte("goroutine "))
	id := uint64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			break
		}
		id = id*10 + uint64(d-'0')
	}
	return id
}

// text formats the stack as panics do: function, file and line. It begins with
// the function of this package that the user called.
func (h *taker) text() string {
	var b strings.Builder
	frames := runtime.CallersFrames(h.stack[:h.depth])
	ours := true
	for more := h.depth > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if ours = ours && strings.HasPrefix(frame.Function, "github.com/utopia-go/pools."); ours {
			b.Reset()
		}
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
	}
	return b.String()
}
