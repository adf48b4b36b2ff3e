package pools

import (
	"context"
	"runtime"
	"time"
	"weak"
)

// The keeper looks at every slot once a second, while anything is open. Time
// is its business alone: a word that has not changed since its last look has
// been idle, or held, since then. So idle times and lost leases cost the hot
// path nothing.
//
// Lost leases: a word that was held at two looks is marked watched, and the
// slot lets go of the handle. From then on only leases reach it; if the
// collector frees it, no lease is left, and nobody can push any more. A push
// of a watched lease goes the slow way and gives the handle back.
const (
	lookEvery    = time.Second
	collectEvery = time.Minute // at most, for a program so blocked that it collects nothing itself
)

// keeping is the part of the pool that the keeper owns.
type keeping struct {
	keeper      *time.Timer
	keeps       bool // the keeper is running
	stales      int  // slots in state stale
	collectedAt int64
}

// afterFunc calls do after d unless the pool has been dropped by then: a
// timer does not keep a pool alive.
func afterFunc[T any](p *Pool[T], d time.Duration, do func(*Pool[T])) *time.Timer {
	dropped := weak.Make(p)
	return time.AfterFunc(d, func() {
		if p := dropped.Value(); p != nil {
			do(p)
		}
	})
}

// keep sees to it that the keeper runs.
func (p *Pool[T]) keep() {
	if p.keeps || p.closed {
		return
	}
	p.keeps = true
	if p.keeper == nil {
		p.keeper = afterFunc(p, lookEvery, (*Pool[T]).look)
	} else {
		p.keeper.Reset(lookEvery)
	}
}

// look is one look at every slot.
func (p *Pool[T]) look() {
	p.lock()
	defer p.unlock()
	p.keeps = false
	if p.taken == 0 || p.closed && p.settings.Lost != LostClose {
		return
	}
	now := p.now()
	quiet := true // every connection is held, and was already at the last look
	for _, s := range p.table.Load().slots {
		word := s.word.Load()
		if word != s.seen {
			s.seen, s.seenAt = word, now
			quiet = quiet && word&stateMask == watched
			continue
		}
		switch word & stateMask {
		case idle:
			p.ageIdle(s, word, now)
			quiet = false
		case held:
			// Only the holder could change the word meanwhile, and its swap
			// fails from now on; it then waits for this lock.
			if s.word.CompareAndSwap(word, with(word, watched)) { // model: watch
				s.handle.Store(nil)
				s.seen = with(word, watched)
			}
		case abandoned: // nothing to wait for here
		case watched:
			if s.conn.lost.Load() {
				p.loseLease(s, word)
				quiet = false
			}
		default:
			quiet = false
		}
	}
	p.calm()
	p.settle()
	if w := p.queue.first; quiet && w != nil && now-w.since >= int64(lookEvery) &&
		(p.collectedAt == 0 || now-p.collectedAt >= int64(collectEvery)) {
		// Everything is lent, nothing moves and somebody waits: a blocked
		// program allocates nothing, so no collection would come by itself
		// that could tell whether leases were lost.
		p.collectedAt = now
		go runtime.GC()
	}
	p.keeps = true
	p.keeper.Reset(lookEvery)
}

// loseLease deals with a watched slot whose lease nobody can reach any more.
func (p *Pool[T]) loseLease(s *slot[T], word uint64) { // model: lost
	s.conn.lost.Store(false) // report once
	p.lost++
	p.log(levelError, "pools: a Conn was forgotten without Push", "connection", p.id(s.conn),
		"taken at", stackText(s.stack), "closing it", p.settings.Lost == LostClose)
	if p.settings.Lost == LostClose {
		s.word.Store(with(word, returning)) // no lease is left that could end it
		p.close(s)
	}
}

// ageIdle marks a connection that has been idle for CheckAfter. The fast path
// does not match it then, and the next one who wants it has it checked.
func (p *Pool[T]) ageIdle(s *slot[T], word uint64, now int64) {
	after := p.settings.CheckAfter
	if p.connector.Check == nil || after == Never || now-s.seenAt < int64(after) {
		return
	}
	if s.word.CompareAndSwap(word, with(word, stale)) {
		p.stales++
	}
}

// alwaysChecks reports whether each connection is checked before it is lent.
func (p *Pool[T]) alwaysChecks() bool {
	return p.settings.CheckAfter == Always && p.connector.Check != nil
}

// suspect marks every idle connection for a check: one that broke is often
// not the only one.
func (p *Pool[T]) suspect() {
	if p.connector.Check == nil || p.settings.CheckAfter == Never {
		return
	}
	for _, s := range p.table.Load().slots {
		if word := s.word.Load(); word&stateMask == idle && s.word.CompareAndSwap(word, with(word, stale)) {
			p.stales++
		}
	}
}

// startChecks has stale connections checked, one for each waiter that
// nothing else under way will serve.
func (p *Pool[T]) startChecks() {
	if p.stales == 0 {
		return
	}
	for _, s := range p.table.Load().slots {
		if p.stales == 0 || p.queue.len <= p.aboutIdle {
			return
		}
		if word := s.word.Load(); word&stateMask == stale {
			s.word.Store(with(word, checking))
			p.stales--
			p.try(s, "Check", p.settings.CheckTimeout, p.connector.Check)
		}
	}
}

// reset makes a returned connection clean, in the background.
func (p *Pool[T]) reset(s *slot[T]) {
	s.word.Store(with(s.word.Load(), resetting))
	p.try(s, "Reset", p.settings.ResetTimeout, p.connector.Reset)
}

// try calls Check or Reset for a connection, which is about to be idle then:
// it is released when the call succeeds and closed when it does not.
func (p *Pool[T]) try(s *slot[T], name string, timeout time.Duration, fn func(context.Context, T) error) {
	p.aboutIdle++
	resource := s.conn.resource
	p.run(name, context.Background(), timeout, func(ctx context.Context) error {
		return fn(ctx, resource)
	}, func(c *call, err error) {
		p.aboutIdle--
		switch {
		case err == nil:
			p.release(s)
		case c.abandoned:
			// Its Close may not run beside the call that hangs; late does it.
			p.closedAs(name, err)
			p.vacate(s, c)
		default:
			p.closedAs(name, err)
			if name == "Check" {
				p.suspect()
			}
			p.close(s)
		}
	}, func(c *call, err error) {
		p.closeLate(s, resource, c.keepsSlot)
	})
}

// calm makes searches start closer together again: what spread them may be
// over.
func (p *Pool[T]) calm() {
	if prefix := p.prefix.Load(); prefix > 1 {
		p.prefix.CompareAndSwap(prefix, prefix/2)
	}
}
