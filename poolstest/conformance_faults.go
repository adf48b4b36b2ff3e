package poolstest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/utopia-go/pools"
)

// More parts of TestConnector: what happens in bad hours only.

// uselessGoes lends a connection that is open and of no use.
func (s *trial[T]) uselessGoes() {
	s.need(s.Useless != nil, "Useless", "whether a connection goes that is open and of no use")
	// A pool checks a connection, or closes one of a connector that cannot tell,
	// after five failed uses on end if a use has succeeded before.
	const uses = 7
	l := s.borrow(time.Hour)
	s.works(l.conn.Resource())
	l.stays()
	if err := l.calls("Useless", s.Useless); err != nil {
		s.t.Fatalf("Useless: %v", err)
	}
	err := s.fails(l.conn.Resource(), "Useless")
	for range uses {
		if !l.giveBack(err) {
			return
		}
		failed := s.use(l.conn.Resource())
		if failed == nil {
			return // Reset has repaired it
		}
		err = failed
	}
	s.t.Errorf("a connection that is open and of no use is still lent after %d uses on end have failed (%v); have Broken return true for that error, or Check return an error", uses, err)
}

// closedWhileIdle asks Check about a connection of which the client cannot know
// yet that it has ended: nobody has used it since.
func (s *trial[T]) closedWhileIdle() {
	s.optional("Check", s.Connector.Check != nil)
	s.need(s.Kill != nil, "Kill", "whether Check notices that the server has closed an idle connection")
	a := s.opens()
	s.Kill(a)
	// The end may take a moment to arrive, and a Check that looks at the socket
	// does not wait for it.
	for end := time.Now().Add(s.Limit); s.checks(a) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			_ = s.fails(a, "Kill")
			s.t.Fatal("Check returned nil for a connection that the server closed while it was idle; have it ask the server or look at the socket, since what the client knows is from the last use")
		}
	}
	_ = s.closes(a)
	s.has(0, "the only connection was closed by the server")
}

// peek asks Peek about connections that are good, also while nothing answers. It
// may not know of one that the server has ended, but must not panic.
func (s *trial[T]) peek() {
	s.optional("Peek", s.Connector.Peek != nil)
	peek := func(resource T) error {
		s.t.Helper()
		return s.begin("Peek", s.Limit, func(context.Context) error { return s.Connector.Peek(resource) })()
	}
	a := s.opens()
	for range 2 {
		if err := peek(a); err != nil {
			s.t.Fatalf("Peek of a good connection: %v; whatever was idle for a second or two would be closed", err)
		}
		s.works(a)
	}
	s.silently(func() {
		if err := peek(a); err != nil {
			s.t.Errorf("Peek of a connection whose server does not answer: %v; have it return nil for what it cannot know without a round trip", err)
		}
	})
	s.need(s.Kill != nil, "Kill", "what Peek does with a connection that the server has ended")
	b := s.opens()
	s.kill(b)
	_ = peek(b)
}

// resetKeeps finds a Reset that fails on good connections. Connector.Dirty may
// hide it, and each use would cost a connection.
func (s *trial[T]) resetKeeps() {
	s.optional("Reset", s.Connector.Reset != nil)
	a := s.opens()
	for range 2 {
		if err := s.resets(a); err != nil {
			s.t.Fatalf("Reset of a good connection that needs none: %v; each use would cost a connection", err)
		}
		s.works(a)
	}
	l := s.borrow(pools.Never)
	for range 3 {
		s.works(l.conn.Resource())
		if s.Dirty != nil && s.Clean != nil {
			if err := l.calls("Dirty", s.Dirty); err != nil {
				s.t.Fatalf("Dirty: %v", err)
			}
		}
		if !l.giveBack(nil) {
			s.t.Fatalf("a good connection is not lent again after its Reset (%s): each use costs a connection; have Reset return nil, or clean what the server lets it clean, and have Open do it once, so that a server that refuses it is an error at once", l.closed())
		}
	}
}

