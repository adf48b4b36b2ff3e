package pools

import "math/bits"

// bitset is a set of small numbers that finds its smallest member in a few
// steps, however many members it has: each bit of a level says whether a word
// of the level below is not zero. Only this file writes its fields.
type bitset struct{ levels [][]uint64 }

// grow makes room for the numbers below n. It never shrinks.
func (b *bitset) grow(n int) {
	for level := 0; ; level++ {
		n = (n + 63) / 64
		if level == len(b.levels) {
			b.levels = append(b.levels, nil)
			if level > 0 && len(b.levels[level-1]) > 0 && b.levels[level-1][0] != 0 {
				b.levels[level] = []uint64{1} // the members that the level below had before it grew
			}
		}
		if more := n - len(b.levels[level]); more > 0 {
			b.levels[level] = append(b.levels[level], make([]uint64, more)...)
		}
		if n <= 1 {
			return
		}
	}
}

func (b *bitset) add(i int) {
	for _, level := range b.levels {
		level[i/64] |= 1 << (i % 64)
		i /= 64
	}
}

func (b *bitset) remove(i int) {
	for _, level := range b.levels {
		level[i/64] &^= 1 << (i % 64)
		if level[i/64] != 0 {
			return
		}
		i /= 64
	}
}

// first returns the smallest member, or -1.
func (b *bitset) first() int {
	i := 0
	for l := len(b.levels) - 1; l >= 0; l-- {
		word := b.levels[l][i]
		if word == 0 {
			return -1
		}
		i = i*64 + bits.TrailingZeros64(word)
	}
	return i
}

// next returns the smallest member that is at least from, or -1.
func (b *bitset) next(from int) int {
	for l := range b.levels {
		if from/64 >= len(b.levels[l]) {
			return -1
		}
		if word := b.levels[l][from/64] &^ (1<<(from%64) - 1); word != 0 {
			i := from/64*64 + bits.TrailingZeros64(word)
			for l--; l >= 0; l-- {
				i = i*64 + bits.TrailingZeros64(b.levels[l][i])
			}
			return i
		}
		from = from/64 + 1
	}
	return -1
}

// lastMissing returns the largest number below n that is not a member, or -1.
// It looks at 64 numbers at a time.
func (b *bitset) lastMissing(n int) int {
	for i := (n - 1) / 64; i >= 0 && n > 0; i-- {
		missing := ^b.levels[0][i]
		if i == (n-1)/64 {
			missing &= ^uint64(0) >> (63 - (n-1)%64)
		}
		if missing != 0 {
			return i*64 + 63 - bits.LeadingZeros64(missing)
		}
	}
	return -1
}
