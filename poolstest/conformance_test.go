package poolstest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
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
	"github.com/utopia-go/pools/poolstest"
)

// notes is a server that keeps a note for each connection, and a client of it.
type notes struct {
	network *poolstest.Network
	mu      sync.Mutex
	open    map[string]net.Conn // by the client's number
	opened  int
}

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

func (s *notes) serve(conn net.Conn) {
	defer conn.Close()
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
	note := ""
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch command, text, _ := strings.Cut(lines.Text(), " "); command {
		case "note":
			note = text
			fmt.Fprintln(conn, "noted")
		case "read":
			fmt.Fprintln(conn, "note:"+note)
		case "block":
		case "bye":
			return
		default:
			fmt.Fprintln(conn, "what?")
		}
	}
}

func (s *notes) isOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

type client struct {
	net.Conn
	answers *bufio.Reader
	number  string
}

var errWhat = errors.New("the server asks: what?")

// ask sends a command and returns the answer. It gives up when ctx ends.
func (c *client) ask(ctx context.Context, command string) (string, error) {
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if command != "" {
		if _, err := fmt.Fprintln(c, command); err != nil {
			return "", err
		}
	}
	answer, err := c.answers.ReadString('\n')
	if err == nil && answer == "what?\n" {
		err = errWhat
	}
	return strings.TrimSpace(answer), err
}

// good is a connector with nothing wrong, and all that the suite may use.
func good(s *notes) poolstest.Subject[*client] {
	return poolstest.Subject[*client]{
		Connector: pools.Connector[*client]{
			Open: func(ctx context.Context) (*client, error) {
				conn, err := s.network.DialContext(ctx, "", "notes")
				if err != nil {
					return nil, err
				}
				c := &client{Conn: conn, answers: bufio.NewReader(conn)}
				if c.number, err = c.ask(ctx, ""); err != nil {
					conn.Close()
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
			Check:  func(ctx context.Context, c *client) error { _, err := c.ask(ctx, "read"); return err },
			Reset:  func(ctx context.Context, c *client) error { _, err := c.ask(ctx, "note"); return err },
			Broken: func(c *client, err error) bool { return err != nil && !errors.Is(err, errWhat) },
			Abort:  func(c *client) { c.Conn.Close() },
		},
		Use: func(ctx context.Context, c *client) error { _, err := c.ask(ctx, "read"); return err },
		Kill: func(c *client) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if conn := s.open[c.number]; conn != nil {
				conn.Close()
			}
		},
		IsOpen:  s.isOpen,
		Silence: func() func() { s.network.Stall(); return s.network.Resume },
		Dirty:   func(ctx context.Context, c *client) error { _, err := c.ask(ctx, "note secret"); return err },
		Clean: func(ctx context.Context, c *client) error {
			if answer, err := c.ask(ctx, "read"); err != nil || answer != "note:" {
				return fmt.Errorf("the note is %q, %v", answer, err)
			}
			return nil
		},
		Refused: func(ctx context.Context, c *client) error { _, err := c.ask(ctx, "nonsense"); return err },
		Block:   func(c *client) error { _, err := c.ask(context.Background(), "block"); return err },
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

// Nor does a Reset have to ask the server.
func TestResetWithoutServer(t *testing.T) {
	poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[*client] {
		s := good(startNotes(t))
		s.Connector.Reset = func(_ context.Context, c *client) error { return c.SetDeadline(time.Time{}) }
		s.Dirty, s.Clean = nil, nil
		return s
	})
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
	}, "CloseOfADeadOne", "Use returns no error for a connection that Kill has ended"},
	"no Use": {func(s *poolstest.Subject[*client]) { s.Use = nil }, "Open", "the Subject needs"},
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
