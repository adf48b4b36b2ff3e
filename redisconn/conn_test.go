package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
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
		"CLIENT:tracking, CLIENT:reply":   other | replies,
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
	doubted := func(ctx context.Context, c *Conn) error {
		c.roles = new(roles)
		c.roles.lose()
		return New(Options{}).Check(ctx, c)
	}
	for _, test := range []struct {
		name    string
		do      func(ctx context.Context, c *Conn) error
		answers string
		want    string // of the error
	}{
		{"Reset", reset(Options{}), "+RESET mine", ""},
		{"Reset with a login", reset(login), "+RESET +OK +OK +OK mine", ""},
		{"Reset after news", reset(login), "*1 $4 news +OK +RESET +OK +OK +OK mine", ""},
		{"Reset after another's RESET", reset(Options{}), "+RESET +RESET mine", "redisconn: PING was not answered with "},
		{"Reset with a login after another's RESET", reset(login), "+RESET +RESET +OK +OK +OK mine", "redisconn: AUTH was not answered with OK: the answer belongs to another command"},
		{"Reset after a text of another's", reset(Options{}), "+RESET $6 theirs mine", "redisconn: PING was not answered with "},
		{"Reset refused", reset(Options{}), "-ERR mine", "RESET: ERR"},
		{"Reset refused by name", reset(Options{}), "-ERR\tunknown\tcommand\t'theirs' mine", "RESET: ERR unknown command"},
		{"Reset, and a script's own error", reset(Options{}), "-THEIRS mine", "redisconn: RESET: refused"},
		{"Reset of one who may not PING", reset(login), "+RESET +OK +OK +OK -NOPERM\ttheirs", ""},
		{"Reset while a script runs", reset(Options{}), "+RESET -BUSY\tRedis\tis\tbusy", ""},
		{"Reset after another's RESET of one who may not PING", reset(Options{}), "+RESET +RESET -NOPERM\ttheirs", "PING was not answered with"},
		{"Check of one who may not PING", New(Options{}).Check, "-NOPERM\ttheirs", ""},
		{"Check while a script runs", New(Options{}).Check, "-BUSY\tRedis\tis\tbusy", ""},
		{"Check while the server loads", New(Options{}).Check, "-LOADING\ttheirs", "PING: LOADING"},
		{"Check with another's error", New(Options{}).Check, "-BUSYGROUP\ttheirs", "PING: refused"},
		{"AUTH refused", reset(login), "+RESET -WRONGPASS +OK +OK mine", "AUTH: WRONGPASS"},
		{"Check", New(Options{}).Check, "+PONG", ""},
		{"Check with another's answer", New(Options{}).Check, "+OK", "redisconn: PING was not answered with PONG"},
		{"Check with what is no answer at all", New(Options{}).Check, "?theirs", "unexpected response line"},
		{"Check after a failover", doubted, "*2 $4 role $6 master", ""},
		{"Check after a failover with another's answer", doubted, "$6 theirs", "does not tell its role"},
		{"Check after a failover with another's list", doubted, "*2 $4 role $6 theirs", "is a replica"},
		{"Check after a failover with another's error", doubted, "-ERR\ttheirs", "does not tell its role"},
		{"Open", func(ctx context.Context, c *Conn) error { return login.greet(ctx, c, []any{"AUTH", "x"}, false, false) }, "+OK +OK +OK +PONG", ""},
		{"Open with another's answer", func(ctx context.Context, c *Conn) error { return login.greet(ctx, c, []any{"AUTH", "x"}, false, false) }, "+OK +OK +QUEUED +PONG", "redisconn: SELECT was not answered with OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, server, _ := silent(t)
			done := make(chan error, 1)
			go func() { done <- test.do(t.Context(), c) }()
			last := asked(t, server)
			answers := strings.ReplaceAll(test.answers, "mine", fmt.Sprintf("$%d %s", len(last), last))
			if _, err := fmt.Fprint(server, strings.ReplaceAll(strings.ReplaceAll(answers, " ", "\r\n"), "\t", " ")+"\r\n"); err != nil {
				t.Fatal(err)
			}
			err := <-done
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(strings.ToLower(fmt.Sprintf("%v %#v %v", err, err, errors.Unwrap(err))), "theirs") {
				t.Errorf("%v has the answer to another command", err)
			}
		})
	}
}

// The Dialer of the options dials, with TLS and without.
func TestDialer(t *testing.T) {
	called := errors.New("called")
	dialer := &net.Dialer{Control: func(string, string, syscall.RawConn) error { return called }}
	for _, config := range []*tls.Config{nil, {ServerName: "redis"}} {
		_, err := New(Options{Address: "127.0.0.1:1", TLS: config, Dialer: dialer}).Open(t.Context())
		if !errors.Is(err, called) {
			t.Errorf("with TLS %v: %v", config != nil, err)
		}
	}
}

