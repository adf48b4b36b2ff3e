package pools_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// side is one of the simulation's pools with its server, and what the program
// knows of it. When its pool has been closed it gets a new one.
type side struct {
	*simulation
	name    string
	server  *poolstest.Server
	pool    *pools.Pool[resource]
	weather weather
	options []poolstest.Option

	pops      []*pop   // that have not been harvested
	held      []*lease // what they got
	forgotten []*lease // nobody uses these any more, or pushes them
	ended     []pools.Conn[resource]

	closing bool
	stormy  bool // calls may hang past their timeouts
	allowed int  // how many may be open
	limit   int  // how many may have been since the last rest
	before  pools.Stats
	need    time.Duration // the most time that a waiter ever had to have left

	// What the pool's counters must say.
	misused, detached, collected uint64

	// Under the simulation's mu.
	busy     int // goroutines of the program that use the pool
	leases   uint64
	observed map[pools.EventKind]uint64
	everyUse bool      // Popped is observed
	changed  time.Time // when Configure was last called, or came back
	gaveUp   bool      // a Refresh or RevokeAll may have given up opens
}

// weather is how likely it is, out of a thousand, that a call of the server
// does something else than to succeed at once.
type weather struct {
	fails, slow, late, deaf, panics, exits, uses int

	full   bool // the server grants fewer than Size: opens beyond that fail
	hollow bool // connections that were opened break at their first use
	wrong  bool // opens that fail do so for good
}

var weathers = []weather{
	{},
	{slow: 1000},
	{fails: 1000},
	{fails: 500, slow: 500},
	{late: 300, slow: 300},
	{deaf: 500},
	{fails: 100, slow: 400, late: 50, deaf: 20, panics: 30, exits: 30, uses: 100},
	{slow: 500, full: true},
	{slow: 500, hollow: true},
	{fails: 700, slow: 200, wrong: true},
}

// begin makes the side's pool.
func (s *side) begin() {
	r := s.r
	size := 1 + r.IntN(5)
	if r.IntN(10) == 0 {
		size = 70 // with hints
	}
	// A call that obeys its ctx comes back within two rounds after it; only a
	// deaf one may be abandoned, so that the tenth more that it has is longer.
	timeout := func(n int) time.Duration { return s.ticks(r, n) + max(s.unit, 20*round) }
	settings := pools.Settings{
		Size: size, ReconnectAttempts: 1 + r.IntN(3), ReconnectSleep: s.ticks(r, 20),
		OpenTimeout: timeout(500), CheckTimeout: timeout(100),
		ResetTimeout: timeout(100), CloseTimeout: timeout(100),
		Strict: r.IntN(2) == 0, KeepLost: r.IntN(4) == 3,
	}
	server := poolstest.NewServer(s.t, 0)
	options := s.options[:0:0]
	for _, o := range []poolstest.Option{poolstest.WithReset, poolstest.WithAbort, poolstest.WithCheck} {
		if r.IntN(2) == 0 {
			options = append(options, o)
		}
	}
	if r.IntN(2) == 0 {
		server.IsBroken = func(_ resource, err error) bool { return err != nil }
	}
	if r.IntN(3) == 0 {
		server.IsDirty = func(resource) bool { return false }
	}
	if r.IntN(3) == 0 {
		server.IsGone = func(r resource) error {
			if r.Number%4 == 0 {
				return errGone
			}
			return nil
		}
	}
	if r.IntN(3) == 0 {
		server.IsUnfinished = func(r resource) error {
			if r.Number%3 == 0 {
				return errLeft
			}
			return nil
		}
		settings.FailUnfinished = r.IntN(2) == 0
	}
	*s = side{simulation: s.simulation, name: s.name, server: server, options: options, allowed: size}
	s.weather = weathers[0]
	for _, point := range []*poolstest.Point{&server.Open, &server.Close, &server.Check, &server.Reset, &server.Abort} {
		point.Always(s.fault(point == &server.Open))
	}
	for range r.IntN(6) {
		s.change(&settings)
	}
	settings.Logger = slog.New(talk{s})
	s.observed = make(map[pools.EventKind]uint64)
	settings.Observer = &pools.Observer{Event: s.observe}
	if r.IntN(3) == 0 {
		s.everyUse = true
		settings.Observer.Popped, settings.Observer.Pushed, settings.Observer.Waited = s.observe, s.observe, s.observe
	}
	pool, err := pools.New(s.name, server.Connector(options...), settings)
	if err != nil {
		s.t.Fatal(err)
	}
	s.pool, s.allowed = pool, settings.Size
	if s.name == "b" {
		pools.NumberCalls(pool, callsOfB)
	}
	s.group.Remove(s.name)
	if err := s.group.Add(pool); err != nil {
		s.t.Fatal(err)
	}
}

