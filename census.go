package pools

// census counts the slots in each state. Every change of a slot's state that
// needs the pool's lock goes through move, so the counts cannot disagree with
// the slots. Under the lock.
//
// Pops and pushes change a slot between idle, held and returning without the
// lock. These three, with watched and revoked, are one class: in[idle] counts
// them all. A snapshot tells them apart by reading the words. Only this file
// writes its fields.
type census struct {
	in    [states]int
	slots int // the length of the table

	vacancies, stales, suspects, rested bitset // the slots in these states

	leases uint64 // the sum of the lease numbers of vacant slots, including those taken out of the table
}

// class maps each state to the one under which it is counted.
var class = [states]state{
	vacant: vacant, opening: opening, stale: stale, suspected: suspected, resting: resting,
	checking: checking, resetting: resetting, closing: closing, hung: hung,

	idle: idle, held: idle, watched: idle, revoked: idle, returning: idle,
}

// move changes a slot's word. It reports false, and changes nothing, if the
// word is no longer from: a pop or a push was faster.
func (c *census) move(s *cell, from, to word) bool {
	if !s.word.swap(from, to) {
		return false
	}
	c.in[class[from.state()]]--
	c.in[class[to.state()]]++
	if from.state() == vacant {
		c.leases -= from.lease()
	}
	if to.state() == vacant {
		c.leases += to.lease()
	}
	if set := c.set(from.state()); set != nil {
		set.remove(s.index)
	}
	if set := c.set(to.state()); set != nil {
		set.add(s.index)
	}
	return true
}

// set is the set of slots in a state, or nil if none is kept.
func (c *census) set(s state) *bitset {
	switch s {
	case vacant:
		return &c.vacancies
	case stale:
		return &c.stales
	case suspected:
		return &c.suspects
	case resting:
		return &c.rested
	}
	return nil
}

// put changes the state of a slot that the pool owns, so that nobody else
// changes its word.
func (c *census) put(s *cell, to state) {
	word := s.word.load()
	c.move(s, word, word.with(to))
}

// resize notes the new length of the table. Slots that were added or removed
// are vacant.
func (c *census) resize(slots int) {
	c.vacancies.grow(slots)
	c.stales.grow(slots)
	c.suspects.grow(slots)
	c.rested.grow(slots)
	for i := c.slots; i < slots; i++ {
		c.vacancies.add(i)
	}
	for i := slots; i < c.slots; i++ {
		c.vacancies.remove(i)
	}
	c.in[vacant] += slots - c.slots
	c.slots = slots
}

// lastTaken returns the last slot that is not vacant, or -1.
func (c *census) lastTaken() int { return c.vacancies.lastMissing(c.slots) }

// taken is the number of slots that are not vacant.
func (c *census) taken() int { return c.slots - c.in[vacant] }

// alive is the number of connections that are open and not being closed.
func (c *census) alive() int {
	return c.in[idle] + c.in[stale] + c.in[suspected] + c.in[resting] + c.aboutIdle()
}

// aliveSoon also counts those being opened.
func (c *census) aliveSoon() int { return c.alive() + c.in[opening] }

// aboutIdle is the number of resets and checks that are running: their
// connections will be idle soon.
func (c *census) aboutIdle() int { return c.in[checking] + c.in[resetting] }

// anyOffPath returns a slot that is unused and that the fast path does not take:
// it rests, or is to be checked before it is lent. It returns -1 if there is none.
func (c *census) anyOffPath() int {
	return max(c.stales.first(), c.suspects.first(), c.rested.first())
}

// excess is the number of surplus connections, which have to be closed because
// Size was lowered. Opens do not count before they have succeeded: an open
// connection is worth more than one whose open may hang. Hung calls that keep
// their slot count, since the server may still see their connections.
func (c *census) excess(size int) int { return c.alive() + c.in[hung] - size }
