package pools

import (
	"math"
	"time"
)

// pace says how many opens may run at once, and when the next may begin. It is
// plain numbers under the pool's lock. Times are on the pool's clock.
//
// A window bounds how many run at once (slow start). It is firstWindow while
// nothing is known, doubles with each success, and is one after a failure. Two
// corrections:
//
//   - After a lull, when no open is running any more, it is firstWindow again.
//     A short spike on a warm pool then opens two more connections and not all
//     that there is room for, because most waiters are served by returns before
//     an open could finish.
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
	reset      time.Duration // the same of a Reset; 0: none has succeeded
	overstayed bool          // the oldest waiter has waited for longer than a slow open takes

	failures  int   // opens that failed in a row; more than none: the server is down
	downSince int64 // when the first of these began
	failedAt  int64 // when the latest of these ended
	probeAt   int64 // when the prober tries next
	nextTry   int64 // MaxOpensPerSecond allows none before
	doubtful  bool  // it is down as far as is known, but a try is due before anybody is refused
}

const (
	firstWindow  = 2
	unknownOpen  = time.Second // what an open is taken to last until one has succeeded
	shortestSlow = 20 * time.Millisecond
	longestProbe = 30 * time.Second
)

func newPace() pace { return pace{window: firstWindow, typical: unknownOpen} }

// slow is how long a call may take before it is thought to hang: half as long
// again as the latest one, or every second call would be thought to; and at
// least shortestSlow, since a busy machine adds some milliseconds to anything.
func slow(latest time.Duration) int64 {
	return max(int64(latest+latest/2), int64(shortestSlow))
}

func (p *pace) slowOpen() int64 { return slow(p.typical) }

// slowReset is the same of a Reset, which may take longer than an open and be no
// worse for it. Before one has succeeded, none is thought to hang.
func (p *pace) slowReset() int64 {
	if p.reset == 0 {
		return math.MaxInt64
	}
	return max(slow(p.reset), p.slowOpen())
}

// wasReset notes that a Reset has succeeded.
func (p *pace) wasReset(took time.Duration) { p.reset = max(took, 1) }

// down reports whether opening is known not to work.
func (p *pace) down() bool { return p.failures > 0 }

// up ends that the server counts as down. It returns for how long it did.
func (p *pace) up(now int64) (was bool, since time.Duration) {
	was, since = p.down(), time.Duration(now-p.downSince)
	p.failures, p.doubtful = 0, false
	return was, since
}

// doubt makes the next try due at once if the server is down: something may
// have changed since the last one. Until it has ended nobody is refused.
func (p *pace) doubt(now int64) {
	if p.down() {
		p.probeAt, p.doubtful = now, true
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

// failed notes that an open, begun at that time, has failed with all its
// tries. Opens that ran together are one failure: the pause before the next
// try doubles with the tries, not with how many failed. It reports whether the
// server was not down before.
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
	p.window, p.doubtful = 1, false
	return news
}

// waits notes that the oldest waiter waits since then, beside room for an
// open. If it has waited for longer than a slow open takes, or so long again
// since the window was widened, then what is running does not help it.
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

// nobodyWaits ends what waits has found.
func (p *pace) nobodyWaits() { p.overstayed = false }

// waitsUntil is when the window is to be widened for a waiter since then.
func (p *pace) waitsUntil(since int64) int64 { return max(since, p.widenedAt) + p.slowOpen() }

// may reports whether an open may begin beside those that are running.
func (p *pace) may(now int64, running int) bool { return running < p.window && p.nextTry <= now }

// probeLater puts the prober off: what is being closed leaves room.
func (p *pace) probeLater(now int64) { p.probeAt = now + int64(time.Second) }

// probeDue is when the prober may try.
func (p *pace) probeDue() int64 { return max(p.probeAt, p.nextTry) }

// tried notes that a try begins now. With a limit on the rate, the next may
// begin a while later.
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

// doubled returns first, doubled n times, but not beyond limit.
func doubled(first time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}
