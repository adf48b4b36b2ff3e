// Package prompools is a Prometheus collector for pools.
//
//	var group pools.Group // with all pools
//	...
//	err := prometheus.Register(prompools.New(&group))
//
// Each scrape takes one snapshot of each pool ([pools.Pool.Stats]), which with
// all that is written costs some 40 microseconds, few of them under the pool's
// lock; between two of them nothing is done. These are the metrics, each with
// the label pool:
//
//	pools_size                       how many connections may be open
//	pools_min_idle                   how many are kept idle
//	pools_connections{state}         opening, idle, stale, held, revoked, checking,
//	                                 resetting, returning, closing or hung
//	pools_excess_connections         how many of these are beyond a size that was lowered
//	pools_waiting                    goroutines that wait for a connection
//	pools_paused                     1 while the pool is paused
//	pools_server_up                  0 while opens fail
//	pools_abandoned_calls            calls of the connector that hang
//	pools_leases_total               connections lent
//	pools_waits_total                Pops that had to wait
//	pools_waits_failed_total         of these, how many got nothing
//	pools_waits_timed_out_total      of these, how many by a timeout
//	pools_refused_total              Pops that MaxWaiting or RefuseLate refused at once
//	pools_waits_passed_over_total    waits whose ctx left no time for a typical use
//	pools_opened_total
//	pools_open_errors_total          opens that failed with all their tries
//	pools_closed_total{reason}       see [pools.Reason]
//	pools_detached_total
//	pools_leaks_total                leases that lasted longer than LeakAfter
//	pools_lost_total                 leases that were forgotten
//	pools_misused_total              leases that were ended twice
//	pools_unfinished_total           leases that left something unfinished, such as a transaction
//	pools_abandonments_total         calls of the connector that were given up
//	pools_wait_seconds               histogram of waits, also of failed ones
//	pools_open_seconds               histogram of opens that succeeded
//	pools_use_seconds                histogram of leases, by samples (see [pools.Stats])
//
// The buckets of the histograms are bounded by each power of two of
// nanoseconds from 4 microseconds to 69 seconds. A pool's own buckets are
// bounded by these too, so that none of them has to be divided.
package prompools

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/utopia-go/pools"
)

// New makes a collector of the pools in a group, those that are in it at each
// scrape. It is safe for any number of goroutines. With a nil group the
// registration fails. To register several groups, give each a label of its
// own by [prometheus.WrapRegistererWith].
func New(group *pools.Group) prometheus.Collector { return &collector{group, false} }

// NewNative is New with native histograms beside the classic ones, of 8
// buckets for each power of two. A Prometheus that takes native histograms
// then drops the classic ones, on which dashboards with _bucket rely, unless
// its scrape config says otherwise. A time may be in a bucket next to its own
// when it is within 3.3 % of the border: a pool's own buckets are no finer.
// What took less than 256 ns is in the zero bucket.
func NewNative(group *pools.Group) prometheus.Collector { return &collector{group, true} }

type collector struct {
	group  *pools.Group
	native bool
}

// Describe sends what Collect may send, so that a second registration fails.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	if c.group == nil {
		to <- prometheus.NewInvalidDesc(errors.New("prompools: New: group is nil; give the *pools.Group with the pools"))
		return
	}
	for _, m := range numbers {
		to <- m.desc
	}
	for _, m := range histograms {
		to <- m.desc
	}
	to <- connections
	to <- closed
}

// Collect sends the metrics of each pool.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	if c.group == nil {
		return
	}
	for name, pool := range c.group.All() {
		s := snapshot{pool.Stats(), pool}
		for _, m := range numbers {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s), name)
		}
		for _, m := range states {
			to <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(m.value(&s)), name, m.state)
		}
		for reason, n := range s.ClosedBy {
			to <- prometheus.MustNewConstMetric(closed, prometheus.CounterValue, float64(n), name, string(reason))
		}
		for _, m := range histograms {
			to <- histogram(m.desc, m.value(&s), name, c.native)
		}
	}
}

// snapshot is a pool at one moment.
type snapshot struct {
	pools.Stats
	pool pools.AnyPool
}
