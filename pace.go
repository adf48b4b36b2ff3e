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
// only the prober tries, one open at a time, after pauses that grow: up to
// MaxReconnectSleep while somebody asks, up to longestProbe while only the pool
// itself wants connections. A Pop that comes between two tries is refused; one
// that comes when a try is due or running waits for it.
//
// A connection that breaks at its first use is a try that failed. As many in a
// row as an open has tries are an open that failed; from then on an open alone
// does not prove that the server is up, and a first use that ended well does. Only
// this file writes its fields.
type pace struct {
	window     int
	widenedAt  int64
	typical    time.Duration // how long the latest successful open took
	reset      time.Duration // the same for a Reset; 0: none has succeeded
	overstayed bool          // the oldest waiter has waited for longer than a slow open takes

	failures  int   // opens that failed in a row; more than 0: the server is down
	downSince int64 // when the first of them began
	failedAt  int64 // when the latest of them ended
	probeAt   int64 // when the prober may try next, if somebody asks
	restAt    int64 // the same if only the pool itself wants connections
	asked     bool  // a Pop that came after the latest try was refused
	permanent bool  // the latest failure was
	breaks    int   // connections that broke at their first use in a row
	broke     bool  // these made an open that failed, since the server is down
	leaving   int   // closes under way that will make room at the server
	nextTry   int64 // MaxOpensPerSecond allows no try before
	doubtful  bool  // the server may be up again: a try must end before anybody is refused
	doubtedAt int64 // since then
}

const (
	firstWindow  = 2
	usualTries   = 3
	unknownOpen  = time.Second // assumed for an open until one has succeeded
	shortestSlow = 20 * time.Millisecond
	freshFor     = 5 * time.Second  // a connection that breaks later was open
	longestProbe = 30 * time.Second // between two tries that nobody asked for, and after a permanent error
)

// notDue is when something is due that is not.
const notDue = int64(math.MaxInt64)

// openFault is how an open has failed.
type openFault uint8

const (
	faultRefused   openFault = iota // with all its tries
	faultPermanent                  // with an error that a further try would not change
	faultFirstUse                   // its connection broke at the first use
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
	if was {
		p.widenedAt = now // those that waited for the prober have not waited for other opens
	}
	p.failures, p.doubtful, p.asked, p.permanent, p.broke = 0, false, false, false, false
	return was, since
}

// doubt makes the next try due at once if the server is down: something may
// have changed since the last one. Nobody is refused until it has ended.
func (p *pace) doubt(now int64) {
	if p.down() {
		p.permanent = false
		p.probeAt, p.restAt, p.doubtful, p.doubtedAt = now, now, true, now
	}
}

// leaves notes that a close begins that will make room at the server.
func (p *pace) leaves() { p.leaving++ }

// left notes that such a close is over or abandoned.
func (p *pace) left() { p.leaving-- }

// room notes that the server has closed a connection: if it was full, it may
// grant another one. That does not change a permanent error.
func (p *pace) room(now int64) {
	if !p.permanent {
		p.doubt(now)
	}
}

// ask notes that a Pop that came at since is refused. If it came after the latest
// try, the next one is for it.
func (p *pace) ask(since int64) { p.asked = p.asked || since > p.failedAt }

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

// retry says how long the pauses between tries are.
type retry struct {
	first, most time.Duration // ReconnectSleep, MaxReconnectSleep
	random      func(below time.Duration) time.Duration
}

// pause is between a half and the whole of first, doubled n times, up to most.
func (r retry) pause(n int, most time.Duration) int64 {
	pause := doubled(r.first, n, most)
	return int64(pause/2 + r.random(pause/2+1))
}

// failed notes that an open that began at began has failed. Opens that ran
// together are one failure, so the pause before the next try doubles once for all
// of them. It reports whether the server was up before.
func (p *pace) failed(how openFault, began, now int64, r retry) (news bool) {
	news = !p.down()
	if news {
		p.downSince = began
	}
	if news || began >= p.failedAt {
		p.failures++
		p.failedAt = now
		p.asked, p.permanent = false, false
		p.later(now, r)
	}
	p.window = 1
	p.broke = p.broke || how == faultFirstUse
	if how == faultPermanent {
		p.permanent, p.probeAt = true, now+int64(longestProbe)
	}
	if p.doubtful && began < p.doubtedAt {
		p.permanent = false
		p.probeAt, p.restAt = now, now // this try says nothing of what has changed since
	} else {
		p.doubtful = false
	}
	return news
}

// brokeAtOnce notes that a connection has broken at its first use. It reports
// whether that makes an open that failed, when opens have so many tries.
func (p *pace) brokeAtOnce(tries int) bool {
	p.breaks++
	p.window = 1
	if tries == NoLimit {
		tries = usualTries
	}
	return p.down() || p.breaks >= tries
}

// usedWell notes that the first use of a connection has ended well.
func (p *pace) usedWell() { p.breaks = 0 }

// later puts the next try off.
func (p *pace) later(now int64, r retry) {
	p.probeAt = now + r.pause(p.failures-1, r.most)
	p.restAt = max(p.probeAt, now+r.pause(p.failures-1, longestProbe))
}

// onTrial notes that an open has succeeded. It reports whether that does not prove
// that the server is up, but only a first use would. The next try comes after a
// pause then, whatever becomes of this one.
func (p *pace) onTrial(now int64, r retry) bool {
	if p.broke {
		p.doubtful, p.asked = false, false
		p.later(now, r)
	}
	return p.broke
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

// probeDue is when the prober may try next. asking says that somebody waits for
// it, wanting that the pool itself wants connections: that alone lets the prober
// rest longer, and is not enough after a permanent error.
func (p *pace) probeDue(asking, wanting bool) int64 {
	switch {
	case asking || p.asked:
		return max(p.probeAt, p.nextTry)
	case !wanting || p.permanent:
		return notDue
	}
	return max(p.restAt, p.nextTry)
}

// hopes reports whether a Pop waits for a try while the server is down: one is
// due or running, a close will make one due, or the outage is younger than
// patience.
func (p *pace) hopes(now int64, patience time.Duration) bool {
	if now >= p.probeAt {
		return true
	}
	return !p.permanent && (p.leaving > 0 || now < p.patientUntil(patience))
}

// patientUntil is when Pops no longer wait through the outage.
func (p *pace) patientUntil(patience time.Duration) int64 { return p.downSince + int64(patience) }

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
