package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// The end of a transaction is believed only when Redis has not refused it.
func TestWhatIsLeft(t *testing.T) {
	for commands, want := range map[string]state{
		"GET, SET, EVAL":                  0,
		"MULTI, SET":                      multi,
		"MULTI, SET, EXEC":                0,
		"MULTI, EXEC refused":             multi,
		"multi, set, discard":             0,
		"WATCH, MULTI, EXEC":              0,
		"WATCH, GET":                      watches,
		"Watch, unwatch":                  0,
		"MULTI, UNWATCH":                  multi,
		"SELECT, MULTI, EXEC":             other,
		"CLIENT:setname":                  other,
		"CLIENT:id, SCRIPT:load":          0,
		"CLIENT:tracking, CLIENT:reply":   other,
		"CLIENT:unblock, CLIENT:list":     0,
		"CLIENT:no-evict":                 lasting,
		"CLIENT:setinfo":                  lasting,
		"CLIENT:capa":                     lasting,
		"CLIENT:of a later Redis":         lasting,
		"SCRIPT:debug":                    lasting,
		"SUBSCRIBE, UNSUBSCRIBE":          other,
		"WATCH, MULTI, EXEC, WATCH":       watches,
		" select ":                        other,
		"SELECT, UNWATCH, WATCH, MONITOR": other | watches,
	} {
		c := new(Conn)
		for command := range strings.SplitSeq(commands, ", ") {
			command, refused := strings.CutSuffix(command, " refused")
			name, argument, _ := strings.Cut(command, ":")
			_, _ = c.do(name, []any{[]byte(argument)}, func() (any, error) {
				if refused {
					return nil, redis.Error("ERR")
				}
				return "OK", nil
			})
		}
		if got := c.left.Load(); got != want {
			t.Errorf("%s: %04b is left, want %04b", commands, got, want)
		}
	}
}

// reading tells when somebody is about to read.
type reading struct {
	net.Conn
	begins chan struct{}
}

func (r reading) Read(b []byte) (int, error) {
	select {
	case r.begins <- struct{}{}:
	default:
	}
	return r.Conn.Read(b)
}

// silent is a connection to a server that takes what comes, and says nothing
// before it is told to.
func silent(t *testing.T) (c *Conn, server net.Conn, begins chan struct{}) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	network := reading{client, make(chan struct{}, 1)}
	return &Conn{conn: redis.NewConn(network, 0, 0), network: network, abort: func(n net.Conn) { n.Close() }}, server, network.begins
}

// A goroutine that outlives its use, and is in a call, would take the answer
// of the next user: the connection goes, and nothing is read beside it.
func TestStillInACall(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, c *Conn) (any, error){
		"Receive":            func(_ context.Context, c *Conn) (any, error) { return c.Receive() },
		"ReceiveContext":     func(ctx context.Context, c *Conn) (any, error) { return c.ReceiveContext(ctx) },
		"ReceiveWithTimeout": func(_ context.Context, c *Conn) (any, error) { return c.ReceiveWithTimeout(time.Minute) },
		"Do":                 func(_ context.Context, c *Conn) (any, error) { return c.Do("PING") },
		"DoContext":          func(ctx context.Context, c *Conn) (any, error) { return c.DoContext(ctx, "PING") },
		"DoWithTimeout":      func(_ context.Context, c *Conn) (any, error) { return c.DoWithTimeout(time.Minute, "PING") },
	} {
		t.Run(name, func(t *testing.T) {
			c, server, begins := silent(t)
			connector := New(Options{})
			if connector.Broken(c, nil) {
				t.Error("it goes though nobody is in a call")
			}
			ended := make(chan error, 1)
			go func() { _, err := call(t.Context(), c); ended <- err }()
			if strings.HasPrefix(name, "Do") {
				if _, err := server.Read(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			}
			<-begins
			if !connector.Broken(c, nil) {
				t.Fatal("it is lent again though somebody is in a call")
			}
			if err := connector.Reset(t.Context(), c); !errors.Is(err, errInUse) {
				t.Errorf("Reset: %v", err)
			}
			if _, err := fmt.Fprint(server, "+PONG\r\n"); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Errorf("the call: %v", err)
			}
		})
	}
}

