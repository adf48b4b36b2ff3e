package poolstest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
	"github.com/utopia-go/pools/poolstest"
)

// notes is a server that keeps a note for each connection, and counts what is
// written for all of them.
type notes struct {
	network *poolstest.Network
	mu      sync.Mutex
	open    map[string]net.Conn // by the client's number
	opened  int
	written int
	stopped chan struct{} // nil while the process runs
}

// password is what most users of notes log in with. A visitor may clean nothing.
const password, visitor = `tea/for & "two"`, "let me in"

func startNotes(t *testing.T) *notes {
	s := &notes{network: poolstest.NewNetwork(), open: map[string]net.Conn{}}
	l, err := s.network.Listen("notes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// stop stops the server as SIGSTOP does: connections and bytes are still taken.
func (s *notes) stop() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = make(chan struct{})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.stopped)
		s.stopped = nil
	}
}

// runs waits while the server is stopped.
func (s *notes) runs() {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}

func (s *notes) serve(conn net.Conn) {
	defer conn.Close()
	s.runs()
	s.mu.Lock()
	s.opened++
	number := fmt.Sprint(s.opened)
	s.open[number] = conn
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, number)
	}()
	fmt.Fprintln(conn, number) // the greeting
	var note string
	var cleans, spoilt, begun bool
	pending := 0
	write := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.written += n
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		s.runs()
		command, text, _ := strings.Cut(lines.Text(), " ")
		if spoilt && command != "bye" {
			command = "spoil"
		}
		answer := "done"
		switch command {
		case "login":
			if text != password && text != visitor {
				answer = "no"
			}
			cleans = text == password
		case "note":
			if answer = "noted"; !cleans {
				answer = "what?"
			} else {
				note = text
			}
		case "read":
			answer = "note:" + note
		case "begin":
			begun = true
		case "write":
			if begun {
				pending++
			} else {
				write(1)
			}
		case "rollback":
			begun, pending = false, 0
		case "commit":
			write(pending)
			begun, pending = false, 0
		case "spoil":
			spoilt, answer = true, "useless"
		case "block":
			continue
		case "bye":
			return
		default:
			answer = "what?"
		}
		fmt.Fprintln(conn, answer)
	}
}

func (s *notes) isOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *notes) isWritten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

func (s *notes) kill(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn := s.open[c.number]; conn != nil {
		conn.Close()
	}
}

type client struct {
	net.Conn
	answers *bufio.Reader
	number  string
	begun   bool  // it has left work open
	failed  error // of the last question
}

var (
	errWhat    = errors.New("the server asks: what?")
	errNo      = errors.New("the server says no")
	errUseless = errors.New("the server is of no use")
	errBegun   = errors.New("work was left open")
)

// ask sends a command and returns the answer. It gives up when ctx ends.
func (c *client) ask(ctx context.Context, command string) (answer string, err error) {
	defer func() { c.failed = err }()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted // else it would interrupt the next question
		}
	}()
	if command != "" {
		if _, err := fmt.Fprintln(c, command); err != nil {
			return "", err
		}
	}
	if answer, err = c.answers.ReadString('\n'); err != nil {
		return answer, err
	}
	answer = strings.TrimSpace(answer)
	return answer, map[string]error{"what?": errWhat, "no": errNo, "useless": errUseless}[answer]
}

// asks is a function of a Subject or a Connector that sends these.
func asks(commands ...string) func(context.Context, *client) error {
	return func(ctx context.Context, c *client) error {
		for _, command := range commands {
			if _, err := c.ask(ctx, command); err != nil {
				return err
			}
			switch command {
			case "begin":
				c.begun = true
			case "rollback", "commit":
				c.begun = false
			}
		}
		return nil
	}
}

// dials connects and reads the greeting, and no more.
func (s *notes) dials(ctx context.Context, address string) (*client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := s.network.DialContext(ctx, "", address)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, answers: bufio.NewReader(conn)}
	if c.number, err = c.ask(ctx, ""); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// connects is a connector with nothing wrong.