// change draws a change of one of the settings that a pool may have.
func (s *side) change(settings *pools.Settings) {
	r, checks := s.r, false
	for _, o := range s.options {
		checks = checks || o == poolstest.WithCheck
	}
	maybe := func(n int) time.Duration {
		return []time.Duration{0, pools.Never, s.ticks(r, n) + s.unit}[r.IntN(3)]
	}
	switch r.IntN(15) {
	case 0, 1, 2:
		settings.Size = 1 + r.IntN(2*settings.Size)
		if settings.Size > 80 {
			settings.Size = 5
		}
		settings.MinIdle = min(settings.MinIdle, settings.Size)
	case 3:
		settings.MinIdle = r.IntN(settings.Size + 1)
	case 4:
		settings.MaxLifetime = maybe(2000)
	case 5:
		settings.IdleTimeout = maybe(300)
	case 6:
		settings.LeakAfter = maybe(100)
	case 7:
		settings.CheckAfter = maybe(200)
		if checks && r.IntN(3) == 0 {
			settings.CheckAfter = pools.Always
		}
	case 8:
		if checks {
			settings.KeepAlive = maybe(200)
		}
	case 9:
		settings.MaxUses = []int{0, 1 + r.IntN(5)}[r.IntN(2)]
	case 10:
		settings.MaxOpensPerSecond = []int{0, 1 + r.IntN(20*int(time.Second/s.unit)/100)}[r.IntN(2)]
	case 11:
		settings.WaitTimeout = []time.Duration{0, s.ticks(r, 500) + s.unit}[r.IntN(2)]
		settings.MaxWaiting = []int{0, 1 + r.IntN(5), pools.NoQueue}[r.IntN(3)]
	case 12:
		settings.TrackHolders = r.IntN(4) == 0
		settings.TrackGoroutines, settings.ProfileHolders = settings.TrackHolders, settings.TrackHolders
	case 13:
		settings.MaxReconnectSleep = s.ticks(r, 50) + s.unit
		settings.WaitWhileDown = []time.Duration{0, s.ticks(r, 500) + s.unit}[r.IntN(2)]
	case 14:
		settings.RefuseLate = r.IntN(2) == 0
		settings.MaxQueueDelay = maybe(100)
	}
}

// fault is what every call of the server does.
func (s *side) fault(open bool) poolstest.Fault {
	return func(ctx context.Context) error {
		s.mu.Lock()
		w, granted := s.weather, (s.allowed+1)/2
		s.mu.Unlock()
		if open && w.full && s.server.IsOpen() >= granted {
			return errRefused
		}
		r := s.chance(uint64(s.name[0]))
		n, short, long, longest := r.IntN(1000), s.rounds(r, 20), s.rounds(r, 400), s.rounds(r, 1000)
		is := func(likely int) bool {
			n -= likely
			return n < 0
		}
		switch {
		case is(w.fails) && w.wrong:
			return pools.Permanent(errRefused)
		case n < 0:
			return errRefused
		case is(w.slow):
			return s.delay(ctx, short, open)
		case is(w.late):
			return s.delay(ctx, long, open)
		case is(w.deaf):
			time.Sleep(longest)
		case is(w.panics):
			panic("simulated")
		case is(w.exits):
			runtime.Goexit()
		case is(w.uses):
			s.callBack()
		}
		return nil
	}
}

func (s *side) delay(ctx context.Context, d time.Duration, open bool) error {
	instant := time.Since(s.began) % round
	err := poolstest.Delay(d)(ctx)
	cause := context.Cause(ctx)
	s.mu.Lock()
	given := errors.Is(cause, pools.ErrClosed) || s.gaveUp && errors.Is(cause, pools.ErrGivenUp)
	s.mu.Unlock()
	if end, _ := ctx.Deadline(); open && err != nil && time.Now().Before(end) && !given {
		s.t.Errorf("an open was cancelled: %v", cause)
	}
	if err != nil {
		s.sleepUntil(instant)
	}
	return err
}

