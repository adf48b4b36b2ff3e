package pools

// The alarm serves what has a time of its own: the oldest waiter's
// WaitTimeout, a wider window, the prober. arm in hand.go sets it.

// onAlarm does what is due.
func (p *Pool[T]) onAlarm() {
	p.lock()
	defer p.unlockOwn()
	p.alarm.fired()
	if limit := p.settings.WaitTimeout; limit != Never && !p.closed {
		for w := p.oldest(p.racer); w != nil && p.now()-w.since >= int64(limit); w = p.oldest(p.racer) {
			reason := ErrWaitTimeout
			if p.paused {
				reason = ErrPaused
			}
			if !p.visits.visit() {
				p.again()
				break
			}
			p.refuse(w, reason)
		}
	}
	if !p.closed && !p.paused && p.pace.down() && !p.probing && p.now() >= p.pace.probeDue() {
		p.probe()
	}
	p.settle()
}