// closed is why the pool has closed a connection.
func (l *loan[T]) closed() string {
	for _, e := range slices.Backward(l.pool.Events()) {
		if e.Kind == pools.EventClosed {
			if e.Err != nil {
				return string(e.Reason) + ": " + e.Err.Error()
			}
			return string(e.Reason)
		}
	}
	return "nobody knows why"
}

// leftOpen has a user leave work open, and another one work after it.
func (s *trial[T]) leftOpen() {
	s.need(s.Begin != nil && s.Write != nil && s.Written != nil, "Begin, Write and Written", "what becomes of the next user's work after one that was left open")
	l := s.borrow(pools.Never)
	write := func(whose string) {
		s.t.Helper()
		if err := l.calls("Write", s.Write); err != nil {
			s.t.Fatalf("Write of %s: %v", whose, err)
		}
	}
	before := s.Written()
	write("a connection that Open has just opened")
	if n := s.writes(before + 1); n != before+1 {
		s.t.Fatalf("Written says %d after Write, and %d before, so that nothing can be shown", n, before)
	}
	l.giveBack(nil)
	if err := l.calls("Begin", s.Begin); err != nil {
		s.t.Fatalf("Begin: %v", err)
	}
	if n := s.Written(); n != before+1 {
		s.t.Fatalf("Written says %d after Begin, and %d before: Begin has ended what it began, so that nothing can be shown", n, before+1)
	}
	l.giveBack(nil)
	write("the user after one that left work open")
	l.giveBack(nil)
	switch n := s.writes(before + 2); {
	case n < before+2:
		s.t.Error("a user's work is lost: it became a part of what the user before had left open; have Reset undo that, or Broken return true for such a connection")
	case n > before+2:
		s.t.Error("what a user left open was carried out; have Reset undo it, or Broken return true for such a connection: its user may have left it because of an error")
	}
}

// writes waits until Written says n, or more, and returns what it says.
func (s *trial[T]) writes(n int) int {
	end := time.Now().Add(s.Limit)
	for {
		if is := s.Written(); is >= n || time.Now().After(end) {
			return is
		}
		time.Sleep(time.Millisecond)
	}
}

// leftOpenIsTold finds work that is undone without a word: its user believes
// that it is done.
func (s *trial[T]) leftOpenIsTold() {
	s.need(s.Begin != nil, "Begin", "whether anybody learns of work that a user left open")
	l := s.borrow(pools.Never)
	s.works(l.conn.Resource())
	l.stays()
	if err := l.calls("Begin", s.Begin); err != nil {
		s.t.Fatalf("Begin: %v", err)
	}
	id := l.conn.ID()
	l.giveBack(nil)
	for _, e := range l.pool.Events() {
		if e.ID == id && e.Kind != pools.EventOpened {
			return // whatever the pool calls it
		}
	}
	s.t.Error("work that a user left open was undone and nobody was told, while its user believes that it is done; give the connector an Unfinished that says so, or have Broken return true for such a connection")
}

// stays gives the connection back after a good use. If it goes then, what makes
// others go says nothing.
func (l *loan[T]) stays() {
	l.t.Helper()
	if !l.giveBack(nil) {
		l.t.Fatal("a good connection is not lent again after a plain Push, so that nothing can be shown")
	}
}

// after calls f with ctxs that had ended before.
func (s *trial[T]) after(name string, f func(ctx context.Context, how string)) {
	s.t.Helper()
	passed, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	f(passed, name+", with a ctx whose deadline had passed before the call,")
	f(cancelled, name+", with a ctx that was cancelled before the call,")
}

// soon calls f, whose ctx had ended before.
func (s *trial[T]) soon(name string, f func() error) error {
	s.t.Helper()
	return s.call(name, 0, func(context.Context) error { return f() })
}

// silently calls f while nothing answers, if the subject can have that.
func (s *trial[T]) silently(f func()) {
	if s.Silence != nil {
		defer s.Silence()()
		f()
	}
}

func (s *trial[T]) openAfterItsCtx() {
	open := func(ctx context.Context, how string) {
		s.t.Helper()
		err := s.soon(how, func() error {
			resource, err := s.Connector.Open(ctx)
			if err == nil {
				_ = s.Connector.Close(context.Background(), resource)
			}
			return err
		})
		if err == nil {
			s.t.Errorf("%s returned a connection; have it return the ctx's error", how)
		}
	}
	s.after("Open", open)
	s.silently(func() { s.after("Open to a server that does not answer", open) })
	s.has(0, "an Open whose ctx had ended must leave nothing open")
}

