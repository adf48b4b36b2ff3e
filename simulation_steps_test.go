package pools_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
)

// What the simulation's program can do.

// pop is a Pop under way.
type pop struct {
	number   int
	ctx      context.Context
	cancel   context.CancelFunc
	began    time.Time
	deadline time.Time // zero: none

	// How many were served while it had waited for more than a millisecond.
	older, younger int
	compared       bool // it was counted for the others

	// Under the simulation's mu.
	over  bool
	ended time.Time
	lease *lease
}

// lease is what a pop got.
type lease struct {
	number int
	conn   pools.Conn[resource]
	res    resource // of conn; nil when its use is over
	known  pools.Lease[resource]
	lost   bool
}

// stop ends the use of the resource.
func (l *lease) stop() {
	if l.res != nil {
		l.res.End()
		l.res = nil
	}
}

func (s *side) ops() []operation {
	calm := 0
	if s.longest == 0 {
		calm = 1
	}
	return []operation{
		{100, "pop", s.opPop},
		{20, "trypop", s.opTryPop},
		{90, "end", s.opEnd},
		{20, "end again", s.opEndAgain},
		{40, "use", s.opUse},
		{15, "cancel", s.opCancel},
		{4, "use both", s.opUseBoth},
		{15, "configure", s.opConfigure},
		{1, "configure both", s.opConfigureBoth},
		{3, "fill", s.opFill},
		{4, "refresh", s.opRefresh},
		{4, "pause", s.opPause},
		{6, "resume", s.opResume},
		{3, "revoke", s.opRevoke},
		{4, "revoke some", s.opRevokeSome},
		{4 * calm, "detach", s.opDetach},
		{4, "forget", s.opForget},
		{2, "collect", s.opCollect},
		{12, "weather", s.opWeather},
		{5, "look", s.opLook},
		{2, "suspect", s.opSuspect},
		{2, "stop", s.opStop},
		{1, "close", s.opClose},
		{2, "begin", s.opBegin},
	}
}

// job runs f in a goroutine of its own, which may panic or end itself, and
// notes what f says came of it. Its number is returned.
func (s *side) job(name string, f func() string) string {
	s.jobs++
	number := s.jobs
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
	go func() {
		said := "ended its goroutine"
		defer func() {
			if v := recover(); v != nil {
				said = fmt.Sprint("panicked: ", v)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.busy--
			s.say("%d %s of %s: %s", number, name, s.name, said)
		}()
		said = f()
	}()
	return fmt.Sprint(" ", number)
}

// patience draws a ctx: one that only its cancel ends, one with a deadline,
// or one that has ended.
func (s *side) patience(bounded bool) (context.Context, context.CancelFunc) {
	switch n := s.r.IntN(20); {
	case n < 6 && !bounded:
		return context.WithCancel(context.Background())
	case n == 19:
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx, cancel
	}
	return context.WithTimeout(context.Background(), s.ticks(s.r, 400))
}

func (s *side) opPop() string {
	s.jobs++
	p := &pop{number: s.jobs, began: time.Now()}
	p.ctx, p.cancel = s.patience(false)
	p.deadline, _ = p.ctx.Deadline()
	pool := s.pool
	s.pops = append(s.pops, p)
	go func() {
		conn, err := pool.Pop(p.ctx)
		late := err == nil && p.ctx.Err() != nil && s.longest == 0
		s.mu.Lock()
		defer s.mu.Unlock()
		p.over, p.ended = true, time.Now()
		if late {
			s.t.Errorf("%s: pop %d got a connection though its ctx had ended", s.name, p.number)
		}
		if err != nil {
			s.say("%d pop of %s: %s", p.number, s.name, s.popError(p.ctx, err))
			return
		}
		s.leases++
		p.lease = s.newLease(p.number, conn)
		s.say("%d pop of %s: connection %d", p.number, s.name, p.lease.res.Number)
	}()
	return fmt.Sprint(" ", p.number)
}

func (s *side) newLease(number int, conn pools.Conn[resource]) *lease {
	l := &lease{number: number, conn: conn, res: conn.Resource(), known: pools.LeaseOf(conn)}
	s.try(l.res.Begin())
	return l
}

// popError names the reason of a failed Pop, and one of its ctx must be true.
func (s *side) popError(ctx context.Context, err error) string {
	e, ok := errors.AsType[*pools.PopError](err)
	if !ok {
		s.t.Errorf("%s: not a PopError: %v", s.name, err)
		return err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) != (ctx.Err() == context.DeadlineExceeded && e.Err == ctx.Err()) {
		s.t.Errorf("%s: the ctx is %v, the error %v", s.name, ctx.Err(), err)
	}
	for _, reason := range []error{pools.ErrPaused, pools.ErrClosed, pools.ErrTooManyWaiting, pools.ErrTooLate, pools.ErrOpenFailed, pools.ErrWaitTimeout} {
		if errors.Is(err, reason) {
			return reason.Error()
		}
	}
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		s.t.Errorf("%s: a Pop failed for no reason: %v", s.name, err)
	}
	return ctx.Err().Error()
}