// callBack is a connector, or a Logger, that uses its own pool.
func (s *side) callBack() {
	if conn, ok := s.pool.TryPop(); ok {
		s.lent(1)
		s.try(conn.Resource().Do(nil))
		s.try(conn.Push(), pools.ErrRevoked, errLeft)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.pool.Pop(ctx); err == nil {
		s.t.Error("a Pop with an ended ctx got something")
	}
	_, _ = s.pool.Stats(), s.pool.Available()
	for range s.pool.Connections() {
	}
}

// breaks reports whether a use of a connection breaks it, because the server has
// closed it.
func (s *side) breaks(uses int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.weather.hollow && uses == 1
}

func (s *side) lent(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases += n
}

// try fails the test if err is none of those allowed.
func (s *side) try(err error, allowed ...error) {
	if err == nil {
		return
	}
	for _, target := range allowed {
		if errors.Is(err, target) {
			return
		}
	}
	s.t.Helper()
	s.t.Errorf("%s: %v", s.name, err)
}

// observe is an Observer that counts, and uses the pool.
func (s *side) observe(e pools.Event) {
	if s.pool != nil {
		_, _ = s.pool.Stats(), s.pool.Events()
	}
	if (e.Pool != s.name) || e.Time.IsZero() || e.Took < 0 {
		s.t.Errorf("%s: %+v", s.name, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed[e.Kind]++
}

// talk is a Logger that tells the history, and uses the pool.
type talk struct{ side *side }

func (talk) Enabled(context.Context, slog.Level) bool { return true }
func (t talk) WithAttrs([]slog.Attr) slog.Handler     { return t }
func (t talk) WithGroup(string) slog.Handler          { return t }
func (t talk) Handle(_ context.Context, r slog.Record) error {
	if t.side.pool != nil {
		_ = t.side.pool.Stats()
	}
	t.side.mu.Lock()
	defer t.side.mu.Unlock()
	t.side.say("%s", r.Message)
	return nil
}

// finish ends the pool in fair weather: everybody is served who waits, all
// can be had at once, and then everything is closed.
func (s *side) finish() {
	s.mu.Lock()
	s.weather = weathers[0]
	s.mu.Unlock()
	s.pool.Resume()
	synctest.Wait()
	s.try(s.pool.Configure(func(c *pools.Settings) {
		*c = pools.Settings{Size: c.Size, Strict: c.Strict, KeepLost: c.KeepLost, Logger: c.Logger, Observer: c.Observer, WaitTimeout: time.Hour,
			OpenTimeout: c.OpenTimeout, CheckTimeout: c.CheckTimeout, ResetTimeout: c.ResetTimeout, CloseTimeout: c.CloseTimeout}
	}), pools.ErrClosed)
	synctest.Wait()
	for round := 0; ; round++ {
		s.harvest()
		for _, l := range append(s.held, s.forgotten...) {
			if !l.lost {
				l.stop()
				s.try(l.conn.Push(), pools.ErrRevoked, errLeft)
				synctest.Wait()
			}
		}
		s.held, s.forgotten = nil, nil
		if len(s.pops) == 0 && s.working() == 0 {
			break
		}
		time.Sleep(s.ticks(s.r, 100))
		if round > 1000 {
			s.t.Fatalf("%s: the weather is fair, and some still wait: %+v", s.name, s.pool.Stats())
		}
	}
	if !s.closing {
		s.popAll()
	}
	s.close()
}

func (s *side) working() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

func (s *side) popAll() {
	time.Sleep(2000 * s.unit) // calls that hang come back
	var all []pools.Conn[resource]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range s.pool.Settings().Size {
		conn, err := s.pool.Pop(ctx)
		for errors.Is(err, pools.ErrOpenFailed) && ctx.Err() == nil { // the prober comes within a minute
			time.Sleep(s.ticks(s.r, 1000))
			conn, err = s.pool.Pop(ctx)
		}
		s.try(err)
		if err != nil {
			return
		}
		s.try(conn.Resource().Begin())
		all = append(all, conn)
	}
	for _, conn := range all {
		conn.Resource().End()
		s.try(conn.Push(), errLeft)
		synctest.Wait()
	}
}

func (s *side) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.pool.Close(ctx)
	for errors.Is(err, pools.ErrAbandoned) && ctx.Err() == nil {
		time.Sleep(s.ticks(s.r, 100))
		err = s.pool.Close(ctx)
	}
	s.try(err)
	st := s.pool.Stats()
	if open := s.server.IsOpen(); open != 0 || st.Opened != st.Closed+st.Detached || st.Vacant != st.Size || st.Waiting+st.Abandoned != 0 {
		s.t.Errorf("%s: closed; %d are open: %+v", s.name, open, st)
	}
	if pools.KeeperRuns(s.pool) {
		s.t.Errorf("%s: closed, and the keeper runs", s.name)
	}
}

// someError draws what a user may tell of a connection.
func someError(r *rand.Rand) error {
	return []error{nil, errRefused, io.EOF, context.DeadlineExceeded, context.Canceled, pools.Discard(nil), pools.Discard(errRefused)}[r.IntN(7)]
}
