package pools

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A callList counts what a walk of its calls would, whatever begins, ends and
// grows old in whatever order.
func TestCallList(t *testing.T) {
	defer SetBatch(3)()
	for range 200 {
		var l callList
		var all []*call // as they should be, the oldest first
		slow := make(map[*call]bool)
		now := int64(0)
		for range 100 {
			switch now += rand.Int64N(3); {
			case len(all) == 0 || rand.N(2) == 0:
				c := &call{since: now, keepsSlot: rand.N(2) == 0}
				l.append(c)
				all = append(all, c)
			case rand.N(2) == 0:
				i := rand.N(len(all))
				l.remove(all[i])
				all = slices.Delete(all, i, i+1)
			default:
				bound := rand.Int64N(20)
				l.age(now, bound, new(visits))
				left := batch // visits
				for _, c := range all {
					if !slow[c] && now-c.since >= bound && left > 0 {
						slow[c] = true
						left--
					}
				}
			}
			fresh, keep, at := 0, 0, l.first
			for _, c := range all {
				if c != at {
					t.Fatal("the calls are not in their order")
				}
				if at = at.next; c.keepsSlot {
					keep++
				}
				if !slow[c] {
					fresh++
				}
			}
			if at != nil || l.len != len(all) || l.fresh() != fresh || l.slots != keep {
				t.Fatalf("of %d calls %d are fresh and %d keep their slots: %+v", len(all), fresh, keep, l)
			}
		}
	}
}
