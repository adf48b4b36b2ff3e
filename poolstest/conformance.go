package poolstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

// Subject is a connector and what [TestConnector] needs to try it out: ways
// to use it, and to do to its server what servers suffer. Connector and Use
// are required; what needs another one that is missing is skipped, and says
// so. The suite calls the functions one at a time, but for Use, IsOpen and
// Block, which must be safe for concurrent use with different connections.
type Subject[T any] struct {
	Connector pools.Connector[T]

	// Use asks the server something that needs its answer. It must return an
	// error when the connection is dead, and give up when its ctx ends. A
	// deadline that its ctx does not have it must not set.
	Use func(ctx context.Context, resource T) error

	// Kill has the server end this connection, as it would by itself.
	Kill func(resource T)

	// Useless leaves this connection open and makes it useless, as a failover
	// does, or the loss of a right: from then on each Use of it fails, while new
	// connections work.
	Useless func(ctx context.Context, resource T) error

	// IsOpen asks the server how many connections it has.
	IsOpen func() int

	// Silence lets the server or the network fall silent: no answers, no
	// errors. end lets them go on.
	Silence func() (end func())

	// Stop stops the server's process (SIGSTOP). That is another silence: the
	// kernel still accepts connections and takes what is sent. end lets the
	// process go on (SIGCONT).
	Stop func() (end func())

	// Dirty leaves something in the connection that the next user must not
	// find. Clean returns an error if there is something.
	Dirty, Clean func(ctx context.Context, resource T) error

	// Begin does what Write does as a part of something that can still be undone
	// as a whole, such as a transaction, and returns without ending that. Write
	// does it so that others can see it once Write has returned. Written returns
	// how many times it was done, as others see it: it does not ask by a
	// connection of the suite's.
	Begin, Write func(ctx context.Context, resource T) error
	Written      func() int

	// Refused asks for something that the server refuses, with an error that
	// leaves the connection as good as before.
	Refused func(ctx context.Context, resource T) error

	// Block uses the connection until Abort interrupts it.
	Block func(resource T) error

	// Failing are connectors whose Open must fail, by what is wrong: made with a
	// wrong password, a database that does not exist, a port at which nobody
	// listens, a URL that cannot be read, or a login that may not do what Reset
	// does.
	Failing map[string]pools.Connector[T]

	// Secrets are texts that Connector and Failing were given and that no error
	// may contain: passwords and tokens, of at least four bytes each. A password
	// that a parser may cut, at a "/" or an "@", has secret parts; give these too.
	Secrets []string

	// Limit is how long anything may take that should end soon; the suite
	// waits no longer for it. Default: 5 s.
	Limit time.Duration
}

