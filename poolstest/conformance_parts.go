package poolstest

import (
	"context"
	"sync"
	"time"

	"github.com/utopia-go/pools"
)

// The parts of TestConnector.

func (s *trial[T]) open() {
	a, b := s.opens(), s.opens()
	if comparable(a) && any(a) == any(b) {
		s.t.Fatal("Open returned the same connection twice; open another one at each call")
	}
	s.has(2, "Open was called twice")
	s.works(a)
	s.works(b)
}

// outlivesOpen finds what lives only as long as Open's ctx, which ends when Open has
// returned.
func (s *trial[T]) outlivesOpen() {
	var resource T
	opened := s.call("Open", s.Limit, func(ctx context.Context) (err error) { resource, err = s.Connector.Open(ctx); return err })
	if opened != nil {
		s.t.Fatalf("Open: %v", opened)
	}
	time.Sleep(s.short()) // what ends with the ctx has ended
	if err := s.use(resource); err != nil {
		s.t.Errorf("a connection does not work after the end of Open's ctx, which ends when Open returns: %v; have Open give it another ctx, such as context.WithoutCancel's", err)
	}
	_ = s.closes(resource)
}

func (s *trial[T]) openGivesUp() {
	s.need(s.Silence != nil, "Silence", "whether Open gives up with its ctx")
	open := func(ctx context.Context) error {
		resource, err := s.Connector.Open(ctx)
		if err == nil {
			_ = s.Connector.Close(ctx, resource)
		}
		return err
	}
	// The pool's Close cancels an Open: then no deadline says so.
	withoutDeadline := func(ctx context.Context) error { return cancelled(ctx, open) }
	if s.givesUp("Open", open) == nil || s.givesUp("Open, cancelled,", withoutDeadline) == nil {
		s.t.Error("Open returned a connection to a server that does not answer; have it wait for the server's first answer")
	}
	s.has(0, "an Open that gives up must close what it has begun")
}

func (s *trial[T]) close() {
	a, b := s.opens(), s.opens()
	if err := s.closes(a); err != nil {
		s.t.Errorf("Close of a good connection: %v", err)
	}
	s.has(1, "one of two was closed; have Close end it for the server too")
	if s.use(a) == nil {
		s.t.Error("a closed connection still works; have Close end it")
	}
	s.works(b)
	_ = s.closes(a) // as it likes, but it must return
	s.works(b)
	s.has(1, "the same one was closed twice")
}

func (s *trial[T]) closeDead() {
	s.need(s.Kill != nil, "Kill", "Close of a connection that the server has ended")
	a := s.opens()
	s.kill(a)
	_ = s.closes(a)
	s.has(0, "the only connection was closed")
}

func (s *trial[T]) closeGivesUp() {
	s.need(s.Silence != nil, "Silence", "whether Close gives up with its ctx")
	a := s.opens()
	_ = s.givesUp("Close", func(ctx context.Context) error { return s.Connector.Close(ctx, a) })
	s.has(0, "Close gave up on the server, and must have closed its own end all the same")
}

func (s *trial[T]) check() {
	s.optional("Check", s.Connector.Check != nil)
	a := s.opens()
	check := func() error {
		return s.call("Check", s.Limit, func(ctx context.Context) error { return s.Connector.Check(ctx, a) })
	}
	for range 2 {
		if err := check(); err != nil {
			s.t.Fatalf("Check of a good connection: %v", err)
		}
		s.works(a)
	}
	s.need(s.Kill != nil, "Kill", "whether Check tells a dead connection")
	s.kill(a)
	if check() == nil {
		s.t.Error("Check returned nil for a connection that the server has ended; have it ask the server and wait for the answer")
	}
}

func (s *trial[T]) checkGivesUp() {
	s.optional("Check", s.Connector.Check != nil)
	s.need(s.Silence != nil, "Silence", "whether Check gives up with its ctx")
	a := s.opens()
	if s.givesUp("Check", func(ctx context.Context) error { return s.Connector.Check(ctx, a) }) == nil {
		s.t.Error("Check returned nil for a server that does not answer; have it wait for the answer")
	}
}

