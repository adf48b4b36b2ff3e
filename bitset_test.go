package pools

import (
	"math/rand/v2"
	"testing"
)

// A bitset says what a slice of bools does, whatever is added and removed and
// however it grows.
func TestBitset(t *testing.T) {
	for _, size := range []int{1, 63, 64, 65, 127, 128, 4096, 4097, 70_000} {
		var b bitset
		is := make([]bool, 0, size)
		next := func(from int) int {
			for i := from; i < len(is); i++ {
				if is[i] {
					return i
				}
			}
			return -1
		}
		lastMissing := func(n int) int {
			for n--; n >= 0 && is[n]; n-- {
			}
			return n
		}
		set := func(i int, to bool) {
			if is[i] = to; to {
				b.add(i)
			} else {
				b.remove(i)
			}
		}
		compare := func() {
			t.Helper()
			at := rand.N(len(is))
			for _, i := range []int{0, at, at / 64 * 64, len(is) - 1} {
				if got, want := b.next(i), next(i); got != want {
					t.Fatalf("of %d: next(%d) is %d, want %d", len(is), i, got, want)
				}
				if got, want := b.lastMissing(i+1), lastMissing(i+1); got != want {
					t.Fatalf("of %d: lastMissing(%d) is %d, want %d", len(is), i+1, got, want)
				}
			}
			if got, want := b.first(), next(0); got != want {
				t.Fatalf("of %d: first is %d, want %d", len(is), got, want)
			}
		}
		for len(is) < size { // it grows with members in it
			n := min(size, len(is)+1+rand.N(size))
			b.grow(n)
			is = is[:n]
			compare()
			for range 20 {
				set(rand.N(n), rand.N(2) == 0)
				compare()
			}
		}
		for _, to := range []bool{true, false} { // full, then empty again
			for _, i := range rand.Perm(size) {
				if set(i, to); size < 200 || i%1000 == 0 {
					compare()
				}
			}
			compare()
		}
	}
}
