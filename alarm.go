package pools

// The alarm is a timer for the oldest waiter's WaitTimeout, a wider window, the
// rate of opens and the prober (arm in hand.go sets it for these), and for the
// next slice of bulk work (again sets it to now).

// onAlarm does what is due.
func (p *Pool[T]) onAlarm() {
	pauseCall("alarm", lockedMaybe)
	p.lock()
	defer p.unlockOwn()
	p.fell(p.alarm.at, p.now())
	p.alarm.fired()
	if limit := p.settings.WaitTimeout; limit != Never && !p.closed && p.now() >= p.refusesFrom {
		for w := p.oldest(p.racer); w != nil && p.now()-w.since >= int64(limit); w = p.oldest(p.racer) {
			reason := ErrWaitTimeout
			if p.paused {
				reason = ErrPaused
			}
			if !p.gate.has(gatePaused | gateSweeping) {
				// What is idle is not for the racer alone at the last moment, and there is no time for a Check.
				if h, lease := p.takeUnused(false); h != nil {
					p.grant(w, h, lease)
					continue
				}
			}
			if !p.visits.visit() { // also if what is idle was not all looked at
				p.again()
				break
			}
			p.refuse(w, reason)
		}
	}
	p.settle()
}