// READONLY is heard wherever it is, and nothing else is taken for it.
func TestHeard(t *testing.T) {
	const readonly = redis.Error("READONLY You can't write against a read only replica.")
	for _, test := range []struct {
		name          string
		answer        any
		err           error
		goes, replica bool // that it goes, and without Options.Replica only
	}{
		{"an error", nil, readonly, true, true},
		{"in EXEC", []any{"OK", readonly}, nil, true, true},
		{"in a script's table", []any{int64(1), []any{readonly}}, nil, true, true},
		{"in an aborted transaction", nil, redis.Error("EXECABORT Transaction discarded because of: " + readonly), true, true},
		{"in a script before 7.0", nil, redis.Error("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -" + readonly), true, true},
		{"a replica without its primary", nil, redis.Error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), true, true},
		{"a blocked one, unblocked by a failover", nil, redis.Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"), true, false},
		{"no login", nil, redis.Error("NOAUTH Authentication required."), true, false},
		{"CLIENT UNBLOCK", nil, redis.Error("UNBLOCKED client unblocked via CLIENT UNBLOCK"), false, false},
		{"a text", []byte(readonly), nil, false, false},
		{"texts", []any{[]byte(readonly), string(readonly)}, nil, false, false},
		{"an aborted transaction", nil, redis.Error("EXECABORT Transaction discarded because of previous errors."), false, false},
		{"any other", nil, redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value"), false, false},
		{"an error of the network", nil, errors.New("READONLY"), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, replica := range []bool{false, true} {
				c, sibling := new(Conn), new(Conn)
				c.conn = redis.NewConn(nil, 0, 0)
				c.roles = &roles{replica: replica}
				sibling.roles = c.roles
				_, _ = c.do("EXEC", nil, func() (any, error) { return test.answer, test.err })
				if goes, want := New(Options{}).Broken(c, nil), test.goes && !(replica && test.replica); goes != want {
					t.Errorf("Replica %v: it goes: %v", replica, goes)
				}
				demoted := test.goes && test.name != "no login" && !replica
				if sibling.doubted() != demoted || c.roles.wary() != demoted {
					t.Errorf("Replica %v: others are doubted: %v, Open is wary: %v", replica, sibling.doubted(), c.roles.wary())
				}
			}
		})
	}
}

// The answers of a pipeline that Do receives are all looked at.
func TestHeardInPipelines(t *testing.T) {
	c, server, _ := silent(t)
	c.roles = new(roles)
	go func() {
		b := make([]byte, 1000)
		_, _ = server.Read(b)
		fmt.Fprint(server, "-ERR first\r\n-READONLY You can't write against a read only replica.\r\n+OK\r\n")
	}()
	if err := errors.Join(c.Send("NONSENSE"), c.Send("SET", "x", 1)); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do("PING")
	if answer != "OK" || err == nil || err.Error() != "ERR first" {
		t.Errorf("%v, %v", answer, err)
	}
	if !New(Options{}).Broken(c, nil) {
		t.Error("READONLY was not heard")
	}
}

// An open is given up for 30 s only where the next one would fare no better.
func TestLasts(t *testing.T) {
	for text, want := range map[string][2]bool{ // without Credentials, with
		"WRONGPASS invalid username-password pair or user is disabled.":   {true, false},
		"NOAUTH Authentication required.":                                 {true, false},
		"NOPERM this user has no permissions to run the 'select' command": {true, false},
		"ERR DB index is out of range":                                    {true, true},
		"ERR max number of clients reached":                               {false, false},
		"LOADING Redis is loading the dataset in memory":                  {false, false},
		"BUSY Redis is busy running a script.":                            {false, false},
		"ERR unknown command 'AUTH', with args beginning with: 'secret'":  {false, false},
		"CLUSTERDOWN The cluster is down":                                 {false, false},
		"MASTERDOWN Link with MASTER is down":                             {false, false},
	} {
		for i, asks := range []bool{false, true} {
			err := expect("AUTH", "OK", nil, redis.Error(text))
			if permanent := fmt.Sprintf("%T", lasts(err, asks)) != fmt.Sprintf("%T", err); permanent != want[i] {
				t.Errorf("%s: permanent: %v", text, permanent)
			}
			if strings.Contains(fmt.Sprintf("%v %#v", err, err), "secret") {
				t.Errorf("%v", err)
			}
		}
	}
}

func BenchmarkNote(b *testing.B) {
	c, args := new(Conn), []any{"key"}
	for b.Loop() {
		c.note("GET", args)
	}
}
