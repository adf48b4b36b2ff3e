package pools

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The buckets leave no time out, and none is in two.
func TestBuckets(t *testing.T) {
	for i := range allBuckets - 1 {
		from, next := bucketFrom(i), bucketFrom(i+1)
		if from >= next || bucketOf(from) != i || bucketOf(next-1) != i {
			t.Fatalf("bucket %d is from %d to %d; these are in %d and %d", i, from, next, bucketOf(from), bucketOf(next-1))
		}
		if width := float64(next-from) / float64(max(from, 1<<linearBits)); width > 1.0/parts {
			t.Errorf("bucket %d is %v of its times wide", i, width)
		}
	}
	for _, ns := range []int64{-1, math.MinInt64} {
		if bucketOf(ns) != 0 {
			t.Errorf("%d ns are in bucket %d", ns, bucketOf(ns))
		}
	}
	if bucketOf(math.MaxInt64) != allBuckets-1 {
		t.Error("the longest time is not in the last bucket")
	}
}

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() int64{
		"even":     func() int64 { return random.Int64N(int64(time.Second)) },
		"waits":    func() int64 { return int64(random.ExpFloat64() * float64(3*time.Millisecond)) },
		"spread":   func() int64 { return int64(math.Exp(random.Float64()*20 + 6)) },
		"one":      func() int64 { return 1_234_567 },
		"two":      func() int64 { return []int64{1000, int64(time.Minute)}[random.IntN(2)] },
		"too long": func() int64 { return int64(100*time.Hour) + random.Int64N(1000) },
	} {
		var counted times
		var all []int64
		for range 10_000 {
			ns := draw()
			counted.add(ns, 1)
			all = append(all, ns)
		}
		slices.Sort(all)
		h := counted.histogram()
		for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
			want := float64(all[max(int(math.Ceil(q*float64(len(all))))-1, 0)])
			got := float64(h.Quantile(q))
			if off := math.Abs(got - want); off > max(0.032*want, 8) {
				t.Errorf("%s, %v: %v, want %v: %.0f ns off", name, q, time.Duration(got), time.Duration(want), off)
			}
		}
		if h.Count != 10_000 || int64(h.Max) != all[len(all)-1] {
			t.Errorf("%s: %d counted, the longest %v", name, h.Count, h.Max)
		}
	}
	if h := (Histogram{}); h.Quantile(0.5) != 0 {
		t.Error("nothing was counted")
	}
}

func TestSince(t *testing.T) {
	var counted times
	counted.add(int64(time.Millisecond), 3)
	counted.add(int64(time.Minute), 1)
	before := counted.copied()
	counted.add(int64(2*time.Millisecond), 4)
	counted.add(int64(time.Millisecond), 1)
	h := counted.histogram().Since(before.histogram())
	if h.Count != 5 || h.Sum != 9*time.Millisecond || len(h.Buckets) != 2 || h.Max < 2*time.Millisecond || h.Max > 2*time.Millisecond*17/16 {
		t.Errorf("%+v", h)
	}
	if none := h.Since(h); none.Count != 0 || none.Sum != 0 || len(none.Buckets) != 0 || none.Max != 0 {
		t.Errorf("%+v", none)
	}
}

func TestHistogramEdges(t *testing.T) {
	var counted times
	counted.add(int64(9*time.Second), 1<<30)
	counted.add(int64(9*time.Second), 1<<30)
	h := counted.histogram()
	if h.Sum != math.MaxInt64 || h.Count != 1<<31 || h.Quantile(1) < 8*time.Second || h.Quantile(math.NaN()) == 0 || h.Quantile(-3) != h.Quantile(0) {
		t.Errorf("%+v", h)
	}
	counted.add(int64(time.Second), 1<<53+3-1<<31)
	if h := counted.histogram(); h.Quantile(1) < 8*time.Second || h.Quantile(7) != h.Quantile(1) {
		t.Errorf("the longest of %d is %v", h.Count, h.Quantile(1))
	}
	// Another histogram's snapshot.
	var other times
	other.add(int64(time.Millisecond), 5)
	other.add(int64(time.Second), 1)
	var small times
	small.add(int64(time.Second), 7)
	for _, pair := range [][2]times{{counted, other}, {other, small}, {small, other}} {
		h, earlier := pair[1].histogram(), pair[0].histogram()
		since := h.Since(earlier)
		sum := uint64(0)
		for _, b := range since.Buckets {
			sum += b.Count
		}
		if since.Count > h.Count || since.Sum < 0 || sum != since.Count {
			t.Errorf("%+v since %+v is %+v", h, earlier, since)
		}
	}
}
