package pools_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// Every way in which the four functions of a connector can behave, together
// with every moment at which a caller can give up: 6^4 times 4, and where
// something hangs once more with Strict. Every scenario is the same small
// program on a pool of one; expect says what the rules make of it, and each
// time is exact.
//
//	at 0 s  A pops, and pushes at once what it gets.
//	at 3 s  B pops, and destroys at once what it gets; C pops behind B.
//	at 6 s  All behave again. Some time later D pops, and must get a connection at once.
//
// A and B give up as the scenario says, C never does.
func TestFaults(t *testing.T) {
	all := scenarios()
	for _, s := range all {
		synctest.Test(t, func(t *testing.T) { s.play(t) })
		if t.Failed() {
			t.Fatalf("%+v", s)
		}
	}
	t.Logf("%d scenarios", len(all))
}

// behaviour is what a function of the connector does, whenever it is called.
type behaviour string

const (
	works  behaviour = "works"
	fails  behaviour = "fails"
	slow   behaviour = "slow" // and works
	hangs  behaviour = "hangs"
	panics behaviour = "panics"
	exits  behaviour = "calls Goexit"
)

// cancelling is when a caller gives up.
type cancelling string

const (
	never  cancelling = "never"
	before cancelling = "before its Pop"
	during cancelling = "during its Pop" // if that takes so long
	after  cancelling = "after its Pop"
)

type faulty struct {
	open, close, check, reset behaviour
	cancels                   cancelling
	strict                    bool
}

// hang reports whether Strict makes a difference.
func (s faulty) hang() bool {
	return slices.Contains([]behaviour{s.open, s.close, s.check, s.reset}, hangs)
}

func scenarios() (all []faulty) {
	behaviours := []behaviour{works, fails, slow, hangs, panics, exits}
	for _, open := range behaviours {
		for _, close := range behaviours {
			for _, check := range behaviours {
				for _, reset := range behaviours {
					for _, cancels := range []cancelling{never, before, during, after} {
						s := faulty{open, close, check, reset, cancels, false}
						all = append(all, s)
						if s.hang() {
							s.strict = true
							all = append(all, s)
						}
					}
				}
			}
		}
	}
	return all
}

const (
	slowTakes   = 50 * time.Millisecond
	timeout     = 100 * time.Millisecond
	abandonedIn = timeout + timeout/10
	givesUpIn   = 25 * time.Millisecond
	waitTimeout = time.Second
)

// outcome is what a Pop gave: a connection, or an error, and after which time.
type outcome struct {
	err  error
	took time.Duration
}

var got error // no error: a connection

// expect is what the rules say of A, B and C.
func (s faulty) expect() (a, b, c outcome) {
	// room is how many abandoned calls may still give their slot back: Size,
	// or none with Strict.
	room := 1
	if s.strict {
		room = 0
	}
	stuck := false // the one slot is kept by a call that hangs

	// over is when a call of a function is over, for the pool; what hangs
	// takes the slot with it if there is no room beside the slots.
	over := func(b behaviour) time.Duration {
		switch b {
		case slow:
			return slowTakes
		case hangs:
			stuck = stuck || room == 0
			room = max(room-1, 0)
			return abandonedIn
		}
		return 0 // an error, a panic and a Goexit are known at once
	}
	good := func(b behaviour) bool { return b == works || b == slow }
	// gives is what a Pop gets that must be opened for, after some time.
	opened := func(took time.Duration) outcome {
		switch {
		case stuck:
			return outcome{pools.ErrWaitTimeout, waitTimeout}
		case !good(s.open):
			return outcome{pools.ErrOpenFailed, took + over(s.open)}
		}
		return outcome{got, took + over(s.open)}
	}
	// caller lets one give up who would get o.
	caller := func(o outcome) outcome {
		switch {
		case s.cancels == before:
			return outcome{context.Canceled, 0}
		case s.cancels == during && o.took > givesUpIn:
			return outcome{context.Canceled, givesUpIn}
		}
		return o
	}

	// A. Who gives up stops no open: what it brings is idle then.
	down, idle := false, false
	if s.cancels == before {
		a = caller(outcome{})
	} else {
		natural := opened(0)
		a = caller(natural)
		down = natural.err != got
		idle = natural.err == got
	}
	// A's push. Whatever A's ctx is, Reset and Close go on; a connection that
	// could not be cleaned is not lent again.
	if a.err == got {
		over(s.reset)
		idle = good(s.reset)
		if !idle && s.reset != hangs { // one that hangs is closed when it comes back
			over(s.close)
		}
	}

	// B and C. While the server is down they wait for one try, if there is a slot
	// for it.
	if down {
		c := outcome{pools.ErrOpenFailed, 0}
		if !stuck {
			c.took = over(s.open)
		}
		return a, caller(c), c
	}
	var first outcome // what the first in the queue gets
	if idle {
		first = outcome{got, over(s.check)}
		if !good(s.check) {
			if s.check != hangs {
				first.took += over(s.close) // its slot is taken until then
			}
			first = opened(first.took)
		}
	} else {
		first = opened(0)
	}
	b = caller(first)
	switch {
	case b.err == context.Canceled:
		return a, b, first
	case b.err != got: // both wait for the same
		return a, b, first
	}
	return a, b, opened(b.took + over(s.close)) // B has destroyed it
}

