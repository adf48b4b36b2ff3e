package pools

// ending is how far a Close has come. Under the lock.
type ending struct {
	closed  bool
	closers int           // Closes that wait
	done    chan struct{} // closed when the pool is, nobody waits, nothing is open, every call is over or abandoned, and all is told
	over    bool          // done is closed
}

// reopen lets a further Close wait again: it is called when a call cleans up
// behind one that was abandoned.
func (e *ending) reopen() {
	if e.over {
		e.over, e.done = false, make(chan struct{})
	}
}

func (e *ending) end() {
	e.over = true
	close(e.done)
}

// checkEnd tells Close when nothing is left.
func (p *Pool[T]) checkEnd() {
	if p.closed && p.queue.len == 0 && p.taken() == p.in[hung] && p.calls.running == 0 && p.happened == nil && p.reports.Load() == 0 && !p.ending.over {
		p.ending.end()
		p.keeper.stop()
		p.alarm.stop()
	}
}