func (s *notes) connects(address, password string) pools.Connector[*client] {
	return pools.Connector[*client]{
		Open: func(ctx context.Context) (*client, error) {
			c, err := s.dials(ctx, address)
			if err != nil {
				return nil, err
			}
			if err := asks("login "+password, "note")(ctx, c); err != nil {
				c.Conn.Close()
				return nil, err
			}
			return c, nil
		},
		Close: func(ctx context.Context, c *client) error {
			defer c.Conn.Close()
			if _, err := c.ask(ctx, "bye"); err != io.EOF {
				return err
			}
			return nil
		},
		Check:  asks("read"),
		Peek:   func(c *client) error { return netconn.Check(c.Conn) },
		Reset:  asks("note", "rollback"),
		Broken: func(c *client, err error) bool { return c.begun || err != nil && !errors.Is(err, errWhat) },
		Abort:  func(c *client) { c.Conn.Close() },
	}
}

// good is a connector with nothing wrong, and all that the suite may use.
func good(s *notes) poolstest.Subject[*client] {
	return poolstest.Subject[*client]{
		Connector: s.connects("notes", password),
		Use:       asks("read"),
		Kill:      s.kill,
		Useless: func(ctx context.Context, c *client) error {
			if _, err := c.ask(ctx, "spoil"); err != errUseless {
				return fmt.Errorf("it answers: %v", err)
			}
			return nil
		},
		IsOpen:  s.isOpen,
		Silence: func() func() { s.network.Stall(); return s.network.Resume },
		Stop:    s.stop,
		Dirty:   asks("note secret"),
		Clean: func(ctx context.Context, c *client) error {
			if answer, err := c.ask(ctx, "read"); err != nil || answer != "note:" {
				return fmt.Errorf("the note is %q, %v", answer, err)
			}
			return nil
		},
		Begin:   asks("begin", "write"),
		Write:   asks("write"),
		Written: s.isWritten,
		Refused: asks("nonsense"),
		Block:   func(c *client) error { _, err := c.ask(context.Background(), "block"); return err },
		Failing: map[string]pools.Connector[*client]{
			"a wrong password":           s.connects("notes", "wrong "+password),
			"a login that may not clean": s.connects("notes", visitor),
			"nobody who listens":         s.connects("elsewhere", password),
		},
		Secrets: []string{password, visitor},
	}
}

func TestGoodConnector(t *testing.T) {
	poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[*client] { return good(startNotes(t)) })
}

func TestPhones(t *testing.T) { testPhones(t) } // the example's

// A connector without anything optional passes too; the rest is skipped.
func TestPlainConnector(t *testing.T) {
	poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[*client] {
		all := good(startNotes(t))
		return poolstest.Subject[*client]{Connector: pools.OpenFunc(all.Connector.Open), Use: all.Use}
	})
}

// Other good ones.
var alsoGood = map[string]spoil{
	// A Reset need not ask the server.
	"Reset without the server": func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(_ context.Context, c *client) error { return c.SetDeadline(time.Time{}) }
		s.Dirty, s.Clean = nil, nil
	},
	// Nor a Check, which cannot know then that the server hangs.
	"Check looks at the socket": func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(_ context.Context, c *client) error {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.answers.Peek(1)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return c.SetReadDeadline(time.Time{})
			}
			return errors.Join(err, io.ErrNoProgress)
		}
		s.Silence, s.Stop = nil, nil
	},
	"only Check knows what is of no use": func(s *poolstest.Subject[*client]) {
		broken := s.Connector.Broken
		s.Connector.Broken = func(c *client, err error) bool { return broken(c, err) && !errors.Is(err, errUseless) }
	},
	"the pool's rule finds what is of no use": func(s *poolstest.Subject[*client]) {
		s.Connector = pools.Connector[*client]{Open: s.Connector.Open, Close: s.Connector.Close}
		s.Begin = nil
	},
	"Reset makes good what was of no use": func(s *poolstest.Subject[*client]) {
		var useless atomic.Bool
		use := s.Use
		s.Use = func(ctx context.Context, c *client) error {
			if useless.Load() {
				return errWhat
			}
			return use(ctx, c)
		}
		s.Useless = func(context.Context, *client) error { useless.Store(true); return nil }
		reset := s.Connector.Reset
		s.Connector.Reset = func(ctx context.Context, c *client) error { useless.Store(false); return reset(ctx, c) }
	},
	"Reset fails for what was left open": func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(_ *client, err error) bool { return err != nil && !errors.Is(err, errWhat) }
		reset := s.Connector.Reset
		s.Connector.Reset = func(ctx context.Context, c *client) error {
			if c.begun {
				return errBegun
			}
			return reset(ctx, c)
		}
	},
	"Peek and Unfinished know what the client knows": func(s *poolstest.Subject[*client]) {
		s.Connector.Peek = func(c *client) error { return c.failed }
		s.Connector.Broken = func(_ *client, err error) bool { return err != nil && !errors.Is(err, errWhat) }
		s.Connector.Unfinished = func(c *client) error {
			if c.begun {
				return errBegun
			}
			return nil
		}
	},
	"Dirty spares a Reset": func(s *poolstest.Subject[*client]) {
		s.Connector.Dirty = func(c *client) bool { return c.begun }
		s.Dirty, s.Clean = nil, nil
	},
}

