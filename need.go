package pools

import (
	"math"
	"time"
)

// need estimates how much time a waiter must have left to be worth a connection:
// the least with which a connection is nearly as productive as it can be. It is
// found by yield. If every use were cut off after e, a connection would finish
// (1-s)/(t+s*open) uses a second, where s is the share of uses that last longer
// than e, t the mean time until a use ends or is cut off, and open what a
// connection costs that a cut-off use breaks. A use that was itself cut off counts
// as one that takes at least so long, as in the estimator of Kaplan and Meier: a
// plain quantile of the uses that ended well learns nothing from a server that has
// become so slow that none does.
//
// Under the lock. Only this file writes its fields.
type need struct {
	least int64   // nanoseconds; 0: nothing is known
	mean  float64 // of a use, as far as it was not cut off

	good, cut [needBuckets]float64 // weights of uses by how long they took
	weight    float64              // of the next use; older ones fade
	seen      int
	open      float64 // the mean cost of a cut-off use in opens, as nanoseconds; less than 0: none was seen
}

const (
	needFirst   = 10 * time.Microsecond // the upper edge of the first bucket
	needBuckets = 120                   // 4 for each doubling: up to 2.5 hours
	halfLife    = 32                    // uses
	enough      = 0.98                  // of the best yield
)

func newNeed() need { return need{weight: 1, open: -1} }

// needEdges are the upper edges of the buckets, in nanoseconds.
var needEdges = func() (edges [needBuckets]float64) {
	for i := range edges {
		edges[i] = float64(needFirst) * math.Exp2(float64(i)/4)
	}
	return edges
}()

// observe notes that a use has ended, by itself or cut off, and whether that broke
// its connection. used is how long it took, or less than 0 if it was not timed.
// Only uses of Pops with a deadline count: long ones in the background say nothing
// about requests. open is how long an open takes.
func (n *need) observe(use *timedUse, used int64, ended, broke bool, open time.Duration) {
	if used < 0 || !use.urgent {
		return
	}
	i := 0
	if used > int64(needFirst) {
		i = min(int(math.Ceil(4*math.Log2(float64(used)/float64(needFirst)))), needBuckets-1)
	}
	n.weight *= math.Exp2(1.0 / halfLife)
	if ended {
		n.good[i] += n.weight
	} else {
		n.cut[i] += n.weight
		cost := 0.0
		if broke {
			cost = float64(open)
		}
		if n.open < 0 {
			n.open = cost
		}
		n.open += (cost - n.open) / 8
	}
	if n.weight > 1e100 {
		for i := range n.good {
			n.good[i] /= n.weight
			n.cut[i] /= n.weight
		}
		n.weight = 1
	}
	n.seen++
	if n.seen <= 64 || n.seen%8 == 0 {
		n.compute(float64(open))
	}
}

// compute estimates least. open is what a cut-off use costs if none was seen.
func (n *need) compute(open float64) {
	if n.open >= 0 {
		open = n.open
	}
	all := 0.0
	for i := range n.good {
		all += n.good[i] + n.cut[i]
	}
	left, lasts, mean, before := all, 1.0, 0.0, 0.0
	var yield [needBuckets]float64
	best, known := 0.0, 0
	for ; known < needBuckets && left > all/1000; known++ {
		edge := needEdges[known]
		mean += lasts * (edge - before)
		lasts *= 1 - n.good[known]/left
		left -= n.good[known] + n.cut[known]
		yield[known] = (1 - lasts) / (mean + lasts*open)
		best = max(best, yield[known])
		before = edge
	}
	n.mean = mean
	// What lasts longer than anything seen may end soon after.
	if hope := 1 / (mean + lasts*before/2); enough*hope > best {
		n.least = int64(1.5 * before)
		return
	}
	for i := range known {
		if yield[i] >= enough*best {
			n.least = int64(needEdges[i])
			return
		}
	}
}
