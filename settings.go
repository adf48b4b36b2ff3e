package pools

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Special values of settings. Any other negative value is an error. Zero means
// the default, which the field's comment gives.
const (
	Never   time.Duration = -1 // for durations: without end, or not at all
	Always  time.Duration = -2 // for CheckAfter: every time
	NoLimit int           = -1 // for counts
	NoQueue int           = -2 // for MaxWaiting: nobody waits for a holder
)

// Settings are the limits, timeouts and options of a pool. [Pool.Configure]
// can change all of them while the pool runs. Zero means the default.
//
// Timeouts of calls and waits are exact. Times that the keeper enforces
// (lifetimes, idle times) are late by at most a quarter of the shortest of
// them, and by at most a second. They are never early, except for the jitter
// of MaxLifetime. When many connections are due at the same time, the last of
// them close some looks later.
//
// The program in examples/reload reads Settings from JSON, with durations such as
// "90s".
type Settings struct {
	// Size is the maximum number of open connections. Required.
	Size int

	// WaitTimeout is the maximum wait of a Pop; the ctx may end it sooner.
	// Default: 30 s. Never: only the ctx ends the wait.
	WaitTimeout time.Duration

	// Logger receives what no returned error reports: lost leases, leaks,
	// misuse, and failures of opens, checks and closes. At level Debug it
	// also receives routine opens and closes. It receives at most ten events
	// of one kind in ten seconds, so that a server that is down does not
	// flood it. Nil: nothing is logged.
	Logger *slog.Logger `json:"-"`

	// Observer, if not nil, is told what happens. Do not modify it while it
	// is in use; replace it with Configure.
	Observer *Observer `json:"-"`

	// MaxLifetime is the maximum age of a connection. Each connection closes
	// up to a tenth earlier, by a different amount, so that connections
	// opened together do not close together. A connection is never closed
	// under its holder; it closes when it is returned. One look of the keeper
	// closes at most half of the idle connections, whatever the reason.
	// Default: 30 min. Never: any age.
	MaxLifetime time.Duration

	// IdleTimeout is how long a connection may be idle before it is closed,
	// unless MinIdle keeps it. Default: 10 min. Never: no limit.
	IdleTimeout time.Duration

	// MinIdle is the number of connections to keep idle, within Size. Missing
	// ones are opened in the background, within about a second. Default: 0.
	MinIdle int

	// OpenTimeout bounds one open, including all its tries and the pauses
	// between them. Default: 10 s.
	OpenTimeout time.Duration

	// ReconnectAttempts is the maximum number of tries per open. Default: 3.
	// NoLimit: as many as OpenTimeout allows.
	ReconnectAttempts int

	// ReconnectSleep is the upper bound of the first pause between two tries.
	// Each pause is random up to its bound, and the bound doubles with each
	// try, up to MaxReconnectSleep. While the server is down, ReconnectSleep
	// is also the first pause between two tries of the prober.
	// Default: 1 s.
	ReconnectSleep time.Duration

	// MaxReconnectSleep is the longest pause between two tries while somebody
	// asks for a connection: while the server is down, a Pop gets no error of
	// a try that ended longer ago; it has the server tried, and waits for the
	// result. The pauses of tries that only MinIdle or a Refresh wants grow
	// up to 30 s. A ReconnectSleep that is longer is cut to it.
	// Default: 2 s.
	MaxReconnectSleep time.Duration

	// WaitWhileDown lets Pops wait while the server is down, instead of
	// failing at once, until the outage is older than this. It began with the
	// first open that failed. WaitTimeout and the ctx may end the wait sooner,
	// and after a Permanent error nobody waits. Default: 0, no wait.
	WaitWhileDown time.Duration

	// CheckAfter is how long a connection may be idle and still be lent
	// without a Check, also if the process was stopped or the machine
	// suspended meanwhile. For one that had been idle for less than two seconds
	// before that, see [Pool.Suspect]. Default: 5 s. Always: check before every use, unless
	// the connection was just opened or reset; each Pop then costs a round
	// trip. Never: connections are lent without a Check.
	CheckAfter time.Duration

	// CheckTimeout bounds one Check. It is also the pool's budget for Checks that
	// fail: when those for waiting Pops have failed for so long since one last
	// succeeded, Pops wait for no further Check of a suspected connection, and new
	// connections are opened in place of these. Default: 1 s.
	CheckTimeout time.Duration

	// MaxWaiting is the maximum number of goroutines that wait at once, for a
	// push or for an open. A Pop beyond it gets ErrTooManyWaiting at once.
	// NoQueue: as many as there are connections that nobody holds, so a Pop may
	// wait for an open, but not for a holder. Default: NoLimit.
	MaxWaiting int

	// RefuseLate refuses a Pop at once with ErrTooLate if it could not be served
	// early enough: if those before it would keep the connections busy until
	// its ctx had no time left for a typical use. The estimate is made from
	// recent uses of Pops with a deadline. Without RefuseLate such a Pop waits
	// and is served when nobody else wants the connection. Default: off.
	RefuseLate bool

	// MaxQueueDelay bounds the time in the queue of Pops whose ctx has no
	// deadline, by CoDel: while every Pop waits for longer than this, for a
	// tenth of a second or more, those that have waited for longer get
	// ErrTooLate when their turn comes. A burst that passes refuses nobody.
	// Default: Never.
	MaxQueueDelay time.Duration

	// LeakAfter is how long a connection may be held before its holder is
	// logged and counted as a leak, once per lease. With TrackHolders, the
	// log contains the stack of its Pop. Default: Never.
	LeakAfter time.Duration

	// TrackHolders records the stack of each Pop, for errors, logs and
	// Connections, which name holders. It adds 1 to 3 µs to each Pop. Default:
	// off.
	TrackHolders bool

	// TrackGoroutines records the number of the goroutine of each Pop, for the
	// same places, and lets a Pop that waits for its own goroutine's connections
	// say so. It adds 5 to 50 µs to each Pop, the more the deeper its stack,
	// which the runtime writes out whole. Default: off.
	TrackGoroutines bool

	// ProfileHolders adds each holder to the profile "pools" of runtime/pprof,
	// whose stacks begin with the function that called the pool. It adds 5 to
	// 15 µs to each Pop. Default: off.
	ProfileHolders bool

	// FailUnfinished makes Use, Push and PushErr return ErrUnfinished if the use
	// left something unfinished, such as an open transaction. Use, Use2 and Group.Use
	// prefer the error of their function. It needs a Connector.Unfinished, and does
	// nothing without one. Default: off; it is logged, told and counted.
	FailUnfinished bool

	// KeepAlive is how long a connection may be idle before it is checked in
	// the background. The check repeats at this interval, so that NATs and
	// firewalls keep the connection alive. It needs a Connector.Check.
	// Default: Never.
	KeepAlive time.Duration

	// MaxUses is how often a connection is lent before it is closed. If
	// MaxUses is lowered while a connection is idle, the connection may be
	// lent once more. A limit adds about 50 ns to each Push.
	// Default: NoLimit.
	MaxUses int

	// MaxOpensPerSecond bounds the tries to open that begin within a second.
	// They are spread evenly. Default: NoLimit.
	MaxOpensPerSecond int

	// CloseTimeout and ResetTimeout bound Connector.Close and
	// Connector.Reset. Default: 5 s each.
	CloseTimeout, ResetTimeout time.Duration

	// Strict makes an abandoned call keep its slot, so that the server never
	// sees more than Size connections. The price is that a hung Close costs a
	// slot for as long as it hangs. Without Strict, up to Size abandoned
	// calls free their slots; further ones keep theirs.
	Strict bool

	// KeepLost only reports a connection whose Conn was forgotten without a Push.
	// Its slot stays held. Default: it is also closed, which frees its slot. If a
	// holder keeps only the resource and drops the Conn, the connection looks lost
	// after about two seconds: keep the Conn, or Detach.
	KeepLost bool
}

