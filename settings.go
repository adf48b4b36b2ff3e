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
)

// LostPolicy says what happens to a connection whose Conn was forgotten
// without a Push.
type LostPolicy int

const (
	// LostClose reports and closes a lost connection, which frees its slot.
	// If a holder keeps only the resource and drops the Conn, the connection
	// looks lost after about two seconds: keep the Conn, or Detach.
	LostClose LostPolicy = iota
	// LostReport only reports a lost connection. Its slot stays held.
	LostReport
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
// Settings can be read from JSON: see [Settings.UnmarshalJSON]. In a larger
// struct, make them a named field: embedded Settings would read the whole JSON
// object.
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
	// try, up to an hour. While the server is down, ReconnectSleep is also
	// the first pause of the prober, whose pauses grow up to 30 s.
	// Default: 1 s.
	ReconnectSleep time.Duration

	// CheckAfter is how long a connection may be idle and still be lent
	// without a Check. Default: 5 s. Always: check before every use, unless
	// the connection was just opened or reset; each Pop then costs a round
	// trip. Never: connections are lent without a Check.
	CheckAfter time.Duration

	// CheckTimeout bounds one Check. It also bounds the total time that one
	// Pop may spend on connections whose Check fails. Default: 1 s.
	CheckTimeout time.Duration

	// MaxWaiting is the maximum number of goroutines that wait at once, for a
	// push or for an open. A Pop beyond it gets ErrTooManyWaiting at once.
	// Default: NoLimit.
	MaxWaiting int

	// LeakAfter is how long a connection may be held before its holder is
	// logged and counted as a leak, once per lease. With TrackHolders, the
	// log contains the stack of its Pop. Default: Never.
	LeakAfter time.Duration

	// TrackHolders records the stack and the goroutine number of each Pop,
	// for errors, logs and Connections, which name holders. It adds 3 to 20
	// microseconds to each Pop, depending on the depth of the stack.
	TrackHolders bool

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

	// Lost says what happens to connections whose Conn was forgotten.
	// Default: LostClose.
	Lost LostPolicy
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
		case *value < 0 && *value != NoLimit:
			fault(field, "is %d; give a positive number, 0 for the default, or pools.NoLimit", *value)
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
	duration("CheckAfter", &s.CheckAfter, 5*time.Second, Never, Always)
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
	if s.Lost != LostClose && s.Lost != LostReport {
		fault("Lost", "is %d; give pools.LostClose or pools.LostReport", s.Lost)
	}
	return errors.Join(faults...)
}

func nameOf(d time.Duration) string {
	switch d {
	case Never:
		return "pools.Never"
	case Always:
		return "pools.Always"
	}
	return d.String()
}
