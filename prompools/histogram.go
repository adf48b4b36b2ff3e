package prompools

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/utopia-go/pools"
)

// The borders of the classic buckets: 4 microseconds, 8 ... 69 s.
const firstPower, lastPower = 12, 36

// cumulative returns how many times were below each border.
func cumulative(h *pools.Histogram) map[float64]uint64 {
	below := make(map[float64]uint64, lastPower-firstPower+1)
	var n uint64
	rest := h.Buckets
	for power := firstPower; power <= lastPower; power++ {
		border := time.Duration(1) << power
		for len(rest) > 0 && rest[0].From < border {
			n += rest[0].Count
			rest = rest[1:]
		}
		below[border.Seconds()] = n
	}
	return below
}

func histogram(desc *prometheus.Desc, h *pools.Histogram, pool string, native bool) prometheus.Metric {
	m := prometheus.MustNewConstHistogram(desc, h.Count, h.Sum.Seconds(), cumulative(h), pool)
	if !native {
		return m
	}
	return withNative{m, h}
}

// withNative is a classic histogram and a native one: client_golang's constant
// ones are either.
type withNative struct {
	prometheus.Metric
	times *pools.Histogram
}

const (
	schema = 3                      // 1<<schema buckets for each power of two
	zero   = 256 * time.Nanosecond  // below it a pool's buckets are too wide for that
	widest = time.Duration(1 << 46) // from here on, all is in a pool's last bucket
)

// Write writes both.
func (m withNative) Write(to *dto.Metric) error {
	if err := m.Metric.Write(to); err != nil {
		return err
	}
	var zeros uint64
	buckets := map[int]int64{}
	for _, b := range m.times.Buckets {
		switch {
		case b.Below <= zero:
			zeros += b.Count
		case b.From >= widest: // its end depends on what is in it
			buckets[nativeBucket(b.From)] += int64(b.Count)
		default:
			buckets[nativeBucket((b.From+b.Below)/2)] += int64(b.Count)
		}
	}
	n, err := prometheus.NewConstNativeHistogram(m.Desc(), m.times.Count, m.times.Sum.Seconds(),
		buckets, nil, zeros, schema, zero.Seconds(), time.Time{}, "")
	if err != nil {
		return err
	}
	var written dto.Metric
	if err := n.Write(&written); err != nil {
		return err
	}
	from, h := written.Histogram, to.Histogram
	h.Schema, h.ZeroThreshold, h.ZeroCount = from.Schema, from.ZeroThreshold, from.ZeroCount
	h.PositiveSpan, h.PositiveDelta = from.PositiveSpan, from.PositiveDelta
	return nil
}

// nativeBucket returns the number of the bucket whose border is the first that
// is not shorter.
func nativeBucket(d time.Duration) int {
	return int(math.Ceil(math.Log2(d.Seconds()) * (1 << schema)))
}
