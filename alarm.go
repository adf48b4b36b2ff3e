package pools

// The alarm is a timer for the oldest waiter's WaitTimeout, a wider window, the
// rate of opens and the prober (arm in hand.go sets it for these), and for the
// next slice of bulk work (again sets it to now).

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
