package pools

import (
	"errors"
	"log/slog"
	"slices"
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

// Settings are the sizes and times of a pool. Times are exact unless the
// comment says otherwise.
type Settings struct {
	// Size is how many connections may be open at once. Required.
	Size int

	// MaxWaiting is how many goroutines may wait at once, be it for a push or
	// for an open; one more gets ErrTooManyWaiting at once. Default: NoLimit.
	MaxWaiting int

	// WaitTimeout is the longest that a Pop waits, beside its ctx.
	// Default: 30 s. Never: the ctx alone decides.
	WaitTimeout time.Duration

	// OpenTimeout bounds one open with all its tries and the pauses between.
	// Default: 10 s.
	OpenTimeout time.Duration

	// ReconnectAttempts is how often one open tries. Default: 3. NoLimit: as
	// often as OpenTimeout allows.
	ReconnectAttempts int

	// ReconnectSleep is the longest first pause between two tries. It
	// doubles from try to try; the pause itself is random up to that. While
	// the server is down it is also the first pause of the prober, which
	// grows up to 30 s. Default: 1 s.
	ReconnectSleep time.Duration

	// CloseTimeout, CheckTimeout and ResetTimeout bound the connector's
	// functions of these names. Defaults: 5 s, 1 s, 5 s.
	CloseTimeout, CheckTimeout, ResetTimeout time.Duration

	// CheckAfter is how long a connection may be idle and still be lent
	// without a Check. Default: 5 s, kept to about a second later. Always
	// checks before every use, if the connection was not just opened or
	// reset: each Pop then costs a round trip. Never checks nothing.
	CheckAfter time.Duration

	// Lost says what happens to connections whose Conn was forgotten.
	// Default: LostClose.
	Lost LostPolicy

	// Strict lets an abandoned call keep its slot, so that the server never
	// sees more than Size connections; the price is that a hung Close costs
	// a slot for as long as it hangs. Off, at most Size calls can be
	// abandoned beside the slots; further ones keep theirs.
	Strict bool

	// TrackHolders keeps the stack of each Pop, for the errors and logs that
	// name holders. It makes each Pop about a microsecond dearer.
	TrackHolders bool

	// Logger gets what nobody's error reports: lost leases, misuse, failing
	// opens, checks and closes. Nil is silent.
	Logger *slog.Logger
}

const (
	mostSlots = 1 << 24
	longest   = 100 * 365 * 24 * time.Hour // longer ones would overflow the pool's clock
)

// complete fills in the defaults and returns every fault.
func (s *Settings) complete() error {
	var faults []error
	if s.Size < 1 || s.Size > mostSlots {
		faults = append(faults, fieldError("Settings.Size", "is %d; give the number of connections that may be open, from 1 to %d", s.Size, mostSlots))
	}
	count := func(field string, value *int, normal int) {
		switch {
		case *value == 0:
			*value = normal
		case *value < 0 && *value != NoLimit:
			faults = append(faults, fieldError(field, "is %d; give a positive number, 0 for the default, or pools.NoLimit", *value))
		}
	}
	count("Settings.MaxWaiting", &s.MaxWaiting, NoLimit)
	count("Settings.ReconnectAttempts", &s.ReconnectAttempts, 3)
	duration := func(field string, value *time.Duration, normal time.Duration, named string, allowed ...time.Duration) {
		if *value == 0 {
			*value = normal
		}
		if *value > 0 && *value <= longest {
			return
		}
		if *value > longest {
			faults = append(faults, fieldError(field, "is %v; give at most %v%s", *value, longest, named))
			return
		}
		if slices.Contains(allowed, *value) {
			return
		}
		faults = append(faults, fieldError(field, "is %d ns; give a positive duration or 0 for the default, %v%s", *value, normal, named))
	}
	orNever := ", or pools.Never"
	duration("Settings.WaitTimeout", &s.WaitTimeout, 30*time.Second, orNever, Never)
	duration("Settings.OpenTimeout", &s.OpenTimeout, 10*time.Second, "")
	duration("Settings.ReconnectSleep", &s.ReconnectSleep, time.Second, "")
	duration("Settings.CloseTimeout", &s.CloseTimeout, 5*time.Second, "")
	duration("Settings.CheckTimeout", &s.CheckTimeout, time.Second, "")
	duration("Settings.ResetTimeout", &s.ResetTimeout, 5*time.Second, "")
	duration("Settings.CheckAfter", &s.CheckAfter, 5*time.Second, ", pools.Never or pools.Always", Never, Always)
	if s.Lost != LostClose && s.Lost != LostReport {
		faults = append(faults, fieldError("Settings.Lost", "is %d; give pools.LostClose or pools.LostReport", s.Lost))
	}
	return errors.Join(faults...)
}
