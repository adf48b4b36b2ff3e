package pools

// sweep makes idle connections stale, suspected or resting, slice by slice. The fast path
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
		p.visits.visit()
		t := p.table.Load()
		i := t.mayBeIdle(w.next)
		if j := p.stales.next(w.next); w.to == suspected && j >= 0 {
			i = min(i, j)
		}
		if j := p.rested.next(w.next); w.to != resting && j >= 0 {
			i = min(i, j)
		}
		switch {
		case i < len(t.slots):
			s := t.slots[i]
			if word := s.word.load(); !word.unused() {
				t.unhint(s)
			} else if word.state() == suspected && w.to != suspected {
				// It is checked anyhow, within the budget for those.
			} else if w.all || s.sinceSeen(word) {
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

// Suspect says that time may have passed unnoticed: the process or its machine
// stood still, or the network was away. Call it when a serverless handler begins,
// or when a machine is back from suspension. Everything that is idle when Suspect
// returns is checked before it is lent, whatever CheckAfter says, and so is a
// connection whose Reset or Check was running. Connections in use are not.
//
// Without a Connector.Check there is nothing to ask a connection: it is lent
// unchanged, unless MaxLifetime or IdleTimeout is over by the wall clock, which
// goes on while a machine is suspended.
//
// The pool itself finds out that it stood still for connections that were idle
// through a whole look of the keeper before (at most two seconds). Suspect is for
// all others. It costs about 15 ns for each slot, and each Pop after it a Check.
func (p *Pool[T]) Suspect() {
	if !p.gate.has(gateMade) {
		return
	}
	p.lock()
	defer p.unlock()
	if p.closed {
		return
	}
	if p.connector.Check != nil {
		p.calls.doubt()
		p.sweepIdle(stale, true)
	} else {
		p.sweepIdle(resting, true)
		p.gate.set(gateResting, true)
	}
}
