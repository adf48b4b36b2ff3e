package pools

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Values for settings that have no bound. Any other negative value is an
// error, and zero means the default that the field's comment gives.
const (
	Never   time.Duration = -1 // of a duration: it does not end, it does not happen
	Always  time.Duration = -2 // of CheckAfter: each time
	NoLimit int           = -1 // of a count
)

// LostPolicy says what happens to a connection whose Conn was forgotten
// without a Push.
type LostPolicy int

const (
	// LostClose closes and reports a lost connection: its slot is free
	// again. A holder that keeps only the resource of a Conn and forgets the
	// Conn looks lost after about two seconds: keep the Conn, or Detach.
	LostClose LostPolicy = iota
	// LostReport only reports it. Its slot stays held.
	LostReport
)

// Settings are the sizes and times of a pool. All of them may be changed while
// it runs, by [Pool.Configure]. Zero means the default. Times that a call or a
// wait is bounded by are exact; those that the keeper keeps (lifetimes, idle
// times) are kept to a quarter of the shortest of them, at most a second, and
// always late and never early, but for the jitter of MaxLifetime. When many
// connections are due together the last go some looks later.
//
// Settings can be read from JSON: see [Settings.UnmarshalJSON]. Give them a
// field of their own in a larger struct; embedded, they would read all of it.
type Settings struct {
	// Size is how many connections may be open at once. Required.
	Size int

	// WaitTimeout is the longest that a Pop waits, beside its ctx.
	// Default: 30 s. Never: the ctx alone decides.
	WaitTimeout time.Duration

	// Logger gets what nobody's error reports: lost leases, leaks, misuse,
	// failing opens, checks and closes; at the level Debug also what is opened
	// and closed in the ordinary way. Of one kind it gets ten in ten seconds,
	// so that a server that is down does not flood it. Nil is silent.
	Logger *slog.Logger `json:"-"`

	// Observer is told what happens, if not nil. Do not change it while it is
	// in use; Configure may give another.
	Observer *Observer `json:"-"`

	// MaxLifetime is how old a connection may become. It is closed up to a
	// tenth earlier, each by another share, so that those that were opened
	// together do not go together; never under its holder, but when it comes
	// back. At most half of the idle ones are closed at one look of the
	// keeper, for whatever reason. Default: 30 min. Never: any age.
	MaxLifetime time.Duration

	// IdleTimeout is how long a connection may be idle before it is closed,
	// unless MinIdle keeps it. Default: 10 min. Never: for ever.
	IdleTimeout time.Duration

	// MinIdle is how many connections are kept idle, within Size; what is
	// missing is opened in the background, within about a second. Default: 0.
	MinIdle int

	// OpenTimeout bounds one open with all its tries and the pauses between.
	// Default: 10 s.
	OpenTimeout time.Duration

	// ReconnectAttempts is how often one open tries. Default: 3. NoLimit: as
	// often as OpenTimeout allows.
	ReconnectAttempts int

	// ReconnectSleep is the longest first pause between two tries. It
	// doubles from try to try, up to an hour; the pause itself is random up
	// to that. While the server is down it is also the first pause of the
	// prober, which grows up to 30 s. Default: 1 s.
	ReconnectSleep time.Duration

	// CheckAfter is how long a connection may be idle and still be lent
	// without a Check. Default: 5 s. Always checks before every use, if the
	// connection was not just opened or reset: each Pop then costs a round
	// trip. Never checks nothing.
	CheckAfter time.Duration

	// CheckTimeout bounds one Check, and all that one Pop may spend on
	// connections that fail theirs. Default: 1 s.
	CheckTimeout time.Duration

	// MaxWaiting is how many goroutines may wait at once, be it for a push or
	// for an open; one more gets ErrTooManyWaiting at once. Default: NoLimit.
	MaxWaiting int

	// LeakAfter is how long a connection may be held before its holder is
	// logged and counted as a leak, once a lease; with TrackHolders the log
	// has the stack of its Pop. Default: Never.
	LeakAfter time.Duration

	// TrackHolders keeps the stack of each Pop and the number of its
	// goroutine, for the errors, logs and Connections that name holders. It
	// makes each Pop dearer by 3 to 20 microseconds, growing with the depth
	// of the stack.
	TrackHolders bool

	// KeepAlive is how long a connection may be idle before it is checked in
	// the background, again and again, so that nobody on the way to the
	// server forgets it. It needs a Connector.Check. Default: Never.
	KeepAlive time.Duration

	// MaxUses is how often a connection is lent before it is closed; one that
	// is idle when MaxUses is lowered may be lent once more.
	// Default: NoLimit. It makes each Push about 50 ns dearer.
	MaxUses int

	// MaxOpensPerSecond bounds how many tries to open begin in a second; they
	// are spread evenly. Default: NoLimit.
	MaxOpensPerSecond int

	// CloseTimeout and ResetTimeout bound the connector's functions of these
	// names. Default: 5 s each.
	CloseTimeout, ResetTimeout time.Duration

	// Strict lets an abandoned call keep its slot, so that the server never
	// sees more than Size connections; the price is that a hung Close costs
	// a slot for as long as it hangs. Off, at most Size calls can be
	// abandoned beside the slots; further ones keep theirs.
	Strict bool

	// Lost says what happens to connections whose Conn was forgotten.
	// Default: LostClose.
	Lost LostPolicy
}

const (
	mostSlots = 1 << 24
	longest   = 100 * 365 * 24 * time.Hour // longer ones would overflow the pool's clock
)

// complete fills in the defaults and returns every fault. checks says whether
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
		fault("MinIdle", "is %d; give a number from 0 to Size, %d", s.MinIdle, s.Size)
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
		fault(field, "is %s; give %s", nameOf(*value), strings.Join(values, " or "))
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