func (s *side) opTryPop() string {
	conn, ok := s.pool.TryPop()
	if !ok {
		return " nothing"
	}
	s.lent(1)
	s.jobs++
	l := s.newLease(s.jobs, conn)
	s.held = append(s.held, l)
	return fmt.Sprint(" ", l.number, " connection ", l.res.Number)
}

// some takes one of the leases out of a list; nil if there is none.
func (s *side) some(all *[]*lease) *lease {
	if len(*all) == 0 {
		return nil
	}
	i := s.r.IntN(len(*all))
	l := (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	return l
}

func (s *side) opEnd() string {
	l := s.some(&s.held)
	if l == nil {
		return " nothing"
	}
	l.stop()
	how := s.r.IntN(8)
	told := someError(s.r)
	if s.breaks(l.conn.Uses()) {
		how, told = 1, io.EOF
	}
	s.ended = append(s.ended, l.conn)
	if len(s.ended) > 8 {
		s.ended = slices.Delete(s.ended, 0, 1)
	}
	return s.job("end", func() string {
		var err error
		switch how {
		case 0:
			err = l.conn.Destroy()
		case 1, 2:
			err = l.conn.PushErr(told)
		case 3:
			err = s.pool.Push(l.conn)
		default:
			err = l.conn.Push()
		}
		s.try(err, pools.ErrRevoked, errLeft)
		return fmt.Sprint(l.number, " ", err)
	})
}

func (s *side) opEndAgain() string {
	if len(s.ended) == 0 {
		return " nothing"
	}
	conn := s.ended[s.r.IntN(len(s.ended))]
	if s.longest == 0 {
		s.misused++
	}
	how := s.r.IntN(5)
	foreign := s.sides[s.r.IntN(2)].pool
	return s.job("end again", func() string {
		var err error
		switch how {
		case 0:
			err = conn.Push()
		case 1:
			err = conn.PushErr(errRefused)
		case 2:
			err = conn.Destroy()
		case 3:
			_, err = conn.Detach()
		case 4:
			if foreign != s.pool {
				if err := foreign.Push(conn); !errors.Is(err, pools.ErrNotHeld) {
					s.t.Errorf("a push into another pool: %v", err)
				}
			}
			err = s.pool.Push(conn)
		}
		if s.longest == 0 && (!errors.Is(err, pools.ErrNotHeld) || errors.Is(err, pools.ErrRevoked)) {
			s.t.Errorf("%s: a lease ended twice: %v", s.name, err)
		}
		return fmt.Sprint(err)
	})
}

// opUse is a Use whose function takes a while and then does anything.
func (s *side) opUse() string {
	ctx, cancel := s.patience(true)
	takes, how, told := s.ticks(s.r, 20), s.r.IntN(8), someError(s.r)
	return s.job("use", func() string {
		defer cancel()
		ran := false
		fn := func(r resource) (int, error) {
			ran = true
			s.lent(1)
			s.try(r.Do(func() { time.Sleep(takes) }))
			switch how {
			case 0:
				panic("user")
			case 1:
				runtime.Goexit()
			case 2:
				return r.Number, told
			}
			return r.Number, nil
		}
		if how > 3 && s.breaks(1) {
			how, told = 2, io.EOF // what the pool does with it is the same, whether it was the first use or not
		}
		if how == 3 {
			number, err := pools.UseResult(ctx, s.pool, fn)
			if ran {
				return fmt.Sprint("result ", number, " ", err)
			}
			return s.popError(ctx, err)
		}
		number := 0
		err := s.pool.Use(ctx, func(r resource) (err error) {
			number, err = fn(r)
			return err
		})
		if !ran {
			return s.popError(ctx, err)
		}
		if how == 2 && told != nil && err != nil && !errors.Is(told, err) || how > 2 && err != nil && !errors.Is(err, pools.ErrUnfinished) {
			s.t.Errorf("a Use's function returned %v, and Use %v", told, err)
		}
		return fmt.Sprint(number, " ", err)
	})
}

// inTurn is a ctx that holds up each Pop for a moment. Two that got their first
// connection at one instant do not ask for the second at one instant, then.
type inTurn struct {
	context.Context
	await func()
}

func (c inTurn) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	c.await()
	return c.Context.Err()
}

