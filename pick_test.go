package pools

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// crowdOf is a queue of waiters with these deadlines; 0: none.
func crowdOf(deadlines ...int64) (*queue[int], []*waiter[int]) {
	q, all := new(queue[int]), []*waiter[int](nil)
	for _, deadline := range deadlines {
		w := &waiter[int]{deadline: deadline}
		q.append(w)
		all = append(all, w)
	}
	return q, all
}

// order picks until nobody is left, and returns the places of those picked.
func order(q *queue[int], all []*waiter[int], judge func(*waiter[int]) verdict) (places []int) {
	for w := q.pick(nil, judge); w != nil; w = q.pick(nil, judge) {
		places = append(places, slices.Index(all, w))
		q.remove(w)
	}
	return places
}

func TestPick(t *testing.T) {
	withTime := func(least int64) func(w *waiter[int]) verdict {
		return func(w *waiter[int]) verdict {
			if w.deadline == 0 || w.deadline >= least {
				return serve
			}
			return passOver
		}
	}
	for _, c := range []struct {
		name      string
		deadlines []int64
		least     int64
		want      []int
	}{
		{"no deadlines", []int64{0, 0, 0, 0}, 5, []int{0, 1, 2, 3}},
		{"equal deadlines", []int64{9, 9, 9, 9}, 5, []int{0, 1, 2, 3}},
		{"the later the arrival, the later the deadline", []int64{6, 7, 8, 9}, 5, []int{0, 1, 2, 3}},
		{"turns of the oldest and the most urgent", []int64{9, 0, 8, 7, 6}, 5, []int{0, 4, 1, 3, 2}},
		{"without time", []int64{1, 9, 2, 0, 3}, 5, []int{1, 3, 4, 2, 0}},
		{"nobody with time", []int64{1, 2, 3}, 5, []int{2, 1, 0}},
	} {
		q, all := crowdOf(c.deadlines...)
		if got := order(q, all, withTime(c.least)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if q.len != 0 || q.first != nil || q.timely.first != nil || q.passed.first != nil || len(q.urgent) != 0 {
			t.Errorf("%s: the queue is not empty: %+v", c.name, q)
		}
	}
}

// The racer is awake and finds out by itself.
func TestPickSkips(t *testing.T) {
	q, all := crowdOf(5, 9, 7)
	serveAll := func(*waiter[int]) verdict { return serve }
	for _, want := range []int{1, 2, 1, 2} { // the oldest but the racer, the most urgent but the racer
		if w := q.pick(all[0], serveAll); w != all[want] {
			t.Errorf("picked %d, want %d", slices.Index(all, w), want)
		}
	}
	q, all = crowdOf(1)
	if w := q.pick(all[0], serveAll); w != nil {
		t.Error("the racer was picked")
	}
	q.passOver(all[0])
	if w := q.pick(all[0], serveAll); w != nil {
		t.Error("the racer that was passed over was picked")
	}
}

// A pick passes over 64 at the most, and then serves the newest.
func TestPickIsBounded(t *testing.T) {
	q, all := crowdOf(make([]int64, 1000)...)
	met := 0
	w := q.pick(nil, func(*waiter[int]) verdict { met++; return passOver })
	if w != all[999] || met != 64 {
		t.Errorf("%d were met, and %d was served", met, slices.Index(all, w))
	}
}

// While others with time wait, but none of them has a deadline, each 32nd pick is
// for one that was passed over.
func TestProbe(t *testing.T) {
	q, all := crowdOf(append([]int64{1, 1, 1}, make([]int64, 100)...)...)
	judge := func(w *waiter[int]) verdict {
		if w.deadline == 0 {
			return serve
		}
		return passOver
	}
	places := order(q, all, judge)
	var probes []int
	for i, place := range places {
		if place < 3 {
			probes = append(probes, i+1)
		}
	}
	if want := []int{32, 64, 96}; !slices.Equal(probes, want) {
		t.Errorf("probes were picks %v, want %v", probes, want)
	}
}

// Those that leave are missing nowhere.
func TestQueueLeaves(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := new(queue[int])
	var all []*waiter[int]
	for step := range 20_000 {
		switch n := r.IntN(5); {
		case n < 2:
			w := &waiter[int]{deadline: r.Int64N(100)}
			all = append(all, w)
			q.append(w)
		case len(all) == 0:
		case n == 2:
			i := r.IntN(len(all))
			q.remove(all[i])
			all = slices.Delete(all, i, i+1)
		case n == 3:
			if w := all[r.IntN(len(all))]; !w.passedOver {
				q.passOver(w)
			}
		default:
			least := r.Int64N(100)
			w := q.pick(nil, func(w *waiter[int]) verdict {
				if w.deadline == 0 || w.deadline >= least {
					return serve
				}
				return passOver
			})
			i := slices.Index(all, w)
			if i < 0 {
				t.Fatalf("step %d: picked one that does not wait", step)
			}
			q.remove(w)
			all = slices.Delete(all, i, i+1)
		}
		var first *waiter[int]
		for _, w := range all {
			if w.deadline != 0 && !w.passedOver && (first == nil || w.deadline < first.deadline) {
				first = w
			}
		}
		if got := q.mostUrgent(nil); (got == nil) != (first == nil) || got != nil && got.deadline != first.deadline {
			t.Fatalf("step %d: the most urgent is %v, want %v", step, got, first)
		}
		if q.len != len(all) {
			t.Fatalf("step %d: %d wait, want %d", step, q.len, len(all))
		}
	}
}

// What is learned from uses, as tables: the least time that makes a connection
// nearly as productive as it can be.
func TestNeed(t *testing.T) {
	const ms = int64(time.Millisecond)
	type use struct {
		took int64
		cut  bool
	}
	repeat := func(n int, uses ...use) (all []use) {
		for range n {
			all = append(all, uses...)
		}
		return all
	}
	spread := func(n int, from, to int64) (all []use) {
		for i := range n {
			all = append(all, use{from + int64(i*7919%n)*(to-from)/int64(n), false})
		}
		return all
	}
	for _, c := range []struct {
		name     string
		uses     []use
		keeps    bool // a use that is cut off keeps its connection
		min, max int64
	}{
		{"nothing is known", nil, false, 0, 0},
		{"uses alike", repeat(100, use{50 * ms, false}), false, 50 * ms, 60 * ms},
		{"uses of no length", repeat(100, use{0, false}), false, 0, ms / 10},
		{"one in ten is long, and an open costs less", repeat(50, use{10 * ms, false}, use{11 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false},
			use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{500 * ms, false}), false, 10 * ms, 20 * ms},
		{"one in ten is long, and a cut costs nothing", repeat(50, use{10 * ms, false}, use{11 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false},
			use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{10 * ms, false}, use{100 * ms, true}), true, 10 * ms, 20 * ms},
		{"all cut off: more than any of them had", repeat(100, use{100 * ms, true}), false, 140 * ms, 200 * ms},
		{"a server that becomes slow", append(repeat(100, use{50 * ms, false}), repeat(100, use{100 * ms, true})...), false, 140 * ms, 200 * ms},
		{"one that becomes fast again", append(append(repeat(100, use{50 * ms, false}), repeat(100, use{100 * ms, true})...), repeat(300, use{50 * ms, false})...), false, 50 * ms, 60 * ms},
		{"spread evenly", spread(400, 20*ms, 80*ms), false, 75 * ms, 100 * ms},
	} {
		n := newNeed()
		for _, u := range c.uses {
			n.observe(&timedUse{urgent: true}, u.took, !u.cut, u.cut && !c.keeps, 100*time.Millisecond)
		}
		if n.least < c.min || n.least > c.max {
			t.Errorf("%s: %v, want %v to %v", c.name, time.Duration(n.least), time.Duration(c.min), time.Duration(c.max))
		}
	}
}

// Only timed uses of Pops with a deadline count, and the weights do not overflow.
func TestNeedLearns(t *testing.T) {
	n := newNeed()
	n.observe(&timedUse{}, int64(time.Hour), true, false, time.Second)
	n.observe(&timedUse{urgent: true}, -1, true, false, time.Second)
	if n.seen != 0 || n.least != 0 {
		t.Errorf("learned %v from %d uses", time.Duration(n.least), n.seen)
	}
	for i := range 100_000 {
		n.observe(&timedUse{urgent: true}, int64(time.Millisecond), i%3 > 0, false, time.Second)
	}
	if n.least < int64(time.Millisecond) || n.least > 2*int64(time.Millisecond) || n.weight > 1e101 {
		t.Errorf("%v; weight %v", time.Duration(n.least), n.weight)
	}
}

// A hand-on to one of many costs about as much as to one of few.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			q := new(queue[int])
			for range n {
				q.append(&waiter[int]{deadline: 1 + r.Int64N(1<<40)})
			}
			for b.Loop() {
				w := q.pick(nil, func(*waiter[int]) verdict { return serve })
				q.remove(w)
				w.deadline = 1 + r.Int64N(1<<40)
				q.append(w)
			}
		})
	}
}
