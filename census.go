package pools

// census counts the slots in each state. Every change of a slot's state that
// needs the pool's lock goes through move, so the counts cannot disagree with
// the slots. Under the lock.
//
// Pops and pushes change a slot between idle, held and returning without the
// lock. Those three, with watched and revoked, are one class: in[idle] counts
// all of it. A snapshot tells its members apart by reading the words.
type census struct {
	in    [states]int
	slots int // in the table

	vacancies  bitset // the vacant slots
	uncheckeds bitset // the stale and suspected slots
}

// class is the state under which a state is counted.
var class = [states]state{
	vacant: vacant, opening: opening, stale: stale, suspected: suspected,
	checking: checking, resetting: resetting, closing: closing, hung: hung,

	idle: idle, held: idle, watched: idle, revoked: idle, returning: idle,
}

// move changes a slot's word. It reports false, and changes nothing, if the
// word is not from any more: a pop or a push was faster.
func (c *census) move(s *cell, from, to word) bool {
	if !s.word.swap(from, to) {
		return false
	}
	c.in[class[from.state()]]--
	c.in[class[to.state()]]++
	note := func(set *bitset, was, is bool) {
		switch {
		case is && !was:
			set.add(s.index)
		case was && !is:
			set.remove(s.index)
		}
	}
	note(&c.vacancies, from.state() == vacant, to.state() == vacant)
	note(&c.uncheckeds, from.unchecked(), to.unchecked())
	return true
}

// put changes the state of a slot that the pool owns: nobody else changes its
// word.
func (c *census) put(s *cell, to state) {
	word := s.word.load()
	c.move(s, word, word.with(to))
}

// resize notes that the table has so many slots now. Those that came or went
// are vacant.
func (c *census) resize(slots int) {
	c.vacancies.grow(slots)
	c.uncheckeds.grow(slots)
	for i := c.slots; i < slots; i++ {
		c.vacancies.add(i)
	}
	for i := slots; i < c.slots; i++ {
		c.vacancies.remove(i)
	}
	c.in[vacant] += slots - c.slots
	c.slots = slots
}

// taken is how many slots are not vacant.
func (c *census) taken() int { return c.slots - c.in[vacant] }

// alive is how many connections are open and not being closed.
func (c *census) alive() int {
	return c.in[idle] + c.in[stale] + c.in[suspected] + c.aboutIdle()
}

// aliveSoon counts those being opened, too.
func (c *census) aliveSoon() int { return c.alive() + c.in[opening] }

// aboutIdle is how many resets and checks are running: their connections will
// be idle soon.
func (c *census) aboutIdle() int { return c.in[checking] + c.in[resetting] }

// unchecked is how many connections are to be checked before they are lent.
func (c *census) unchecked() int { return c.in[stale] + c.in[suspected] }

// excess is how many connections have to be closed because Size was lowered.
// Opens do not count before they have succeeded: a connection that is there is
// worth more than one whose open may hang. Hung calls that keep their slot
// count, since the server may still see their connections.
func (c *census) excess(size int) int { return c.alive() + c.in[hung] - size }
