package pools

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// Opens run in the pool's own goroutines and belong to no caller: a caller that
// gives up does not stop the open that it caused, and the connection goes to
// a waiter (pick.go) or becomes idle.

// opens is what the pool knows about opens, besides their pace. Under the lock.
type opens struct {
	probing   bool
	openErr   error // of the latest open that failed
	openErrAt int64
	begun     uint64 // opens so far; each takes a lease number
}

// errWhile returns the latest error of an open if the server is down.
func (o *opens) errWhile(down bool) error {
	if down {
		return o.openErr
	}
	return nil
}

// openJob opens a connection in a slot.
type openJob[T any] struct {
	p        *Pool[T]
	slot     *slot[T]
	number   uint64 // of the call
	tries    int    // at most
	timeout  time.Duration
	pauses   retry
	began    int64
	told     func(error) // if not nil, called under the lock with the result
	resource T
	got      bool
	how      openFault
	stopped  bool // Pause or a smaller Size ended it between two tries
}

// timedOut reports whether a call's ctx has run into its timeout. A net.Dialer
// has a timer of its own for the same instant, which may fire first.
func timedOut(ctx context.Context) bool {
	if ctx.Err() == nil {
		end, ok := ctx.Deadline()
		return ok && !time.Now().Before(end)
	}
	return errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// wanted is how many more opens should be running.
func (p *Pool[T]) wanted() int {
	// A connection that is being reset or checked will be idle sooner than a new
	// one could be. Without this, one sequential user would open a second one.
	hopes := p.in[opening] + p.aboutIdle()
	if p.failingSince != 0 {
		hopes -= p.byKeeper // these connections are probably as dead as the others
	}
	if p.pace.overstayed {
		// A call that has been running for longer than such calls take may hang.
		hopes = p.calls.opens.fresh() + p.calls.resets.fresh()
	}
	return max(p.queue.len-hopes, p.demand.wanted(p.aliveSoon()))
}

// startOpens starts the opens that are wanted and allowed.
func (p *Pool[T]) startOpens() {
	if p.in[opening] == 0 {
		p.pace.lull()
	}
	if p.pace.down() {
		p.probe()
		return
	}
	if w := p.queue.first; w != nil && p.taken() < p.settings.Size {
		p.pace.waits(w.since, p.now(), p.in[opening], p.settings.Size)
	} else {
		p.pace.nobodyWaits()
	}
	if p.pace.overstayed {
		p.calls.opens.age(p.now(), p.pace.slowOpen(), &p.visits)
		p.calls.resets.age(p.now(), p.pace.slowReset(), &p.visits)
	}
	for p.pace.may(p.now(), p.in[opening]) && p.wanted() > 0 {
		s := p.vacantSlot()
		if s == nil {
			return
		}
		if !p.visits.visit() {
			p.again()
			return
		}
		p.open(s, p.settings.ReconnectAttempts, nil)
		p.demand.began()
	}
}

// vacantSlot returns the first vacant slot, or nil if Size are taken. Slots
// beyond Size count: they may still be taken.
func (p *Pool[T]) vacantSlot() *slot[T] {
	first := p.vacancies.first()
	if p.taken() >= p.settings.Size || first < 0 {
		return nil
	}
	return p.table.Load().slots[first]
}

// open starts an open in a vacant slot. told, if not nil, is called under the
// lock with the result.
func (p *Pool[T]) open(s *slot[T], tries int, told func(error)) {
	// A lease number of its own: a Pop that read the idle word of the slot's
	// last connection and slept since must not find that word again, or it
	// would lend a connection that is closed.
	w := s.word.load()
	p.move(&s.cell, w, (w + oneLease).with(opening))
	s.kept = kept{generation: p.refreshed}
	p.opens.begun++
	values := context.Background()
	if w := p.queue.first; w != nil && w.values != nil {
		values = context.WithoutCancel(w.values)
	}
	p.pace.tried(p.now(), p.settings.MaxOpensPerSecond)
	j := &openJob[T]{
		p: p, slot: s, number: p.calls.begun + 1, tries: tries, told: told, began: p.now(),
		timeout: p.settings.OpenTimeout, pauses: p.settings.retry(),
	}
	p.start(callOpen, j, values, j.timeout)
}

// call calls Connector.Open until it succeeds.
func (j *openJob[T]) call(ctx context.Context) (err error) {
	for try := 1; ; try++ {
		j.resource, err = j.p.connector.Open(ctx)
		if err == nil && isNil(j.resource) {
			err = errors.New("pools: Connector.Open returned nil and no error")
		}
		if err == nil {
			j.got = true
			return nil
		}
		if isPermanent(err) {
			j.how = faultPermanent
			return err
		}
		if timedOut(ctx) {
			err = &hidden{fmt.Sprintf("OpenTimeout (%v) ended it: %v", j.timeout, err), ErrOpenTimeout}
		}
		if try == j.tries || ctx.Err() != nil || !j.mayTryAgain(ctx, try) {
			if try > 1 {
				err = fmt.Errorf("%w (after %d tries)", err, try)
			}
			return err
		}
	}
}

func (j *openJob[T]) done(c *call, err error) {
	p := j.p
	if c.givenUp() && !p.pace.down() { // else the prober alone tries, for those that ask
		p.demand.givenUp()
	}
	switch {
	case c.givenUp() && err == nil:
		j.adopt()
		p.happen(Event{Kind: EventOpened, Took: time.Duration(p.now() - j.began)}, j.slot.conn, nil)
		p.close(j.slot, c.scope.why, nil)
	case c.givenUp():
		p.vacate(j.slot, c)
		err = nil // the server has not failed
	case err == nil:
		j.adopt()
		took := time.Duration(p.now() - j.began)
		p.pace.opened(took, p.settings.Size)
		p.openTimes.add(int64(took), 1)
		p.happen(Event{Kind: EventOpened, Took: took}, j.slot.conn, nil)
		if !p.pace.onTrial(p.now(), p.settings.retry()) {
			p.up()
		}
		p.gate.set(gateProving, p.pace.breaks > 0)
		p.prove(j.slot.generation)
		p.handBack(j.slot) // model: open_done
	default:
		generation, how := j.slot.generation, faultRefused
		if !c.abandoned { // an abandoned call still owns its job
			how = j.how
		}
		p.vacate(j.slot, c) // model: open_failed
		switch {
		case !c.abandoned && j.stopped:
			err = nil // the server has not failed
		case !p.closed:
			p.openFailed(how, j.began, nil, err)
			p.demand.refuse(generation, how)
		}
	}
	if j.told != nil {
		j.told(err)
	}
	p.tellFills(err)
}

// late closes the connection if there is one: it is no longer wanted.
func (j *openJob[T]) late(c *call, _ error) {
	p := j.p
	if j.got {
		p.opened++
		conn := &connection[T]{resource: j.resource, number: connections.Add(1), openedAt: p.now()}
		p.happen(Event{Kind: EventOpened, Took: time.Duration(p.now() - j.began)}, conn, nil)
		p.closeLeft(conn, j.slot, c.keepsSlot)
	} else if c.keepsSlot {
		p.free(j.slot)
	}
}

// adopt makes the resource the connection of the slot.
func (j *openJob[T]) adopt() {
	p, s := j.p, j.slot
	p.opened++
	p.put(&s.cell, returning)
	s.conn = &connection[T]{
		resource: j.resource,
		number:   connections.Add(1),
		openedAt: p.now(),
		slept:    p.asleep(),
		before:   s.word.load().lease(),
		trace:    new(trace),
	}
	s.seen, s.seenAt, s.conn.seenSlept = s.word.load(), p.now(), p.slept
	h := &handle[T]{slot: s, pool: p, conn: s.conn}
	s.handle.Store(h)
	// One cleanup per connection, not per lease. The argument must not lead to
	// the slot or the pool: the runtime keeps it alive, and a dropped pool would
	// never be freed. The function may run outside the pool's synctest bubble, so
	// it touches only atomics and pprof's own lock.
	s.conn.cleanup = runtime.AddCleanup(h, (*trace).lose, s.conn.trace)
	if p.keeper.at == 0 {
		p.looked(p.now())
		p.lookNoLaterThan(p.now() + int64(p.every))
	}
}

// openFailed notes that an open has failed that began at began, or that its
// connection has broken at its first use.
func (p *Pool[T]) openFailed(how openFault, began int64, conn *connection[T], err error) {
	now := p.now()
	news := p.pace.failed(how, began, now, p.settings.retry())
	p.openErrors++
	p.openErr, p.openErrAt = err, now
	p.gate.set(gateProving, p.pace.breaks > 0)
	e := Event{
		Kind: EventOpenFailed, Took: time.Duration(now - began), Err: err,
		Count: p.pace.failures, RetryIn: time.Duration(p.pace.probeAt - now),
	}
	p.happen(e, conn, nil)
	if news {
		e.Kind = EventDown
		p.happen(e, conn, nil)
	}
}

// up notes that the server is not down.
func (p *Pool[T]) up() {
	if was, since := p.pace.up(p.now()); was {
		p.delays.restart(p.now())
		p.happen(Event{Kind: EventUp, Took: since}, nil, nil)
	}
}

// probe tries whether the server is back, if that is due and somebody wants to
// know.
func (p *Pool[T]) probe() {
	if p.alive() >= p.settings.Size && !p.pace.broke {
		p.up() // there is nothing to open: Size was lowered meanwhile
		return
	}
	if s := p.vacantSlot(); s != nil && !p.probing && p.pace.probeDue(p.queue.len > 0 || p.inFill(), p.demand.wanted(p.aliveSoon()) > 0) <= p.now() {
		p.probing = true
		p.open(s, 1, func(error) { p.probing = false })
		p.demand.began()
	}
}

// randomly returns a random duration below its argument. Tests that must repeat
// exactly replace it.
var randomly = rand.N[time.Duration]

// retry returns the pauses between tries.
func (s *Settings) retry() retry {
	return retry{s.ReconnectSleep, s.MaxReconnectSleep, randomly}
}

// jitter returns a random pause up to first, doubled n times.
func (r retry) jitter(n int) time.Duration {
	return r.random(doubled(r.first, n, r.most)) + 1
}