// The same when the call begins during Reset.
func TestCallDuringReset(t *testing.T) {
	c, server, begins := silent(t)
	reset := make(chan error, 1)
	go func() { reset <- New(Options{}).Reset(t.Context(), c) }()
	mine := asked(t, server)
	<-begins
	for range 2 {
		if answer, err := c.Receive(); !errors.Is(err, errResetting) {
			t.Errorf("the last user got %v, %v", answer, err)
		}
	}
	if _, err := fmt.Fprintf(server, "+RESET\r\n$%d\r\n%s\r\n", len(mine), mine); err != nil {
		t.Error(err)
	}
	if err := <-reset; !errors.Is(err, errInUse) {
		t.Errorf("Reset: %v", err)
	}
}

// asked reads what came in one piece, and returns its last word.
func asked(t *testing.T, server net.Conn) string {
	b := make([]byte, 1000)
	n, err := server.Read(b)
	words := strings.Fields(string(b[:n]))
	if err != nil || len(words) == 0 {
		t.Fatalf("%q, %v", b[:n], err)
	}
	return words[len(words)-1]
}

// An answer of another's is found out, and everything before RESET's is not
// one.
func TestAnswersOfOthers(t *testing.T) {
	login := Options{Password: "secret", Name: "proof", Database: 1}
	reset := func(o Options) func(ctx context.Context, c *Conn) error { return New(o).Reset }
	for _, test := range []struct {
		name    string
		do      func(ctx context.Context, c *Conn) error
		answers string
		want    string // of the error
	}{
		{"Reset", reset(Options{}), "+RESET mine", ""},
		{"Reset with a login", reset(login), "+RESET +OK +OK +OK mine", ""},
		{"Reset after news", reset(login), "*1 $4 news +OK +RESET +OK +OK +OK mine", ""},
		{"Reset after another's RESET", reset(Options{}), "+RESET +RESET mine", `PING: redisconn: the answer is "RESET"`},
		{"Reset with a login after another's RESET", reset(login), "+RESET +RESET +OK +OK +OK mine", `AUTH: redisconn: the answer is "RESET", and not "OK": it belongs to another command`},
		{"Reset after a text of another's", reset(Options{}), "+RESET $6 theirs mine", `PING: redisconn: the answer is "theirs"`},
		{"Reset refused", reset(Options{}), "-ERR mine", "RESET: ERR"},
		{"AUTH refused", reset(login), "+RESET -WRONGPASS +OK +OK mine", "AUTH: WRONGPASS"},
		{"Check", New(Options{}).Check, "+PONG", ""},
		{"Check with another's answer", New(Options{}).Check, "+OK", `the answer is "OK", and not "PONG"`},
		{"Open", func(ctx context.Context, c *Conn) error { return login.greet(ctx, c, []any{"AUTH", "x"}, false) }, "+OK +OK +OK +PONG", ""},
		{"Open with another's answer", func(ctx context.Context, c *Conn) error { return login.greet(ctx, c, []any{"AUTH", "x"}, false) }, "+OK +OK +QUEUED +PONG", `SELECT: redisconn: the answer is "QUEUED"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, server, _ := silent(t)
			done := make(chan error, 1)
			go func() { done <- test.do(t.Context(), c) }()
			last := asked(t, server)
			answers := strings.ReplaceAll(test.answers, "mine", fmt.Sprintf("$%d %s", len(last), last))
			if _, err := fmt.Fprint(server, strings.ReplaceAll(answers, " ", "\r\n")+"\r\n"); err != nil {
				t.Fatal(err)
			}
			err := <-done
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func BenchmarkNote(b *testing.B) {
	c, args := new(Conn), []any{"key"}
	for b.Loop() {
		c.note("GET", args)
	}
}