func (s *trial[T]) checkAfterItsCtx() {
	s.optional("Check", s.Connector.Check != nil)
	s.after("Check", func(ctx context.Context, how string) {
		a := s.opens()
		_ = s.soon(how, func() error { return s.Connector.Check(ctx, a) }) // it may know without asking
		if s.Silence == nil {
			return
		}
		b := s.opens()
		s.silently(func() {
			if s.soon(how, func() error { return s.Connector.Check(ctx, b) }) == nil {
				s.t.Errorf("%s returned nil for a server that does not answer; have it return the ctx's error", how)
			}
		})
	})
	s.need(s.Kill != nil, "Kill", "whether Check, with a ctx that had ended before the call, takes a dead connection for a good one")
	s.after("Check", func(ctx context.Context, how string) {
		a := s.opens()
		s.kill(a)
		if s.soon(how, func() error { return s.Connector.Check(ctx, a) }) == nil {
			s.t.Errorf("%s returned nil for a connection that the server has ended; have it return the ctx's error", how)
		}
	})
}

func (s *trial[T]) resetAfterItsCtx() {
	s.optional("Reset", s.Connector.Reset != nil)
	reset := func(during func(f func())) func(ctx context.Context, how string) {
		return func(ctx context.Context, how string) {
			s.t.Helper()
			a := s.opens()
			s.dirties(a)
			var err error
			during(func() { err = s.soon(how, func() error { return s.Connector.Reset(ctx, a) }) })
			if err == nil {
				s.clean(a, how)
			}
		}
	}
	s.after("Reset", reset(func(f func()) { f() }))
	if s.Silence != nil {
		s.after("Reset for a server that does not answer", reset(s.silently))
	}
}

func (s *trial[T]) closeAfterItsCtx() {
	closes := func(during func(f func())) func(ctx context.Context, how string) {
		return func(ctx context.Context, how string) {
			s.t.Helper()
			a := s.opens()
			during(func() { _ = s.soon(how, func() error { return s.Connector.Close(ctx, a) }) })
			s.has(0, how+" must close its own end all the same")
			for end := time.Now().Add(s.Limit); s.use(a) == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					s.t.Fatalf("%s has left a connection that still works; have Close end it whatever its ctx says", how)
				}
			}
		}
	}
	s.after("Close", closes(func(f func()) { f() }))
	if s.Silence != nil {
		s.after("Close for a server that does not answer", closes(s.silently))
	}
}

// stopped calls everything while the server's process is stopped.
func (s *trial[T]) stopped() {
	s.need(s.Stop != nil, "Stop", "whether calls give up with their ctx when the server's process is stopped")
	checked, reset, closed := s.opens(), s.opens(), s.opens()
	s.dirties(reset)
	end := sync.OnceFunc(s.Stop())
	defer end()
	short := func(name string, f func(ctx context.Context) error) error {
		s.t.Helper()
		return s.call(name+", with the server's process stopped,", s.short(), f)
	}
	open := func(ctx context.Context) error {
		resource, err := s.Connector.Open(ctx)
		if err == nil {
			_ = s.Connector.Close(ctx, resource)
		}
		return err
	}
	if short("Open", open) == nil || short("Open, cancelled,", func(ctx context.Context) error { return cancelled(ctx, open) }) == nil {
		s.t.Error("Open returned a connection to a server whose process is stopped; have it wait for the server's first answer: the kernel accepts connections for a stopped process")
	}
	if check := s.Connector.Check; check != nil {
		if short("Check", func(ctx context.Context) error { return check(ctx, checked) }) == nil {
			s.t.Error("Check returned nil for a server whose process is stopped; have it wait for the answer: the kernel takes what is sent")
		}
	}
	claims := false
	if r := s.Connector.Reset; r != nil {
		claims = short("Reset", func(ctx context.Context) error { return r(ctx, reset) }) == nil
	}
	_ = short("Close", func(ctx context.Context) error { return s.Connector.Close(ctx, closed) })
	end()
	if claims {
		s.clean(reset, "Reset, with the server's process stopped,")
	}
	_, _ = s.closes(checked), s.closes(reset)
	s.has(0, "all were closed or given up while the server's process was stopped, and it goes on")
	s.opens()
}

