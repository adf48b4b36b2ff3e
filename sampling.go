package pools

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// How long connections are lent is measured for some leases only: reading a clock
// costs more than everything else that a Pop does. Samples become rarer while
// they come fast, and more frequent when they do not, so that a slow pool
// measures every use and a fast pool one in a million. A lease that is timed,
// tracked or observed is marked watched by its own Pop, so that its end takes
// the slow path; see keep.go.
const (
	sampleGap   = int64(5 * time.Millisecond) // samples that come faster than this are too many
	everySample = math.MaxUint64
	fewSamples  = everySample >> 30
)

// sampling says which uses are timed. It is read by every Pop and written under
// the lock. Only this file writes its fields.
type sampling struct {
	part atomic.Uint64
	at   int64 // when the latest timed use began; under the lock
}

// sampled reports whether the use of a lease of that slot is timed: whether its
// place on a circle is in the first part of it. From one lease of a slot to the
// next, the place moves on by the golden ratio (lease numbers begin at bit 4),
// which spreads any part evenly over the leases, out of step with any rhythm of
// the load. Each slot begins at a different place. The state's bits are part of
// the place: another number for held would time other leases.
func (s *sampling) sampled(slot int, lease word) bool {
	const golden, silver = 0x9E3779B97F4A7C15 >> stateBits, 0xD413CCCFE7799215
	return uint64(lease)*golden+uint64(slot)*silver <= s.part.Load()
}

// all makes every use timed.
func (s *sampling) all() { s.part.Store(everySample) }

// rare returns for how many leases the next timed one stands, as the power of
// two. Unless all are wanted, it makes samples rarer if they come too fast.
func (s *sampling) rare(now int64, all bool) uint8 {
	part := s.part.Load()
	if !all && s.at != 0 && now-s.at < sampleGap && part > fewSamples {
		s.part.Store(part >> 1)
	}
	s.at = now
	return uint8(bits.LeadingZeros64(part))
}

// more makes samples more frequent if they are rare.
func (s *sampling) more(now int64) {
	if now-s.at > 20*sampleGap && !unsampled.Load() {
		s.part.Store(s.part.Load()<<2 | 3)
	}
}

// unsampled is set only by tests. Then uses are timed only for an Observer, and
// pushes take the fast path, which in a slow pool none would.
var unsampled atomic.Bool
