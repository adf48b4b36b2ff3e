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

// borrow makes a pool of one and returns its only connection, and a function
// that gives a connection back with an error and says whether the same one
// comes again.
func (s *trial[T]) borrow() (pools.Conn[T], func(conn pools.Conn[T], err error) (again pools.Conn[T], same bool)) {
	pool, err := pools.New("conformance", s.Connector, pools.Settings{Size: 1, CheckAfter: pools.Never, OpenTimeout: s.Limit, WaitTimeout: 4 * s.Limit})
	if err != nil {
		s.t.Fatal(err)
	}
	var last pools.Conn[T]
	s.t.Cleanup(func() {
		_ = last.Push()
		if err := pool.Close(context.Background()); err != nil {
			s.t.Errorf("closing the pool: %v", err)
		}
	})
	pop := func() pools.Conn[T] {
		s.t.Helper()
		if last, err = pool.Pop(context.Background()); err != nil {
			s.t.Fatal(err)
		}
		return last
	}
	return pop(), func(conn pools.Conn[T], err error) (pools.Conn[T], bool) {
		s.t.Helper()
		if err := conn.PushErr(err); err != nil {
			s.t.Fatal(err)
		}
		again := pop()
		same := again.ID() == conn.ID()
		if !same {
			s.works(again.Resource())
		}
		return again, same
	}
}

func (s *trial[T]) brokenGoes() {
	s.need(s.Kill != nil, "Kill", "whether a broken connection goes")
	conn, giveBack := s.borrow()
	s.Kill(conn.Resource())
	end := time.Now().Add(s.Limit)
	err := s.use(conn.Resource())
	for ; err == nil && time.Now().Before(end); err = s.use(conn.Resource()) {
		time.Sleep(time.Millisecond)
	}
	if _, same := giveBack(conn, err); same {
		s.t.Errorf("a connection that the server has ended is lent again, though its user told the error (%v); have Broken return true for it", err)
	}
}

func (s *trial[T]) givenUpGoes() {
	s.need(s.Silence != nil, "Silence", "whether a connection goes whose user gave up before the answer came")
	conn, giveBack := s.borrow()
	for name, use := range map[string]func(context.Context) error{
		"whose deadline passed": func(ctx context.Context) error { return s.Use(ctx, conn.Resource()) },
		"that was cancelled": func(ctx context.Context) error {
			return cancelled(ctx, func(ctx context.Context) error { return s.Use(ctx, conn.Resource()) })
		},
	} {
		err := s.givesUp("Use", use)
		if err == nil {
			s.t.Fatal("Use returned no error though nothing answers, so that nothing can be shown")
		}
		again, same := giveBack(conn, err)
		if same {
			s.t.Errorf("a connection comes again after a use %s before the answer came (%v): the next user would read that answer; have Broken return true for it, as pools.Breaks does", name, err)
		}
		conn = again
	}
}

func (s *trial[T]) goodStays() {
	conn, giveBack := s.borrow()
	conn, same := giveBack(conn, nil)
	if !same {
		s.t.Fatal("a good connection is not lent again after a plain Push; have Broken return false for it, and Reset no error")
	}
	s.need(s.Refused != nil, "Refused", "whether an error that leaves the connection good keeps it")
	err := s.call("Refused", s.Limit, func(ctx context.Context) error { return s.Refused(ctx, conn.Resource()) })
	if err == nil {
		s.t.Fatal("Refused returned no error, so that nothing can be shown")
	}
	if _, same := giveBack(conn, err); !same {
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