func TestAlsoGoodConnectors(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(alsoGood)) {
		t.Run(name, func(t *testing.T) {
			poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[*client] {
				subject := good(startNotes(t))
				alsoGood[name](&subject)
				return subject
			})
		})
	}
}

type spoil func(s *poolstest.Subject[*client])

// bad is what can be wrong with a connector, and which part must say so in
// which words.
var bad = map[string]struct {
	spoil       spoil
	part, words string
}{
	"Open is deaf to its ctx": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(context.Context) (*client, error) { return open(context.Background()) }
	}, "OpenGivesUp", "Open did not return within"},
	"Open waits for its deadline only": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			end, bounded := ctx.Deadline()
			ctx = context.WithoutCancel(ctx)
			if bounded {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, end)
				defer cancel()
			}
			return open(ctx)
		}
	}, "OpenGivesUp", "Open, cancelled, did not return within"},
	"Open returns the same twice": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		var only *client
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			if only != nil {
				return only, nil
			}
			c, err := open(ctx)
			only = c
			return c, err
		}
	}, "Open", "the same connection twice"},
	"Open leaves what it gave up": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		var extra *client
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			c, err := open(context.WithoutCancel(ctx))
			if ctx.Err() != nil {
				extra = c
				return extra, ctx.Err()
			}
			return c, err
		}
	}, "OpenGivesUp", "did not return within"},
	"Open fails": {func(s *poolstest.Subject[*client]) {
		s.Connector.Open = func(ctx context.Context) (*client, error) { return nil, errWhat }
	}, "Open", "Open: the server asks"},
	"Open panics": {func(s *poolstest.Subject[*client]) {
		s.Connector.Open = func(ctx context.Context) (*client, error) { panic("oh") }
	}, "Open", "Open panics: oh"},
	"Close does nothing": {func(s *poolstest.Subject[*client]) {
		s.Connector.Close = func(context.Context, *client) error { return nil }
	}, "Close", "have Close end it for the server too"},
	"Close panics the second time": {func(s *poolstest.Subject[*client]) {
		closed := map[*client]bool{}
		closes := s.Connector.Close
		s.Connector.Close = func(ctx context.Context, c *client) error {
			if closed[c] {
				panic("closed twice")
			}
			closed[c] = true
			return closes(ctx, c)
		}
	}, "Close", "Close panics: closed twice"},
	"Close is deaf to its ctx": {func(s *poolstest.Subject[*client]) {
		closes := s.Connector.Close
		s.Connector.Close = func(_ context.Context, c *client) error { return closes(context.Background(), c) }
	}, "CloseGivesUp", "Close did not return within"},
	"Close keeps what the server does not answer for": {func(s *poolstest.Subject[*client]) {
		s.Connector.Close = func(ctx context.Context, c *client) error {
			if _, err := c.ask(ctx, "read"); err != nil { // to be sure that all has arrived
				return err
			}
			return c.Conn.Close()
		}
	}, "CloseGivesUp", "must have closed its own end"},
	"Check does not ask": {func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(context.Context, *client) error { return nil }
	}, "Check", "have it ask the server"},
	"Check sends and does not wait": {func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(_ context.Context, c *client) error { _, err := io.WriteString(c, ""); return err }
	}, "CheckGivesUp", "have it wait for the answer"},
	"Check is deaf to its ctx": {func(s *poolstest.Subject[*client]) {
		check := s.Connector.Check
		s.Connector.Check = func(_ context.Context, c *client) error { return check(context.Background(), c) }
	}, "CheckGivesUp", "Check did not return within"},
	"Check finds the living dead": {func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(context.Context, *client) error { return errWhat }
	}, "Check", "Check of a good connection"},
	"Reset does nothing": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(context.Context, *client) error { return nil }
	}, "Reset", "nothing of the last user"},
	"Reset does not wait": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(ctx context.Context, c *client) error { _, err := io.WriteString(c, "note\n"); return err }
	}, "ResetGivesUp", "wait until it is sure"},
	"Reset fails": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(ctx context.Context, c *client) error { return errWhat }
	}, "GoodStays", "not lent again after a plain Push"},
	"Reset is deaf to its ctx": {func(s *poolstest.Subject[*client]) {
		reset := s.Connector.Reset
		s.Connector.Reset = func(_ context.Context, c *client) error { return reset(context.Background(), c) }
	}, "ResetGivesUp", "Reset did not return within"},
	"Broken is never": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(*client, error) bool { return false }
		s.Connector.Reset = nil
	}, "BrokenGoes", "have Broken return true"},
	"Broken is always": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(*client, error) bool { return true }
	}, "GoodStays", "not lent again after a plain Push"},
	"Broken is any error": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(_ *client, err error) bool { return err != nil }
	}, "GoodStays", "after an error that left it good"},
	"Broken is no timeout": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(_ *client, err error) bool {
			return err != nil && !errors.Is(err, errWhat) && !errors.Is(err, os.ErrDeadlineExceeded)
		}
		s.Connector.Reset = nil
	}, "GivenUpGoes", "the next user would read that answer"},
	"Open leaves its deadline": {func(s *poolstest.Subject[*client]) {
		s.Use = func(_ context.Context, c *client) error {
			if _, err := fmt.Fprintln(c, "read"); err != nil {
				return err
			}
			_, err := c.answers.ReadString('\n')
			return err
		}
	}, "Lasts", "have Open clear the deadlines"},
	"Open keeps its ctx": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			c, err := open(ctx)
			if err == nil {
				context.AfterFunc(ctx, func() { c.Conn.Close() }) // as exec.CommandContext does
			}
			return c, err
		}
	}, "OutlivesOpen", "have Open give it another ctx"},
	"Open keeps its ctx for later": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		of := map[*client]context.Context{}
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			c, err := open(ctx)
			of[c] = ctx
			return c, err
		}
		use := s.Use
		s.Use = func(_ context.Context, c *client) error {
			if err := of[c].Err(); err != nil {
				return err // ask might be faster than the end of its ctx
			}
			return use(of[c], c)
		}
	}, "OutlivesOpen", "have Open give it another ctx"},
	"Close hangs": {func(s *poolstest.Subject[*client]) {
		s.Connector.Close = func(context.Context, *client) error { select {} }
	}, "Open", "Close did not return"},
	"Abort only marks": {func(s *poolstest.Subject[*client]) {
		var marked atomic.Pointer[client]
		s.Connector.Abort = func(c *client) { marked.Store(c) }
		block := s.Block
		s.Block = func(c *client) error {
			if marked.Load() == c {
				return net.ErrClosed
			}
			return block(c)
		}
	}, "Abort", "Block, while Abort was called, did not return"},
	"Abort does nothing": {func(s *poolstest.Subject[*client]) {
		s.Connector.Abort = func(*client) {}
	}, "Abort", "Block, while Abort was called, did not return"},
	"Abort panics the second time": {func(s *poolstest.Subject[*client]) {
		s.Connector.Abort = func(c *client) {
			if err := c.Conn.Close(); err != nil {
				panic(err)
			}
		}
	}, "Abort", "Abort panics"},
	"Close asks for the aborted": {func(s *poolstest.Subject[*client]) {
		closes := s.Connector.Close
		s.Connector.Close = func(ctx context.Context, c *client) error {
			err := closes(ctx, c)
			if errors.Is(err, net.ErrClosed) {
				panic("already closed")
			}
			return err
		}
	}, "Abort", "Close panics: already closed"},
	"Kill that does nothing": {func(s *poolstest.Subject[*client]) {
		s.Kill = func(*client) {}
	}, "CloseOfADeadOne", "Use returns no error for a connection after Kill"},
	"no Use": {func(s *poolstest.Subject[*client]) { s.Use = nil }, "Open", "the Subject needs"},

	// Useless but alive.
	"nobody knows what is of no use": {func(s *poolstest.Subject[*client]) {
		broken, check := s.Connector.Broken, s.Connector.Check
		s.Connector.Broken = func(c *client, err error) bool { return broken(c, err) && !errors.Is(err, errUseless) }
		s.Connector.Check = func(ctx context.Context, c *client) error { // any answer will do
			if err := check(ctx, c); !errors.Is(err, errUseless) {
				return err
			}
			return nil
		}
		s.Connector.Reset = nil // its error would say it
	}, "UselessGoes", "is still lent after 7 uses on end have failed (the server is of no use)"},
	"what is of no use is Broken's business, which has none": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(*client, error) bool { return false }
		s.Connector.Check, s.Connector.Reset = nil, nil
	}, "UselessGoes", "have Broken return true for that error"},
	"Useless that does nothing": {func(s *poolstest.Subject[*client]) {
		s.Useless = func(context.Context, *client) error { return nil }
	}, "UselessGoes", "Use returns no error for a connection after Useless"},
	"Useless that fails": {func(s *poolstest.Subject[*client]) {
		s.Useless = asks("nonsense")
	}, "UselessGoes", "Useless: the server asks: what?"},
	"Broken is always, and of what is of no use": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(*client, error) bool { return true }
	}, "UselessGoes", "a good connection is not lent again after a plain Push, so that nothing can be shown"},

	// Closed while idle.
	"Check knows what the last use knew": {func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(_ context.Context, c *client) error { return c.failed }
	}, "ClosedWhileIdle", "the server closed while it was idle"},
	"Kill that does nothing to an idle one": {func(s *poolstest.Subject[*client]) {
		s.Kill = func(*client) {}
	}, "ClosedWhileIdle", "Use returns no error for a connection after Kill"},

	// Peek.
	"Peek asks the server": {func(s *poolstest.Subject[*client]) {
		check := s.Connector.Check
		s.Connector.Peek = func(c *client) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return check(ctx, c)
		}
	}, "Peek", "have it return nil for what it cannot know without a round trip"},
	"Peek is never content": {func(s *poolstest.Subject[*client]) {
		s.Connector.Peek = func(*client) error { return errWhat }
	}, "Peek", "Peek of a good connection"},
	"Peek panics when the server has gone": {func(s *poolstest.Subject[*client]) {
		s.Connector.Peek = func(c *client) error {
			if c.failed != nil {
				panic(c.failed)
			}
			return nil
		}
	}, "Peek", "Peek panics"},
	"Unfinished is always": {func(s *poolstest.Subject[*client]) {
		s.Connector.Unfinished = func(*client) error { return errBegun }
	}, "GoodStays", "a use that left nothing open is told as one that did"},
	"Unfinished quotes the password": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(_ *client, err error) bool { return err != nil && !errors.Is(err, errWhat) }
		s.Connector.Unfinished = func(c *client) error {
			if c.begun {
				return fmt.Errorf("%s: %w", password, errBegun)
			}
			return nil
		}
	}, "LeftOpenIsTold", "an error of Unfinished, or one that it wraps, contains Subject.Secrets[0]"},

	// Secrets.
	"Open quotes the password": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error { return fmt.Errorf("login with %s: %w", password, err) })
	}, "OpenFails", `an error of Open with a wrong password, or one that it wraps, contains Subject.Secrets[0]: login with [the secret]: the server says no;`},
	"Open quotes it in a URL": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error {
			return fmt.Errorf("%s: %w", &url.URL{Scheme: "notes", User: url.UserPassword("app", password), Host: "notes"}, err)
		})
	}, "OpenFails", "notes://app:[the secret]@notes"},
	"Open quotes it in a query": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error {
			return fmt.Errorf("notes:?%s: %w", url.Values{"password": {password}}.Encode(), err)
		})
	}, "OpenFails", "notes:?password=[the secret]:"},
	"Open wraps what quotes it": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error { return &wrapping{"login", errors.Join(err, errors.New(password))} })
	}, "OpenFails", "contains Subject.Secrets[0]"},
	"Open wraps, beside others, what quotes it": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error { return &wrappings{wrapping{"login", nil}, []error{err, errors.New(password)}} })
	}, "OpenFails", "contains Subject.Secrets[0]"},
	"Open quotes it for who asks in detail": {func(s *poolstest.Subject[*client]) {
		complains(s, func(err error) error { return &detailed{err} })
	}, "OpenFails", "contains Subject.Secrets[0]"},
	"Open quotes it when it has no time": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			c, err := open(ctx)
			if ctx.Err() != nil {
				err = fmt.Errorf("%s, %s: %w", visitor, password, ctx.Err())
			}
			return c, err
		}
	}, "Secrets", "an error of Open, or one that it wraps, contains Subject.Secrets[0]: [the secret], [the secret]:"},
	"Check quotes it": {quotes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Check }),
		"Secrets", "an error of Check, or one"},
	"Reset quotes it": {quotes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Reset }),
		"Secrets", "an error of Reset, or one"},
	"Close quotes it": {quotes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close }),
		"Secrets", "an error of Close, or one"},
	"Close quotes it whenever it fails": {quotes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close }),
		"CloseGivesUp", "an error of Close, or one"},
	"a secret of three bytes": {func(s *poolstest.Subject[*client]) {
		s.Secrets = append(s.Secrets, "abc")
	}, "Secrets", "Subject.Secrets[2] has 3 bytes"},
	"Open does not log in": {func(s *poolstest.Subject[*client]) {
		c := s.Failing["a wrong password"]
		login := c.Open
		c.Open = func(ctx context.Context) (*client, error) {
			c, err := login(ctx)
			if errors.Is(err, errNo) {
				return s.Connector.Open(ctx)
			}
			return c, err
		}
		s.Failing["a wrong password"] = c
	}, "OpenFails", "Open with a wrong password returned a connection; have it log in"},
	"Open keeps what it refuses": {func(s *poolstest.Subject[*client]) {
		c := s.Failing["a wrong password"]
		login := c.Open
		c.Open = func(ctx context.Context) (*client, error) {
			if _, err := s.Connector.Open(ctx); err != nil {
				return nil, err
			}
			return login(ctx)
		}
		s.Failing["a wrong password"] = c
	}, "OpenFails", "an Open that fails must close what it has begun"},
	"Failing without an Open": {func(s *poolstest.Subject[*client]) {
		s.Failing["nothing"] = pools.Connector[*client]{}
	}, "OpenFails", `Subject.Failing["nothing"] has no Open`},

	// What was left open.
	"what is left open stays open": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = nil
		s.Connector.Reset = asks("note")
	}, "LeftOpen", "a user's work is lost"},
	"without a Reset what is left open stays open": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken, s.Connector.Reset = nil, nil
	}, "LeftOpen", "a user's work is lost"},
	"what is left open is carried out": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = nil
		s.Connector.Reset = asks("commit")
	}, "LeftOpen", "what a user left open was carried out"},
	"what is left open is undone in silence": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = nil
	}, "LeftOpenIsTold", "nobody was told"},
	"what is left open fails the next user": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = nil
		s.Connector.Reset = asks("note")
		write := s.Write
		s.Write = func(ctx context.Context, c *client) error {
			if c.begun {
				return errBegun
			}
			return write(ctx, c)
		}
	}, "LeftOpen", "Write of the user after one that left work open: work was left open"},
	"Broken is always, and of what was left open": {func(s *poolstest.Subject[*client]) {
		s.Connector.Broken = func(*client, error) bool { return true }
	}, "LeftOpenIsTold", "a good connection is not lent again after a plain Push, so that nothing can be shown"},
	"Begin that fails": {func(s *poolstest.Subject[*client]) {
		s.Begin = asks("nonsense")
	}, "LeftOpen", "Begin: the server asks: what?"},
	"Written counts nothing": {func(s *poolstest.Subject[*client]) {
		s.Written = func() int { return 0 }
	}, "LeftOpen", "Written says 0 after Write"},
	"Begin that ends what it began": {func(s *poolstest.Subject[*client]) {
		s.Begin = asks("begin", "write", "commit")
	}, "LeftOpen", "Begin has ended what it began"},
	"Begin that begins nothing": {func(s *poolstest.Subject[*client]) {
		s.Begin = func(context.Context, *client) error { return errBegun }
	}, "LeftOpenIsTold", "Begin: work was left open"},

	// Refused cleaning.
	"Reset is refused, but Dirty hides it": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = asks("nonsense")
		s.Connector.Dirty = func(*client) bool { return false }
	}, "ResetKeeps", "Reset of a good connection that needs none: the server asks: what?"},
	"Reset is refused when there is something to clean": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(ctx context.Context, c *client) error {
			if answer, err := c.ask(ctx, "read"); err != nil || answer != "note:" {
				return errors.Join(err, errNo)
			}
			return nil
		}
	}, "ResetKeeps", "each use costs a connection"},
	"Dirty that fails": {func(s *poolstest.Subject[*client]) {
		s.Dirty = asks("nonsense")
	}, "ResetKeeps", "Dirty: the server asks: what?"},
	"Open does not clean, and Reset is refused": {func(s *poolstest.Subject[*client]) {
		c := s.Failing["a login that may not clean"]
		open := s.Connector.Open
		c.Open = func(ctx context.Context) (*client, error) {
			c, err := open(ctx)
			if err == nil {
				err = asks("login "+visitor)(ctx, c)
			}
			return c, err
		}
		s.Failing["a login that may not clean"] = c
	}, "OpenFails", "Open with a login that may not clean returned a connection, whose Reset then fails (the server asks: what?)"},

	// A ctx that had ended before.
	"Open takes no time for a minute": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			ctx, cancel := generous(ctx)
			defer cancel()
			return open(ctx)
		}
	}, "OpenAfterItsCtx", "Open to a server that does not answer, with a ctx whose deadline had passed before the call, did not return within"},
	"Open does not look at its ctx when all is well": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return open(ctx)
		}
	}, "OpenAfterItsCtx", "Open, with a ctx that was cancelled before the call, returned a connection"},
	"Open looks at its ctx too late": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			if ctx.Err() != nil {
				_, _ = open(context.WithoutCancel(ctx))
				return nil, ctx.Err()
			}
			return open(ctx)
		}
		s.Silence = nil
	}, "OpenAfterItsCtx", "an Open whose ctx had ended must leave nothing open"},
	"Check takes no time for a minute": {hurried(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Check }),
		"CheckAfterItsCtx", "Check, with a ctx whose deadline had passed before the call, did not return within"},
	"Reset takes no time for a minute": {hurried(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Reset }),
		"ResetAfterItsCtx", "Reset for a server that does not answer, with a ctx whose deadline had passed before the call, did not return within"},
	"Close takes no time for a minute": {hurried(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close }),
		"CloseAfterItsCtx", "Close for a server that does not answer, with a ctx whose deadline had passed before the call, did not return within"},
	"Check without time believes": {believes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Check }),
		"CheckAfterItsCtx", "Check, with a ctx that was cancelled before the call, returned nil for a server that does not answer"},
	"Check without time believes, and nothing can fall silent": {func(s *poolstest.Subject[*client]) {
		believes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Check })(s)
		s.Silence = nil
	}, "CheckAfterItsCtx", "Check, with a ctx that was cancelled before the call, returned nil for a connection that the server has ended"},
	"Reset without time believes": {believes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Reset }),
		"ResetAfterItsCtx", "Reset, with a ctx that was cancelled before the call, returned nil, and then: the note is"},
	"Dirty that fails before a Reset without time": {func(s *poolstest.Subject[*client]) {
		s.Dirty = asks("nonsense")
	}, "ResetAfterItsCtx", "Dirty: the server asks: what?"},
	"Close without time does nothing": {believes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close }),
		"CloseAfterItsCtx", "must close its own end all the same"},
	"Close without time does nothing, and nobody counts": {func(s *poolstest.Subject[*client]) {
		believes(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close })(s)
		s.IsOpen = nil
	}, "CloseAfterItsCtx", "has left a connection that still works"},

	// A stopped process.
	"Open waits for the kernel only": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) {
			c, err := open(ctx)
			if ctx.Err() != nil { // something is there: the kernel has accepted
				conn, _ := net.Pipe()
				return &client{Conn: conn, answers: bufio.NewReader(conn)}, nil
			}
			return c, err
		}
	}, "Stopped", "have it wait for the server's first answer: the kernel accepts"},
	"Check waits for the kernel only": {func(s *poolstest.Subject[*client]) {
		s.Connector.Check = func(_ context.Context, c *client) error { _, err := io.WriteString(c, "read\n"); return err }
	}, "Stopped", "Check returned nil for a server whose process is stopped"},
	"Reset waits for the kernel only": {func(s *poolstest.Subject[*client]) {
		s.Connector.Reset = func(_ context.Context, c *client) error { _, err := io.WriteString(c, "note\n"); return err }
	}, "Stopped", "Reset, with the server's process stopped, returned nil, and then: the note is"},
	"Open is deaf to its ctx when the process is stopped": {func(s *poolstest.Subject[*client]) {
		open := s.Connector.Open
		s.Connector.Open = func(ctx context.Context) (*client, error) { return open(context.WithoutCancel(ctx)) }
	}, "Stopped", "Open, with the server's process stopped, did not return within"},
	"Check is deaf when the process is stopped": {deaf(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Check }),
		"Stopped", "Check, with the server's process stopped, did not return within"},
	"Reset is deaf when the process is stopped": {deaf(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Reset }),
		"Stopped", "Reset, with the server's process stopped, did not return within"},
	"Close is deaf when the process is stopped": {deaf(func(c *pools.Connector[*client]) *func(context.Context, *client) error { return &c.Close }),
		"Stopped", "Close, with the server's process stopped, did not return within"},
	"Close keeps what a stopped process does not answer for": {func(s *poolstest.Subject[*client]) {
		s.Connector.Close = func(ctx context.Context, c *client) error {
			if _, err := c.ask(ctx, "read"); err != nil {
				return err
			}
			return c.Conn.Close()
		}
	}, "Stopped", "all were closed or given up while the server's process was stopped"},
}

