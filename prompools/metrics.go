package prompools

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/utopia-go/pools"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pools_"+name, help, append([]string{"pool"}, labels...), nil)
}

// number is a metric with one value for each pool.
type number struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*snapshot) float64
}

func gauge(name, help string, value func(*snapshot) int) number {
	return number{describe(name, help), prometheus.GaugeValue, func(s *snapshot) float64 { return float64(value(s)) }}
}

func counter(name, help string, value func(*snapshot) uint64) number {
	return number{describe(name+"_total", help), prometheus.CounterValue, func(s *snapshot) float64 { return float64(value(s)) }}
}

var numbers = []number{
	gauge("size", "How many connections may be open at once.", func(s *snapshot) int { return s.Size }),
	gauge("min_idle", "How many connections are kept idle.", func(s *snapshot) int { return s.pool.Settings().MinIdle }),
	gauge("excess_connections", "Connections beyond a size that was lowered.", func(s *snapshot) int { return s.Excess }),
	gauge("waiting", "Goroutines that wait for a connection.", func(s *snapshot) int { return s.Waiting }),
	gauge("paused", "1 while the pool is paused.", func(s *snapshot) int { return one(s.Paused) }),
	gauge("server_up", "0 while opens fail.", func(s *snapshot) int { return one(!s.Down) }),
	gauge("abandoned_calls", "Calls of the connector that hang, past their timeout.", func(s *snapshot) int { return s.Abandoned }),

	counter("leases", "Connections lent.", func(s *snapshot) uint64 { return s.Leases }),
	counter("waits", "Pops that had to wait.", func(s *snapshot) uint64 { return s.Waits }),
	counter("waits_failed", "Waits that ended without a connection.", func(s *snapshot) uint64 { return s.WaitsFailed }),
	counter("waits_timed_out", "Waits that ended by WaitTimeout or a deadline.", func(s *snapshot) uint64 { return s.TimedOut }),
	counter("refused", "Pops that MaxWaiting or RefuseLate refused at once; they are no waits.", func(s *snapshot) uint64 { return s.Refused }),
	counter("waits_passed_over", "Waits whose ctx left no time for a typical use.", func(s *snapshot) uint64 { return s.PassedOver }),
	counter("opened", "Connections opened.", func(s *snapshot) uint64 { return s.Opened }),
	counter("open_errors", "Opens that failed with all their tries.", func(s *snapshot) uint64 { return s.OpenErrors }),
	counter("detached", "Connections taken out of the pool for good.", func(s *snapshot) uint64 { return s.Detached }),
	counter("leaks", "Leases that lasted longer than LeakAfter.", func(s *snapshot) uint64 { return s.Leaks }),
	counter("lost", "Leases that were forgotten without a Push.", func(s *snapshot) uint64 { return s.Lost }),
	counter("misused", "Ended leases that were pushed, destroyed or detached again.", func(s *snapshot) uint64 { return s.Misused }),
	counter("unfinished", "Leases that left something unfinished, such as a transaction.", func(s *snapshot) uint64 { return s.Unfinished }),
	counter("abandonments", "Calls of the connector that were given up.", func(s *snapshot) uint64 { return s.Abandonments }),
}

var connections = describe("connections", "Connections by state.", "state")

// states are all but vacant: nothing is there then.
var states = []struct {
	state string
	value func(*snapshot) int
}{
	{"opening", func(s *snapshot) int { return s.Opening }},
	{"idle", func(s *snapshot) int { return s.Idle }},
	{"stale", func(s *snapshot) int { return s.Stale }},
	{"held", func(s *snapshot) int { return s.Held }},
	{"revoked", func(s *snapshot) int { return s.Revoked }},
	{"checking", func(s *snapshot) int { return s.Checking }},
	{"resetting", func(s *snapshot) int { return s.Resetting }},
	{"returning", func(s *snapshot) int { return s.Returning }},
	{"closing", func(s *snapshot) int { return s.Closing }},
	{"hung", func(s *snapshot) int { return s.Hung }},
}

var closed = describe("closed_total", "Connections closed, by reason.", "reason")

var histograms = []struct {
	desc  *prometheus.Desc
	value func(*snapshot) *pools.Histogram
}{
	{describe("wait_seconds", "How long Pops had to wait, also in vain."), func(s *snapshot) *pools.Histogram { return &s.Wait }},
	{describe("open_seconds", "How long opens took that succeeded, with all their tries."), func(s *snapshot) *pools.Histogram { return &s.Open }},
	{describe("use_seconds", "How long connections were lent."), func(s *snapshot) *pools.Histogram { return &s.Use }},
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