// TestConnector tests whether a connector keeps what a pool relies on:
//
//   - Open opens connections that work beside each other, and gives up with
//     its ctx: it waits for the server's first answer, since a server that
//     hangs accepts connections too. The connection outlives Open's ctx.
//   - Close ends a connection for the server too, also a dead one, gives up
//     with its ctx, and may be called after Abort and a second time.
//   - Check tells a dead connection from one that lives, and gives up with
//     its ctx. Peek asks nobody, and is content with a good connection.
//   - Reset leaves nothing of the last user, and gives up with its ctx. It does
//     not fail on a good connection: each use would cost one.
//   - Work that a user left open, such as a transaction, ends with the use: the
//     next user's work does not become a part of it, and it is not carried out.
//     That it was lost is an event of the pool, and a use that left nothing is none.
//   - No deadline of Open, Check or Reset stays in the connection.
//   - Broken (or the pool's rule, without it) lets a broken connection go, and
//     one whose user gave up before the answer came, and keeps a good one.
//   - A connection that the server closed while it was idle is found by Check,
//     though no use has failed. One that is open and of no use goes, by Broken, by
//     Check or by the pool's rule, after at most a few uses.
//   - Open, Check, Reset and Close return soon when their ctx had ended before the
//     call, and when the server's process is stopped. They claim nothing then that
//     they cannot know, and leave nothing behind.
//   - Open fails when it should (Failing). No error tells a secret, nor does one
//     that it wraps; percent-encoded and quoted ones count.
//   - Abort interrupts a use, may come at any time, and more than once.
//   - A pool of them lends each to one user, keeps Size, and closes all.
//
// Each is a subtest, for which subject is called anew. run runs it:
// [testing/synctest.Test], for a server that lives in the bubble (see
// [Network]), or nil, for a real one. What hangs for good fails its part, but
// a bubble cannot end then, and takes the parts after it along.
func TestConnector[T any](t *testing.T, run func(t *testing.T, f func(t *testing.T)), subject func(t *testing.T) Subject[T]) {
	if run == nil {
		run = func(t *testing.T, f func(t *testing.T)) { f(t) }
	}
	for _, part := range []struct {
		name string
		test func(s *trial[T])
	}{
		{"Open", (*trial[T]).open},
		{"OpenGivesUp", (*trial[T]).openGivesUp},
		{"OutlivesOpen", (*trial[T]).outlivesOpen},
		{"Close", (*trial[T]).close},
		{"CloseOfADeadOne", (*trial[T]).closeDead},
		{"CloseGivesUp", (*trial[T]).closeGivesUp},
		{"Check", (*trial[T]).check},
		{"CheckGivesUp", (*trial[T]).checkGivesUp},
		{"ClosedWhileIdle", (*trial[T]).closedWhileIdle},
		{"Peek", (*trial[T]).peek},
		{"Reset", (*trial[T]).reset},
		{"ResetGivesUp", (*trial[T]).resetGivesUp},
		{"ResetKeeps", (*trial[T]).resetKeeps},
		{"LeftOpen", (*trial[T]).leftOpen},
		{"LeftOpenIsTold", (*trial[T]).leftOpenIsTold},
		{"OpenAfterItsCtx", (*trial[T]).openAfterItsCtx},
		{"CheckAfterItsCtx", (*trial[T]).checkAfterItsCtx},
		{"ResetAfterItsCtx", (*trial[T]).resetAfterItsCtx},
		{"CloseAfterItsCtx", (*trial[T]).closeAfterItsCtx},
		{"Stopped", (*trial[T]).stopped},
		{"OpenFails", (*trial[T]).openFails},
		{"Secrets", (*trial[T]).secrets},
		{"Lasts", (*trial[T]).lasts},
		{"BrokenGoes", (*trial[T]).brokenGoes},
		{"UselessGoes", (*trial[T]).uselessGoes},
		{"GivenUpGoes", (*trial[T]).givenUpGoes},
		{"GoodStays", (*trial[T]).goodStays},
		{"Abort", (*trial[T]).abort},
		{"Pool", (*trial[T]).pool},
	} {
		t.Run(part.name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				s := &trial[T]{t: t, Subject: subject(t), spilled: new(spilled)}
				s.complete()
				part.test(s)
			})
		})
	}
}

// trial is one part of the suite. Its own connections are closed when the
// test ends.
type trial[T any] struct {
	Subject[T]
	t       *testing.T
	spilled *spilled
}

func (s *trial[T]) complete() {
	s.t.Helper()
	if s.Connector.Open == nil || s.Use == nil {
		s.t.Fatal("poolstest: the Subject needs a Connector with an Open, and a Use")
	}
	if s.Limit == 0 {
		s.Limit = 5 * time.Second
	}
	if _, err := pools.New("conformance", s.Connector, pools.Settings{Size: 1}); err != nil {
		s.t.Fatal(err)
	}
	if s.Connector.Close == nil {
		s.Connector.Close = closeByPool
	}
	s.watch()
}

// closeByPool closes a resource as a pool does that has no Connector.Close.
func closeByPool[T any](ctx context.Context, resource T) error {
	switch r := any(resource).(type) {
	case interface{ Close() error }:
		return r.Close()
	case interface{ Close(context.Context) error }:
		return r.Close(ctx)
	case interface{ Close() }:
		r.Close()
	}
	return nil
}

func (s *trial[T]) need(is bool, field, what string) {
	s.t.Helper()
	if !is {
		s.t.Skipf("not tested: %s; give Subject.%s", what, field)
	}
}