func (s *trial[T]) reset() {
	s.optional("Reset", s.Connector.Reset != nil)
	s.need(s.Dirty != nil && s.Clean != nil, "Dirty and Clean", "whether Reset leaves nothing of the last user")
	a := s.opens()
	clean := func() error {
		return s.call("Clean", s.Limit, func(ctx context.Context) error { return s.Clean(ctx, a) })
	}
	if err := clean(); err != nil {
		s.t.Fatalf("Clean of a connection that nobody has used yet: %v", err)
	}
	for range 2 {
		if err := s.call("Dirty", s.Limit, func(ctx context.Context) error { return s.Dirty(ctx, a) }); err != nil {
			s.t.Fatalf("Dirty: %v", err)
		}
		if clean() == nil {
			s.t.Fatal("Clean does not find what Dirty leaves, so that nothing can be shown")
		}
		if err := s.call("Reset", s.Limit, func(ctx context.Context) error { return s.Connector.Reset(ctx, a) }); err != nil {
			s.t.Fatalf("Reset of a good connection: %v", err)
		}
		s.works(a)
		if err := clean(); err != nil {
			s.t.Fatalf("after Reset: %v; have Reset leave nothing of the last user", err)
		}
	}
}

func (s *trial[T]) resetGivesUp() {
	s.optional("Reset", s.Connector.Reset != nil)
	s.need(s.Silence != nil, "Silence", "whether Reset gives up with its ctx")
	a := s.opens()
	known := s.Dirty != nil && s.Clean != nil
	if known {
		if err := s.call("Dirty", s.Limit, func(ctx context.Context) error { return s.Dirty(ctx, a) }); err != nil {
			s.t.Fatalf("Dirty: %v", err)
		}
	}
	if s.givesUp("Reset", func(ctx context.Context) error { return s.Connector.Reset(ctx, a) }) != nil || !known {
		return
	}
	if err := s.call("Clean", s.Limit, func(ctx context.Context) error { return s.Clean(ctx, a) }); err != nil {
		s.t.Errorf("Reset returned nil for a server that did not answer, and then: %v; have it wait until it is sure that the connection is clean", err)
	}
}

// lasts finds deadlines that were left in a connection: it is used long after.
func (s *trial[T]) lasts() {
	soon := s.Limit / 5
	c := s.Connector
	after := map[string]T{"Check": s.opens(), "Reset": s.opens()}
	var opened T
	if err := s.call("Open", soon, func(ctx context.Context) (err error) { opened, err = c.Open(ctx); return err }); err != nil {
		s.t.Fatalf("Open: %v", err)
	}
	s.t.Cleanup(func() { _ = s.closes(opened) })
	after["Open"] = opened
	for name, f := range map[string]func(context.Context, T) error{"Check": c.Check, "Reset": c.Reset} {
		if f == nil {
			delete(after, name)
		} else if err := s.call(name, soon, func(ctx context.Context) error { return f(ctx, after[name]) }); err != nil {
			s.t.Fatalf("%s of a good connection: %v", name, err)
		}
	}
	time.Sleep(soon)
	for name, resource := range after {
		if err := s.call("Use", s.Limit, func(context.Context) error { return s.Use(context.Background(), resource) }); err != nil {
			s.t.Errorf("a connection does not work any more when the deadline of %s's ctx has passed: %v; have %s clear the deadlines that it sets", name, err, name)
		}
	}
}

// loan is the only connection of a pool of one, which its user gives back again
// and again.
type loan[T any] struct {
	*trial[T]
	pool *pools.Pool[T]
	conn pools.Conn[T]
}

// borrow makes a pool of one and takes its connection.
func (s *trial[T]) borrow(checkAfter time.Duration) *loan[T] {
	s.t.Helper()
	pool, err := pools.New("conformance", s.Connector, pools.Settings{Size: 1, CheckAfter: checkAfter, OpenTimeout: s.Limit, WaitTimeout: 4 * s.Limit})
	if err != nil {
		s.t.Fatal(err)
	}
	l := &loan[T]{trial: s, pool: pool}
	s.t.Cleanup(func() {
		_ = l.conn.Push()
		if err := pool.Close(context.Background()); err != nil {
			s.t.Errorf("closing the pool: %v", err)
		}
	})
	l.pop()
	return l
}

func (l *loan[T]) pop() {
	l.t.Helper()
	var err error
	if l.conn, err = l.pool.Pop(context.Background()); err != nil {
		l.t.Fatal(err)
	}
}

// calls calls a function of the subject's with the connection that is lent.
func (l *loan[T]) calls(name string, f func(ctx context.Context, resource T) error) error {
	l.t.Helper()
	return l.call(name, l.Limit, func(ctx context.Context) error { return f(ctx, l.conn.Resource()) })
}

// giveBack gives the connection back with an error, takes the next one, and says
// whether it is the same again. Another one must work.
func (l *loan[T]) giveBack(err error) (same bool) {
	l.t.Helper()
	last := l.conn.ID()
	if err := l.conn.PushErr(err); err != nil {
		l.t.Fatal(err)
	}
	l.pop()
	same = l.conn.ID() == last
	if !same {
		l.works(l.conn.Resource())
	}
	return same
}

