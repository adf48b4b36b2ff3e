package pools

// SetPause has f called before some steps of the protocol: a name of the
// model's, or "token" before a waiter's token is sent. It returns a function
// that ends this.
func SetPause(f func(before string)) (end func()) {
	pause.Store(&f)
	return func() { pause.Store(nil) }
}

// GateOpen reports whether the gate is as in a pool that nobody waits for.
func GateOpen[T any](p *Pool[T]) bool {
	return p.gate.Load()&(starving|queueing|racing) == 0
}

// KeeperRuns reports whether the keeper's timer is set.
func KeeperRuns[T any](p *Pool[T]) bool {
	p.lock()
	defer p.unlock()
	if p.keeper == nil || !p.keeper.Stop() {
		return false
	}
	p.lookAt = 0
	p.keep()
	return true
}

// Look has the keeper look at every slot.
func Look[T any](p *Pool[T]) {
	p.lock()
	defer p.unlock()
	p.tend()
	p.settle()
}