func (s *trial[T]) optional(name string, is bool) {
	s.t.Helper()
	if !is {
		s.t.Skipf("the connector has no %s", name)
	}
}

// call calls a function of the connector or of the subject. One that panics,
// or does not return within Limit after its ctx has ended, fails the test.
func (s *trial[T]) call(name string, timeout time.Duration, f func(ctx context.Context) error) error {
	s.t.Helper()
	return s.begin(name, timeout, f)()
}

// begin begins a call, and returns what waits for its end.
func (s *trial[T]) begin(name string, timeout time.Duration, f func(ctx context.Context) error) (end func() error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("%w: %v", errPanics, v)
			}
			done <- err
		}()
		err = f(ctx)
	}()
	timer := time.NewTimer(timeout + s.Limit)
	return func() error {
		s.t.Helper()
		defer cancel()
		defer timer.Stop()
		select {
		case err := <-done:
			if errors.Is(err, errPanics) {
				s.t.Fatalf("%s %v; the pool survives that, but the connection is lost", name, err)
			}
			return err
		case <-timer.C:
			s.t.Fatalf("%s did not return within %v, though its ctx ended after %v; have it give up when its ctx ends", name, timeout+s.Limit, timeout)
		}
		return nil
	}
}

// short is how long a call may take that is to end by its ctx.
func (s *trial[T]) short() time.Duration { return min(s.Limit/10, 100*time.Millisecond) }

// cancelled runs f with a ctx that has no deadline and is cancelled when ctx
// ends.
func cancelled(ctx context.Context, f func(ctx context.Context) error) error {
	plain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	return f(plain)
}

var errPanics = errors.New("panics")

// opens opens a connection that must work.
func (s *trial[T]) opens() T {
	s.t.Helper()
	var resource T
	if err := s.call("Open", s.Limit, func(ctx context.Context) (err error) { resource, err = s.Connector.Open(ctx); return err }); err != nil {
		s.t.Fatalf("Open: %v", err)
	}
	s.t.Cleanup(func() {
		_ = s.call("Close", s.Limit, func(ctx context.Context) error {
			defer func() { _ = recover() }() // what Close does to a closed one is another part's business
			return s.Connector.Close(ctx, resource)
		})
	})
	s.works(resource)
	return resource
}

func (s *trial[T]) use(resource T) error {
	return s.call("Use", s.Limit, func(ctx context.Context) error { return s.Use(ctx, resource) })
}

func (s *trial[T]) works(resource T) {
	s.t.Helper()
	if err := s.use(resource); err != nil {
		s.t.Fatalf("Use of a connection that Open has just opened, or that should be as good: %v", err)
	}
}

func (s *trial[T]) closes(resource T) error {
	return s.call("Close", s.Limit, func(ctx context.Context) error { return s.Connector.Close(ctx, resource) })
}

// has waits until the server has n connections, which may take it a moment.
func (s *trial[T]) has(n int, why string) {
	s.t.Helper()
	if s.IsOpen == nil {
		return
	}
	end := time.Now().Add(s.Limit)
	for s.IsOpen() != n {
		if time.Now().After(end) {
			s.t.Fatalf("the server has %d connections, and should have %d: %s", s.IsOpen(), n, why)
		}
		time.Sleep(time.Millisecond)
	}
}

// kill ends a connection on the server's side, and waits until its user can
// see that.
func (s *trial[T]) kill(resource T) {
	s.t.Helper()
	s.Kill(resource)
	_ = s.fails(resource, "Kill")
}

// givesUp calls f while nothing answers. It has to give up with its ctx.
func (s *trial[T]) givesUp(name string, f func(ctx context.Context) error) error {
	s.t.Helper()
	defer s.Silence()()
	return s.call(name, s.short(), f)
}

// comparable reports whether two resources can be told apart.
func comparable(resource any) bool {
	v := reflect.ValueOf(resource)
	return v.IsValid() && v.Comparable()
}

// users counts who uses a resource at once.
type users struct {
	mu  sync.Mutex
	now map[any]int
}

func (u *users) begin(resource any) (alone bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now[resource]++
	return u.now[resource] == 1
}

func (u *users) end(resource any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now[resource]--
}
