package pools

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
)

// taker describes the Pop that took a connection, as far as TrackHolders,
// TrackGoroutines and ProfileHolders want. It never changes.
type taker struct {
	lease     uint64
	goroutine uint64
	profiled  bool
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

// takers knows what is noted of each Pop, and counts the leases by goroutine.
// Under the lock, except for what. Only this file writes its fields.
type takers struct {
	what        atomic.Uint32 // noteStack, noteGoroutine and noteProfile
	byGoroutine map[uint64]int
}

const (
	noteStack     uint32 = 1 << iota // TrackHolders
	noteGoroutine                    // TrackGoroutines
	noteProfile                      // ProfileHolders
)

// want says what is noted of the Pops that begin now, and reports whether that is
// anything.
func (t *takers) want(s *Settings) bool {
	what := uint32(0)
	if s.TrackHolders {
		what |= noteStack
	}
	if s.TrackGoroutines {
		what |= noteGoroutine
	}
	if s.ProfileHolders {
		what |= noteProfile
	}
	t.what.Store(what)
	return what != 0
}

func (t *takers) wants(what uint32) bool { return t.what.Load()&what != 0 }

// describe describes the Pop that calls lend, its caller. Without the lock.
func (t *takers) describe(lease word) *taker {
	h := &taker{lease: lease.lease()}
	if t.wants(noteGoroutine) {
		h.goroutine = goroutineID()
	}
	if t.wants(noteStack | noteProfile) {
		h.depth = runtime.Callers(3, h.stack[:])
	}
	if t.wants(noteProfile) {
		h.profiled = true
		profile.Add(h, 3+h.ownFrames())
	}
	if !t.wants(noteStack) {
		h.depth, h.stack = 0, [stackDepth]uintptr{}
	}
	return h
}

// ownFrames is how many frames of this package the stack begins with: the profile
// begins with the holder's own.
func (h *taker) ownFrames() int {
	n := 0
	for frames := runtime.CallersFrames(h.stack[:h.depth]); ; n++ {
		frame, more := frames.Next()
		if !ours(frame.Function) {
			return n
		}
		if !more {
			return 0 // all are
		}
	}
}

// record notes who took a slot.
func (t *takers) record(c *cell, by *taker) {
	if t.byGoroutine == nil {
		t.byGoroutine = make(map[uint64]int)
	}
	t.forget(c)
	c.taker = by
	if by.goroutine != 0 {
		t.byGoroutine[by.goroutine]++
	}
}

// forget drops the slot's taker.
func (t *takers) forget(c *cell) {
	by := c.taker
	if by == nil {
		return
	}
	if by.profiled {
		profile.Remove(by)
	}
	c.taker = nil
	if by.goroutine == 0 {
		return
	}
	if t.byGoroutine[by.goroutine]--; t.byGoroutine[by.goroutine] == 0 {
		delete(t.byGoroutine, by.goroutine)
	}
}

// lose is called by the collector when no lease is left, or when the pool was
// dropped.
func (t *trace) lose() {
	t.lost.Store(true)
	if h := t.taker.Load(); h != nil && h.profiled {
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

// ours reports whether a function is of this package, or between it and a user of
// sqlpools.
func ours(function string) bool {
	return strings.HasPrefix(function, "github.com/utopia-go/pools.") ||
		strings.HasPrefix(function, "github.com/utopia-go/pools/sqlpools.") || strings.HasPrefix(function, "database/sql.")
}

// text formats the stack as panics do: function, file and line. It begins with
// the function of this package that the user called.
func (h *taker) text() string {
	var b strings.Builder
	frames := runtime.CallersFrames(h.stack[:h.depth])
	own := true
	for more := h.depth > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if own = own && ours(frame.Function); own {
			b.Reset()
		}
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
	}
	return b.String()
}