func (s faulty) play(t *testing.T) {
	server := poolstest.NewServer(t, 0) // hung ones come beside those in slots
	do := func(b behaviour) poolstest.Fault {
		return map[behaviour]poolstest.Fault{
			fails: poolstest.Fail(errRefused), slow: poolstest.Delay(slowTakes), hangs: server.Hang(),
			panics: poolstest.Panic("at the disco"), exits: poolstest.Goexit(),
		}[b]
	}
	server.Open.Always(do(s.open))
	server.Close.Always(do(s.close))
	server.Check.Always(do(s.check))
	server.Reset.Always(do(s.reset))
	pool := poolstest.Make(t, server, pools.Settings{
		Size: 1, Strict: s.strict, WaitTimeout: waitTimeout, ReconnectAttempts: 1, ReconnectSleep: time.Millisecond,
		OpenTimeout: timeout, CloseTimeout: timeout, CheckTimeout: timeout, ResetTimeout: timeout, CheckAfter: time.Second,
	}, poolstest.WithCheck, poolstest.WithReset)
	wantA, wantB, wantC := s.expect()

	a := s.pop(t, pool, s.cancels, func(conn pools.Conn[resource]) error { return conn.Push() })
	time.Sleep(3 * time.Second)
	b := s.pop(t, pool, s.cancels, func(conn pools.Conn[resource]) error { return conn.Destroy() })
	synctest.Wait() // it is the first in the queue
	c := s.pop(t, pool, never, func(conn pools.Conn[resource]) error { return conn.Push() })
	time.Sleep(3 * time.Second)
	synctest.Wait()
	for i, want := range []outcome{wantA, wantB, wantC} {
		if o := *[]*outcome{a, b, c}[i]; !errors.Is(o.err, want.err) || o.took != want.took {
			t.Errorf("%c: %v after %v, want %v after %v", 'A'+i, o.err, o.took, want.err, want.took)
		}
	}
	if most := server.Most(); s.strict && most > 1 {
		t.Errorf("Strict, and %d were open at once", most)
	}

	for _, point := range []*poolstest.Point{&server.Open, &server.Close, &server.Check, &server.Reset} {
		point.Clear()
	}
	server.Release()
	time.Sleep(15 * time.Second)
	d := s.pop(t, pool, never, func(conn pools.Conn[resource]) error { return conn.Push() })
	synctest.Wait()
	if *d != (outcome{}) {
		t.Errorf("D: %v after %v, and all is well", d.err, d.took)
	}
	if st := pool.Stats(); st.Abandoned != 0 || st.Hung != 0 || st.Held != 0 || st.Waiting != 0 || server.IsOpen() != 1 {
		t.Errorf("%d are open in the end, %+v", server.IsOpen(), st)
	}
	if err := pools.AtRest(pool); err != nil {
		t.Error(err)
	}
}

var errNotYet = errors.New("it waits")

// pop pops, and ends the lease at once. What came of it is there when the
// bubble has come to rest.
func (s faulty) pop(t *testing.T, pool *pools.Pool[resource], cancels cancelling, end func(pools.Conn[resource]) error) *outcome {
	o := &outcome{err: errNotYet}
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	switch cancels {
	case before:
		cancel()
	case during:
		time.AfterFunc(givesUpIn, cancel)
	}
	go func() {
		defer cancel()
		conn, err := pool.Pop(ctx)
		*o = outcome{err, time.Since(began)}
		if cancels == after {
			cancel()
		}
		if err != nil {
			return
		}
		if err := conn.Resource().Do(nil); err != nil {
			t.Error(err)
		}
		if err := end(conn); err != nil {
			t.Error(err)
		}
	}()
	return o
}
