package pools

// SetBeforeQueueing lets a test pause pops between their last look and the
// queue.
func SetBeforeQueueing(f func()) { beforeQueueing = f }

// GateOpen reports whether the gate is as in a pool that nobody waits for.
func GateOpen[T any](p *Pool[T]) bool {
	return p.gate.Load()&(starving|queueing|racing) == 0
}

// KeeperRuns reports whether the keeper's timer is set.
func KeeperRuns[T any](p *Pool[T]) bool {
	p.lock()
	defer p.unlock()
	return p.keeper != nil && p.keeper.Stop() && p.keeper.Reset(lookEvery) == false
}