// field is one of the connector's functions that take a ctx.
type field func(c *pools.Connector[*client]) *func(context.Context, *client) error

// complains changes the errors of all Opens.
func complains(s *poolstest.Subject[*client], what func(err error) error) {
	change := func(c pools.Connector[*client]) pools.Connector[*client] {
		open := c.Open
		c.Open = func(ctx context.Context) (*client, error) {
			client, err := open(ctx)
			if err != nil {
				err = what(err)
			}
			return client, err
		}
		return c
	}
	s.Connector = change(s.Connector)
	for name, c := range s.Failing {
		s.Failing[name] = change(c)
	}
}

// wrapping is an error that does not say what it wraps.
type wrapping struct {
	text string
	err  error
}

func (w *wrapping) Error() string { return w.text }
func (w *wrapping) Unwrap() error { return w.err }

// wrappings is one that wraps several.
type wrappings struct {
	wrapping
	all []error
}

func (w *wrappings) Unwrap() []error { return w.all }

// detailed is an error that says more when it is printed with %+v.
type detailed struct{ error }

func (d *detailed) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, d.Error())
	if f.Flag('+') {
		fmt.Fprint(f, " with ", password)
	}
}

// quotes has the password in each error of a function.
func quotes(f field) spoil {
	return func(s *poolstest.Subject[*client]) {
		call := *f(&s.Connector)
		*f(&s.Connector) = func(ctx context.Context, c *client) error {
			if err := call(ctx, c); err != nil {
				return fmt.Errorf("%q: %w", password, err)
			}
			return nil
		}
	}
}