const (
	mostSlots = 1 << 24
	longest   = 100 * 365 * 24 * time.Hour // longer durations would overflow the pool's clock
)

// complete fills in the defaults and returns all faults. checks reports whether
// the connector has a Check.
func (s *Settings) complete(checks bool) error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fieldError("Settings."+field, format, args...))
	}
	if s.Size < 1 || s.Size > mostSlots {
		fault("Size", "is %d; give the number of connections that may be open, from 1 to %d", s.Size, mostSlots)
	}
	if s.MinIdle < 0 || s.MinIdle > max(s.Size, 0) {
		fault("MinIdle", "is %d; give a number from 0 to Size (%d)", s.MinIdle, s.Size)
	}
	count := func(field string, value *int, normal int) {
		switch {
		case *value == 0:
			*value = normal
		case *value == NoQueue && field == "MaxWaiting":
		case *value < 0 && *value != NoLimit:
			more := ""
			if field == "MaxWaiting" {
				more = " or pools.NoQueue"
			}
			fault(field, "is %d; give a positive number, 0 for the default, or pools.NoLimit%s", *value, more)
		}
	}
	count("MaxWaiting", &s.MaxWaiting, NoLimit)
	count("ReconnectAttempts", &s.ReconnectAttempts, 3)
	count("MaxUses", &s.MaxUses, NoLimit)
	count("MaxOpensPerSecond", &s.MaxOpensPerSecond, NoLimit)
	duration := func(field string, value *time.Duration, normal time.Duration, allowed ...time.Duration) {
		if *value == 0 {
			*value = normal
		}
		if *value > 0 && *value <= longest || slices.Contains(allowed, *value) {
			return
		}
		values := []string{"a positive duration of at most " + longest.String(), "0 for the default (" + nameOf(normal) + ")"}
		for _, a := range allowed {
			values = append(values, nameOf(a))
		}
		fault(field, "is %s; give %s", nameOf(*value), strings.Join(values, ", or "))
	}
	duration("WaitTimeout", &s.WaitTimeout, 30*time.Second, Never)
	duration("MaxLifetime", &s.MaxLifetime, 30*time.Minute, Never)
	duration("IdleTimeout", &s.IdleTimeout, 10*time.Minute, Never)
	duration("OpenTimeout", &s.OpenTimeout, 10*time.Second)
	duration("ReconnectSleep", &s.ReconnectSleep, time.Second)
	duration("MaxReconnectSleep", &s.MaxReconnectSleep, 2*time.Second)
	if s.WaitWhileDown != 0 {
		duration("WaitWhileDown", &s.WaitWhileDown, 0)
	}
	duration("CheckAfter", &s.CheckAfter, 5*time.Second, Never, Always)
	duration("MaxQueueDelay", &s.MaxQueueDelay, Never, Never)
	duration("CheckTimeout", &s.CheckTimeout, time.Second)
	duration("LeakAfter", &s.LeakAfter, Never, Never)
	duration("KeepAlive", &s.KeepAlive, Never, Never)
	duration("CloseTimeout", &s.CloseTimeout, 5*time.Second)
	duration("ResetTimeout", &s.ResetTimeout, 5*time.Second)
	if !checks {
		const remedy = "but there is no Connector.Check; give one, or leave this at 0"
		if s.CheckAfter == Always {
			fault("CheckAfter", "is pools.Always, %s", remedy)
		}
		if s.KeepAlive > 0 {
			fault("KeepAlive", "is %v, %s", s.KeepAlive, remedy)
		}
	}
	return errors.Join(faults...)
}

// alwaysChecks reports whether each connection is checked before it is lent.
func (s *Settings) alwaysChecks() bool { return s.CheckAfter == Always }

func nameOf(d time.Duration) string {
	switch d {
	case Never:
		return "pools.Never"
	case Always:
		return "pools.Always"
	}
	return d.String()
}
