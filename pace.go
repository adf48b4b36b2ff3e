package pools

import (
	"math"
	"time"
)

// pace says how many opens may run at once, and when the next may begin. It is
// plain numbers, under the pool's lock. Times are on the pool's clock.
//
// A window bounds how many run at once (slow start). It begins as firstWindow,
// doubles with each success, and is one after a failure. Two corrections:
//
//   - After a lull, when no open is running any more, it is firstWindow again.
//     A short spike on a warm pool then opens two more connections instead of
//     filling the pool, because returns serve most waiters before an open could
//     finish.
//   - It doubles when the oldest waiter has waited for longer than a slow open
//     takes: the running opens hang, or uses are long.
//
// When an open has failed with all its tries the server counts as down. Then
// only the prober tries, one open at a time, after pauses that grow. Only this
// file writes its fields.
type pace struct {
	window     int
	widenedAt  int64
	typical    time.Duration // how long the latest successful open took
	reset      time.Duration // the same for a Reset; 0: none has succeeded
	overstayed bool          // the oldest waiter has waited for longer than a slow open takes

	failures  int   // opens that failed in a row; more than 0: the server is down
	downSince int64 // when the first of them began
	failedAt  int64 // when the latest of them ended
	probeAt   int64 // when the prober tries next
	nextTry   int64 // MaxOpensPerSecond allows no try before
	doubtful  bool  // the server may be up again: a try must end before anybody is refused
	doubtedAt int64 // since then
}

const (
	firstWindow  = 2
	unknownOpen  = time.Second // assumed for an open until one has succeeded
	shortestSlow = 20 * time.Millisecond
	longestProbe = 30 * time.Second
)

func newPace() pace { return pace{window: firstWindow, typical: unknownOpen} }

// slow is how long a call may take before it counts as hung: half as long again
// as the latest one, or every second call would count as hung; and at least
// shortestSlow, since a busy machine adds some milliseconds to anything.
func slow(latest time.Duration) int64 {
	return max(int64(latest+latest/2), int64(shortestSlow))
}

func (p *pace) slowOpen() int64 { return slow(p.typical) }

// slowReset is the same for a Reset, which may normally take longer than an open.
// Before one has succeeded, none counts as hung.
func (p *pace) slowReset() int64 {
	if p.reset == 0 {
		return math.MaxInt64
	}
	return max(slow(p.reset), p.slowOpen())
}

// wasReset notes that a Reset has succeeded.
func (p *pace) wasReset(took time.Duration) { p.reset = max(took, 1) }

// down reports whether the server is down: the latest open has failed.
func (p *pace) down() bool { return p.failures > 0 }

// up notes that the server is not down. It returns whether it was, and for how
// long.
func (p *pace) up(now int64) (was bool, since time.Duration) {
	was, since = p.down(), time.Duration(now-p.downSince)
	p.failures, p.doubtful = 0, false
	return was, since
}

// doubt makes the next try due at once if the server is down: something may
// have changed since the last one. Nobody is refused until it has ended.
func (p *pace) doubt(now int64) {
	if p.down() {
		p.probeAt, p.doubtful, p.doubtedAt = now, true, now
	}
}

// lull notes that no open is running.
func (p *pace) lull() {
	if !p.down() {
		p.window = firstWindow
	}
}

// opened notes that an open has succeeded.
func (p *pace) opened(took time.Duration, size int) {
	p.typical = took
	p.widen(size)
}

func (p *pace) widen(size int) { p.window = min(2*p.window, size) }

// failed notes that an open that began at began has failed with all its tries.
// Opens that ran together are one failure, so the pause before the next try
// doubles once for all of them. It reports whether the server was up before.
func (p *pace) failed(began, now int64, pause time.Duration, random func(time.Duration) time.Duration) (news bool) {
	news = !p.down()
	if news {
		p.downSince = began
	}
	if news || began >= p.failedAt {
		p.failures++
		p.failedAt = now
		pause = doubled(pause, p.failures-1, longestProbe)
		p.probeAt = now + int64(pause/2+random(pause/2+1))
	}
	p.window = 1
	if p.doubtful && began < p.doubtedAt {
		p.probeAt = now // this try says nothing of what has changed since
	} else {
		p.doubtful = false
	}
	return news
}

// waits notes that the oldest waiter has waited since since, although there is
// room for an open. If it has waited for longer than a slow open takes, or as
// long again since the window was widened, the running opens do not help it.
func (p *pace) waits(since, now int64, running, size int) {
	p.overstayed = now-since >= p.slowOpen()
	if now < p.waitsUntil(since) {
		return
	}
	p.widenedAt = now
	if running >= p.window {
		p.widen(size)
	}
}

// nobodyWaits notes that nobody waits, or that there is no room for an open.
func (p *pace) nobodyWaits() { p.overstayed = false }

// waitsUntil is when to widen the window for a waiter that has waited since
// since.
func (p *pace) waitsUntil(since int64) int64 { return max(since, p.widenedAt) + p.slowOpen() }

// may reports whether another open may begin.
func (p *pace) may(now int64, running int) bool { return running < p.window && p.nextTry <= now }

// probeLater puts the prober off until a close has left room.
func (p *pace) probeLater(now int64) { p.probeAt = now + int64(time.Second) }

// probeDue is when the prober may try.
func (p *pace) probeDue() int64 { return max(p.probeAt, p.nextTry) }

// tried notes that a try begins now. A limit on the rate delays the next one.
func (p *pace) tried(now int64, perSecond int) { p.nextTry = now + gap(perSecond) }

// limit notes that the rate has changed.
func (p *pace) limit(now int64, perSecond int) { p.nextTry = min(p.nextTry, now+gap(perSecond)) }

// gap is how long after a try MaxOpensPerSecond allows the next.
func gap(perSecond int) int64 {
	if perSecond == NoLimit {
		return 0
	}
	return int64(time.Second) / int64(perSecond)
}

// doubled returns first, doubled n times, but at most limit.
func doubled(first time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}