func (s *trial[T]) checks(resource T) error {
	s.t.Helper()
	return s.call("Check", s.Limit, func(ctx context.Context) error { return s.Connector.Check(ctx, resource) })
}

func (s *trial[T]) resets(resource T) error {
	s.t.Helper()
	return s.call("Reset", s.Limit, func(ctx context.Context) error { return s.Connector.Reset(ctx, resource) })
}

// dirties leaves something in a connection, if it is known how.
func (s *trial[T]) dirties(resource T) {
	s.t.Helper()
	if s.Dirty == nil || s.Clean == nil {
		return
	}
	if err := s.call("Dirty", s.Limit, func(ctx context.Context) error { return s.Dirty(ctx, resource) }); err != nil {
		s.t.Fatalf("Dirty: %v", err)
	}
}

// clean is for a Reset that has claimed to be done although it had no time.
func (s *trial[T]) clean(resource T, how string) {
	s.t.Helper()
	if s.Dirty == nil || s.Clean == nil {
		return
	}
	if err := s.call("Clean", s.Limit, func(ctx context.Context) error { return s.Clean(ctx, resource) }); err != nil {
		s.t.Errorf("%s returned nil, and then: %v; have it return an error unless it is sure that the connection is clean", how, err)
	}
}

// openFails opens what must not open.
func (s *trial[T]) openFails() {
	s.need(len(s.Failing) > 0, "Failing", "whether Open fails when it should")
	for _, name := range slices.Sorted(maps.Keys(s.Failing)) {
		c := s.Failing[name]
		if c.Open == nil {
			s.t.Fatalf("Subject.Failing[%q] has no Open; give a whole connector", name)
		}
		var resource T
		if s.call("Open with "+name, s.Limit, func(ctx context.Context) (err error) { resource, err = c.Open(ctx); return err }) != nil {
			continue
		}
		var refused error
		if c.Reset != nil {
			refused = s.call("Reset with "+name, s.Limit, func(ctx context.Context) error { return c.Reset(ctx, resource) })
		}
		if refused != nil {
			s.t.Errorf("Open with %s returned a connection, whose Reset then fails (%v): each use would cost a connection; have Open clean it once, so that it is an error at once", name, refused)
		} else {
			s.t.Errorf("Open with %s returned a connection; have it log in and wait for the server's answer", name)
		}
		_ = s.call("Close with "+name, s.Limit, func(ctx context.Context) error { return c.Close(ctx, resource) })
	}
	s.has(0, "an Open that fails must close what it has begun")
}

// secrets has everything fail that can be made to fail. What the errors say is
// looked at in every part.
func (s *trial[T]) secrets() {
	s.need(len(s.Secrets) > 0, "Secrets", "whether errors tell secrets")
	open := func(ctx context.Context) error {
		resource, err := s.Connector.Open(ctx)
		if err == nil {
			_ = s.Connector.Close(ctx, resource)
		}
		return err
	}
	s.after("Open", func(ctx context.Context, how string) { _ = s.soon(how, func() error { return open(ctx) }) })
	idle := s.opens()
	all := func(resource T, timeout time.Duration) {
		s.t.Helper()
		for _, f := range []struct {
			name string
			call func(ctx context.Context, resource T) error
		}{{"Check", s.Connector.Check}, {"Reset", s.Connector.Reset}, {"Close", s.Connector.Close}} {
			if f.call != nil {
				_ = s.call(f.name, timeout, func(ctx context.Context) error { return f.call(ctx, resource) })
			}
		}
	}
	s.silently(func() {
		_ = s.call("Open", s.short(), open)
		all(idle, s.short())
	})
	if s.Kill != nil {
		dead := s.opens()
		s.kill(dead)
		all(dead, s.Limit)
	}
}
