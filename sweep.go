package pools

// sweep makes idle connections stale or suspected, slice by slice. The fast path
// looks only at the word, so all words are changed at once and not when a Pop
// meets them. Until the sweep is over the gate keeps Pops from idle connections,
// and waiters get only what is handed back. Under the lock. Only this file
// writes its fields.
type sweep struct {
	to   state // vacant: no sweep is under way
	all  bool  // false: only those that were already idle at the keeper's last look
	next int   // the slot to go on with
	anew bool  // begin once more at the end, for what has become idle meanwhile
}

// sweepIdle begins a sweep, or has the running one begin once more at its end.
// Only one runs at a time, so that it ends however many are wanted meanwhile.
func (p *Pool[T]) sweepIdle(to state, all bool) { // model: sweep_begin
	if p.sweep.to == vacant {
		p.sweep = sweep{to: to, all: all}
	} else {
		p.sweep.anew = true
		p.sweep.all = p.sweep.all || all
		if to == suspected {
			p.sweep.to = suspected
		}
	}
	p.sweepOn()
}

// sweepOn does a slice of the running sweep, if there is one.
func (p *Pool[T]) sweepOn() { // model: sweep
	for w := &p.sweep; w.to != vacant; {
		if p.visits.spent() {
			// What may have been its user's fault alone need not stop Pops.
			p.gate.set(gateSweeping, w.all)
			p.again()
			return
		}
		i := p.table.Load().idleFrom(w.next, &p.visits)
		if i < 0 && p.visits.spent() {
			continue // the rest of the slots was not looked at
		}
		if j := p.stales.next(w.next); w.to == suspected && j >= 0 && (i < 0 || j < i) {
			i = j
		}
		switch {
		case i >= 0:
			p.visits.visit()
			s := p.slot(i)
			if word := s.word.load(); word.unused() && (w.all || s.sinceSeen(word)) {
				p.move(&s.cell, word, word.with(w.to))
			}
			w.next = i + 1
		case w.anew:
			w.anew, w.next = false, 0
		default:
			w.to = vacant
		}
	}
	p.gate.set(gateSweeping, false)
}
