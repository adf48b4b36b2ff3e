package otelpools

import (
	"iter"
	"maps"
	"reflect"
	"sync"
	"time"
	"weak"

	"github.com/utopia-go/pools"
)

// totals are what all pools that had a name counted together, for each name. A
// pool's own counters begin at 0: they would fall when another takes its name.
// So a name's total goes on, and when a pool comes again, what it counted
// before is in the total only once.
//
// The lock is held for a whole round of the group: what a pool had counted
// earlier must not come after what it has counted since.
type totals[T tally[T]] struct {
	sync.Mutex
	names map[string]*total[T]
	round uint64
	start time.Time // when a name that is not in names began
}

// tally is numbers that only grow.
type tally[T any] interface {
	comparable
	plus(T) T
}

type total[T tally[T]] struct {
	start  time.Time
	round  uint64                   // the latest in which a pool had the name
	of     map[weak.Pointer[byte]]T // by pools: a strong pointer would keep those that were removed
	others T                        // by pools that are no more
}

// mostGone is how many names without a pool have their totals kept. Who makes
// more has names that do not come again.
const mostGone = 1000

// began is when the program did, nearly: no pool counted before.
var began = time.Now()

func newTotals[T tally[T]]() *totals[T] {
	t := &totals[T]{names: map[string]*total[T]{}, start: began}
	if now := time.Now(); now.Before(began) { // a test's clock, see testing/synctest
		t.start = now
	}
	return t
}

// set says what a pool has counted, and returns its name's total and since when
// that was counted.
func (t *totals[T]) set(name string, pool pools.AnyPool, counted T) (T, time.Time) {
	v := reflect.ValueOf(pool)
	if v.Kind() != reflect.Pointer { // a struct around a pool cannot be told from another
		return counted, t.start
	}
	one := t.names[name]
	if one == nil {
		one = &total[T]{start: t.start, of: map[weak.Pointer[byte]]T{}}
		t.names[name] = one
	}
	one.round = t.round
	one.of[weak.Make((*byte)(v.UnsafePointer()))] = counted
	return one.sum(), one.start
}

func (o *total[T]) sum() T {
	sum := o.others
	for _, counted := range o.of {
		sum = sum.plus(counted)
	}
	return sum
}

// end ends a round and returns the totals of the names that no pool had in it.
func (t *totals[T]) end() iter.Seq2[string, T] {
	var none T
	gone := map[string]T{}
	for name, one := range t.names {
		for pool, counted := range one.of {
			if pool.Value() == nil {
				one.others = one.others.plus(counted)
				delete(one.of, pool)
			}
		}
		if one.round == t.round {
			continue
		}
		if gone[name] = one.sum(); gone[name] == none {
			delete(gone, name)
			delete(t.names, name)
		}
	}
	t.round++
	if len(gone) > mostGone {
		for name := range gone {
			delete(t.names, name)
		}
		clear(gone)
		t.start = time.Now() // a name that comes again begins anew
	}
	return maps.All(gone)
}
