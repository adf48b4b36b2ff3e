package pools

// ending is how far a Close has got. Under the lock.
type ending struct {
	closed  bool
	closers int           // Closes that are waiting
	done    chan struct{} // closed when the pool is closed, nobody waits, nothing is open, every call is over or abandoned, and all events are told
	over    bool          // done is closed
}

// reopen lets a further Close wait again. It is called when a call begins: after
// the end, only one that cleans up after an abandoned call does.
func (e *ending) reopen() {
	if e.over {
		e.over, e.done = false, make(chan struct{})
	}
}

func (e *ending) end() {
	e.over = true
	close(e.done)
}

// checkEnd ends the pool if nothing is left that Close waits for.
func (p *Pool[T]) checkEnd() {
	if p.closed && p.queue.len == 0 && p.taken() == p.in[hung] && p.calls.running == 0 && p.happened == nil && p.reports.Load() == 0 && !p.ending.over {
		p.ending.end()
		p.keeper.stop()
		p.alarm.stop()
	}
}