// opUseBoth uses a connection of each pool, in either order.
func (s *side) opUseBoth() string {
	ctx, cancel := s.patience(true)
	turn := time.Duration(s.jobs*8+5) % round
	ordered := inTurn{ctx, func() { s.sleepUntil(turn) }}
	a, b := s.sides[0], s.sides[1]
	if s.r.IntN(2) == 0 {
		a, b = b, a
	}
	takes, grouped := s.ticks(s.r, 20), s.r.IntN(2) == 0
	one, two := a.pool, b.pool
	b.mu.Lock()
	if b == s {
		a.busy++
	} else {
		b.busy++
	}
	b.mu.Unlock()
	return s.job("use both", func() string {
		defer cancel()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if b == s {
				a.busy--
			} else {
				b.busy--
			}
		}()
		ran := false
		fn := func(x, y resource) error {
			ran = true
			s.try(x.Do(func() { s.try(y.Do(func() { time.Sleep(takes) })) }))
			return nil
		}
		var err error
		if grouped {
			err = s.group.Use(ordered, []string{a.name, b.name}, func(r pools.Resources) error {
				return fn(pools.Of[resource](r, a.name), pools.Of[resource](r, b.name))
			})
		} else {
			err = pools.Use2(ordered, one, two, fn)
		}
		if !ran {
			return s.popError(ctx, err)
		}
		return fmt.Sprint(err)
	})
}

func (s *side) opCancel() string {
	if len(s.pops) == 0 {
		return " nothing"
	}
	p := s.pops[s.r.IntN(len(s.pops))]
	p.cancel()
	p.deadline = time.Now()
	return fmt.Sprint(" ", p.number)
}

func (s *side) opConfigure() string {
	wrong := s.r.IntN(20) == 0
	change := s.pool.Settings()
	if wrong {
		change.Size = 0
	} else {
		s.change(&change)
	}
	return s.job("configure", func() string {
		s.changing()
		err := s.pool.Configure(func(c *pools.Settings) {
			*c = change
			s.grows(change.Size)
		})
		s.changing()
		if wrong && err == nil {
			s.t.Error("Configure took a Size of 0")
		}
		if !wrong {
			s.try(err, pools.ErrClosed)
		}
		return fmt.Sprint(change.Size, " ", err != nil)
	})
}

func (s *side) changing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = time.Now()
}

func (s *side) grows(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raise(size)
}

func (s *side) opConfigureBoth() string {
	more := s.r.IntN(2)
	return s.job("configure both", func() string {
		err := s.group.Configure(func(name string, c *pools.Settings) {
			c.Size += more
			s.sides[slices.IndexFunc(s.sides[:], func(s *side) bool { return s.name == name })].grows(c.Size)
		})
		s.try(err, pools.ErrClosed)
		return fmt.Sprint(err != nil)
	})
}

func (s *side) opFill() string {
	ctx, cancel := s.patience(true)
	n := s.r.IntN(s.pool.Settings().Size + 1)
	return s.job("fill", func() string {
		defer cancel()
		return fmt.Sprint(n, " ", reason(s.pool.Fill(ctx, n)))
	})
}

func (s *side) opRefresh() string {
	ctx, cancel := s.patience(true)
	over := s.ticks(s.r, 100)
	return s.job("refresh", func() string {
		defer cancel()
		s.givesUp()
		return reason(s.pool.Refresh(ctx, over))
	})
}

// reason is what an error is, without its numbers: they depend on what else
// happened at that instant.
func reason(err error) string {
	for _, target := range []error{pools.ErrClosed, pools.ErrOpenFailed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return target.Error()
		}
	}
	return fmt.Sprint(err)
}

func (s *side) opPause() string { return s.job("pause", func() string { s.pool.Pause(); return "" }) }
func (s *side) opResume() string {
	return s.job("resume", func() string { s.pool.Resume(); return "" })
}