// generous takes a deadline that has passed for none, as happens with
// time.Until where 0 and less mean no limit.
func generous(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, bounded := ctx.Deadline(); bounded && time.Until(end) > 0 {
		return context.WithDeadline(ctx, end)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
}

func hurried(f field) spoil {
	return func(s *poolstest.Subject[*client]) {
		call := *f(&s.Connector)
		*f(&s.Connector) = func(ctx context.Context, c *client) error {
			ctx, cancel := generous(ctx)
			defer cancel()
			return call(ctx, c)
		}
	}
}

// believes has a function return nil when its ctx has ended before.
func believes(f field) spoil {
	return func(s *poolstest.Subject[*client]) {
		call := *f(&s.Connector)
		*f(&s.Connector) = func(ctx context.Context, c *client) error {
			if ctx.Err() != nil {
				return nil
			}
			return call(ctx, c)
		}
	}
}

func deaf(f field) spoil {
	return func(s *poolstest.Subject[*client]) {
		call := *f(&s.Connector)
		*f(&s.Connector) = func(ctx context.Context, c *client) error { return call(context.WithoutCancel(ctx), c) }
	}
}

// The suite finds everything that can be wrong. It runs in a process of its
// own for each, since it fails.
func TestBadConnectors(t *testing.T) {
	const which = "POOLSTEST_BAD_CONNECTOR"
	if name := os.Getenv(which); name != "" {
		poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[*client] {
			subject := good(startNotes(t))
			bad[name].spoil(&subject)
			return subject
		})
		return
	}
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bad[name]
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBadConnectors$/^"+b.part+"$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), which+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBadConnectors/"+b.part+" ") || !strings.Contains(string(out), b.words) {
				t.Errorf("%s must fail with %q; it says:\n%s", b.part, b.words, out)
			}
		})
	}
}