// fails uses the connection until that fails.
func (s *trial[T]) fails(resource T, hook string) error {
	s.t.Helper()
	end := time.Now().Add(s.Limit)
	for {
		if err := s.use(resource); err != nil {
			return err
		}
		if time.Now().After(end) {
			s.t.Fatalf("Use returns no error for a connection after %s; the one or the other is wrong", hook)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *trial[T]) brokenGoes() {
	s.need(s.Kill != nil, "Kill", "whether a broken connection goes")
	l := s.borrow(pools.Never)
	s.Kill(l.conn.Resource())
	err := s.fails(l.conn.Resource(), "Kill")
	if l.giveBack(err) {
		s.t.Errorf("a connection that the server has ended is lent again, though its user told the error (%v); have Broken return true for it", err)
	}
}

func (s *trial[T]) givenUpGoes() {
	s.need(s.Silence != nil, "Silence", "whether a connection goes whose user gave up before the answer came")
	l := s.borrow(pools.Never)
	for name, use := range map[string]func(context.Context) error{
		"whose deadline passed": func(ctx context.Context) error { return s.Use(ctx, l.conn.Resource()) },
		"that was cancelled": func(ctx context.Context) error {
			return cancelled(ctx, func(ctx context.Context) error { return s.Use(ctx, l.conn.Resource()) })
		},
	} {
		err := s.givesUp("Use", use)
		if err == nil {
			s.t.Fatal("Use returned no error though nothing answers, so that nothing can be shown")
		}
		if l.giveBack(err) {
			s.t.Errorf("a connection comes again after a use %s before the answer came (%v): the next user would read that answer; have Broken return true for it, as pools.Breaks does", name, err)
		}
	}
}

func (s *trial[T]) goodStays() {
	l := s.borrow(pools.Never)
	if !l.giveBack(nil) {
		s.t.Fatal("a good connection is not lent again after a plain Push; have Broken return false for it, and Reset no error")
	}
	l.works(l.conn.Resource())
	l.giveBack(nil)
	if l.pool.Stats().Unfinished > 0 {
		s.t.Fatal("a use that left nothing open is told as one that did; have Unfinished return nil for it")
	}
	s.need(s.Refused != nil, "Refused", "whether an error that leaves the connection good keeps it")
	err := l.calls("Refused", s.Refused)
	if err == nil {
		s.t.Fatal("Refused returned no error, so that nothing can be shown")
	}
	if !l.giveBack(err) {
		s.t.Errorf("a good connection is not lent again after an error that left it good (%v); have Broken return false for it", err)
	}
}

func (s *trial[T]) abort() {
	s.optional("Abort", s.Connector.Abort != nil)
	abort := func(resource T) {
		s.t.Helper()
		_ = s.call("Abort", s.Limit, func(context.Context) error { s.Connector.Abort(resource); return nil })
	}
	idle := s.opens()
	abort(idle)
	abort(idle)
	_ = s.closes(idle)
	abort(idle) // its holder was faster
	s.has(0, "it was aborted and closed")

	s.need(s.Block != nil, "Block", "whether Abort interrupts a use")
	busy := s.opens()
	end := s.begin("Block, while Abort was called,", s.Limit, func(context.Context) error { return s.Block(busy) })
	time.Sleep(s.short() / 2) // so that it has begun
	abort(busy)
	if end() == nil {
		s.t.Error("Block returned no error, though Abort interrupted it")
	}
	_ = s.closes(busy)
	s.has(0, "it was aborted and closed")
}

func (s *trial[T]) pool() {
	const size, goroutines, uses = 2, 4, 10
	pool, err := pools.New("conformance", s.Connector, pools.Settings{Size: size, OpenTimeout: s.Limit})
	if err != nil {
		s.t.Fatal(err)
	}
	u := &users{now: map[any]int{}}
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range uses {
				err := pool.Use(context.Background(), func(resource T) error {
					if comparable(resource) {
						if !u.begin(resource) {
							s.t.Error("two connections are one: Open returned the same twice")
						}
						defer u.end(resource)
					}
					return s.Use(context.Background(), resource)
				})
				if err != nil {
					s.t.Errorf("Use of a good server: %v", err)
				}
				if s.IsOpen != nil && s.IsOpen() > size {
					s.t.Errorf("the server has %d connections of a pool of %d; have Close wait until the server has closed", s.IsOpen(), size)
				}
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 4*s.Limit)
	defer cancel()
	if err := pool.Close(ctx); err != nil {
		s.t.Error(err)
	}
	s.has(0, "the pool was closed")
}