func (s *side) opRevoke() string {
	return s.job("revoke", func() string {
		s.givesUp()
		return fmt.Sprint(s.pool.RevokeAll())
	})
}

func (s *side) givesUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaveUp = true
}

// opRevokeSome revokes the leases of some connections: of one that is held, of
// one that the program may have given back, and of one that there is not.
func (s *side) opRevokeSome() string {
	ids := []string{"nothing"}
	if len(s.held) > 0 {
		ids = append(ids, s.held[s.r.IntN(len(s.held))].conn.ID())
	}
	if len(s.ended) > 0 {
		ids = append(ids, s.ended[s.r.IntN(len(s.ended))].ID())
	}
	return s.job("revoke some", func() string {
		n := s.pool.Revoke(ids...)
		if n >= len(ids) {
			s.t.Errorf("%s: Revoke of %q ended %d leases", s.name, ids, n)
		}
		return fmt.Sprint(n)
	})
}

func (s *side) opDetach() string {
	l := s.some(&s.held)
	if l == nil {
		return " nothing"
	}
	l.stop()
	return s.job("detach", func() string {
		r, err := l.conn.Detach()
		s.try(err, pools.ErrRevoked)
		if err == nil {
			r.Keep()
			s.mu.Lock()
			s.detached++
			s.mu.Unlock()
		}
		return fmt.Sprint(l.number, " ", err)
	})
}

// opForget is a user who forgets to push.
func (s *side) opForget() string {
	l := s.some(&s.held)
	if l == nil {
		return " nothing"
	}
	l.stop()
	s.forgotten = append(s.forgotten, l)
	return fmt.Sprint(" ", l.number)
}

// opCollect lets the collector find the leases that were forgotten, those
// that nothing but their Conn keeps. Until then the program keeps the Conns,
// so that a collection that comes by itself finds nothing.
func (s *side) opCollect() string {
	if s.pool.Settings().KeepLost || s.longest > 0 && s.working() > 0 {
		return " nothing" // they would be out for ever, or somebody just has them in hand
	}
	var found []int
	s.ended = nil // a Conn of an earlier lease keeps the connection reachable too
	for _, l := range s.forgotten {
		if l.lost || !l.known.LetGo() {
			continue
		}
		l.conn, l.lost = pools.Conn[resource]{}, true
		s.collected++
		found = append(found, l.number)
		for lasts := patience(); !l.known.Lost() && lasts(); {
			runtime.GC()
		}
		if !l.known.Lost() {
			s.t.Errorf("%s: the collector does not find lease %d", s.name, l.number)
		}
	}
	return fmt.Sprint(" ", found)
}

func (s *side) opWeather() string {
	n := s.r.IntN(len(weathers))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weather = weathers[n]
	s.stormy = s.stormy || s.weather.deaf > 0
	s.raise(0)
	return fmt.Sprint(" ", n)
}

func (s *side) opSuspect() string {
	return s.job("suspect", func() string { s.pool.Suspect(); return "" })
}

// opStop is a process that was stopped, as far as the keeper can tell, or a
// machine that was suspended. In fair weather a connection that was idle for
// long before is lent only within its times then.
func (s *side) opStop() string {
	d := s.ticks(s.r, 2000)
	if s.r.IntN(2) == 0 {
		pools.Suspend(d + time.Second)
	}
	pools.HoldKeeper(s.pool, d)
	return fmt.Sprint(" ", d)
}

// opLook asks for all that can be seen.
func (s *side) opLook() string {
	out, states := 0, ""
	for c := range s.pool.Connections() {
		if c.State == "held" {
			out++
		}
		states += " " + c.State
	}
	if st := s.pool.Stats(); s.longest == 0 && st.Held != out {
		s.t.Errorf("%s: %d are held, Connections shows %d", s.name, st.Held, out)
	}
	return fmt.Sprint(states, " ", s.pool.Available(), " available")
}

func (s *side) opClose() string {
	ctx, cancel := s.patience(true)
	s.closing = true
	return s.job("close", func() string {
		defer cancel()
		err := s.pool.Close(ctx)
		if err == nil {
			return "all"
		}
		if !stillOut(err) {
			s.try(err)
		}
		return "not all"
	})
}

// opBegin ends a pool that was closed, and begins another.
func (s *side) opBegin() string {
	if !s.closing {
		return " nothing"
	}
	s.finish()
	synctest.Wait() // the last of it may still be logging
	s.begin()
	return ""
}
