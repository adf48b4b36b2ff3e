package pools

// sweep makes idle connections stale or suspected: of many, slice by slice.
// Until it is over, no Pop takes an idle connection; waiters get those that
// come back. Under the lock. Only this file writes its fields.
type sweep struct {
	to   state // vacant: no sweep is under way
	all  bool  // else only those that were idle at the keeper's last look
	next int   // slot
	anew bool  // one more is wanted, for what has become idle since
}

// sweepIdle begins a sweep, or has the one under way begin anew when it is
// over: one at a time, so that it ends however many are wanted meanwhile.
func (p *Pool[T]) sweepIdle(to state, all bool) {
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

// sweepOn does a slice of the sweep under way.
func (p *Pool[T]) sweepOn() {
	for w := &p.sweep; w.to != vacant; {
		if p.visits.spent() {
			p.gate.set(gateSweeping, true)
			p.again()
			return
		}
		i := p.table.Load().idleFrom(w.next, &p.visits)
		if i < 0 && p.visits.spent() {
			continue // not all was looked at
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
