package connectors

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/redisconn"
)

// redisAdmin asks a Redis by a connection beside the pool's.
func redisAdmin(t *testing.T, e *engine.Engine, command string, args ...any) any {
	t.Helper()
	conn, err := redis.DialContext(t.Context(), "tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := conn.Do(command, args...)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return answer
}

// service is one address before several servers: new connections go to the
// present one, and those of before stay where they are.
type service struct {
	net.Listener
	to    atomic.Pointer[string]
	links sync.WaitGroup
}

// inFront makes the one address of several servers.
func inFront(t *testing.T, e *engine.Engine) *service {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{Listener: listener}
	s.to.Store(&e.Address)
	s.links.Go(func() {
		for {
			client, err := s.Accept()
			if err != nil {
				return
			}
			s.links.Go(func() { s.pass(client) })
		}
	})
	t.Cleanup(func() { listener.Close(); s.links.Wait() })
	return s
}

func (s *service) pass(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", *s.to.Load(), time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{server, client}, {client, server}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// follows waits until a Redis replicates another.
func follows(t *testing.T, replica, primary *engine.Engine) {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Address)
	redisAdmin(t, replica, "REPLICAOF", host, port)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := engine.Eventually(ctx, func() error {
		info, err := redis.String(redisAdmin(t, replica, "INFO", "replication"), nil)
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New("no link to the primary")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// The primary becomes a replica, and back, under load: each connection that is
// in use may have one error, and the others none.
func TestRedisFailover(t *testing.T) {
	const size, users = 8, 4
	host := func(e *engine.Engine) (string, string) {
		host, port, _ := net.SplitHostPort(e.Address)
		return host, port
	}
	for name, swap := range map[string]func(t *testing.T, s *service, old, now *engine.Engine){
		"REPLICAOF, the address first": func(t *testing.T, s *service, old, now *engine.Engine) {
			redisAdmin(t, now, "REPLICAOF", "NO", "ONE")
			s.to.Store(&now.Address)
			h, p := host(now)
			redisAdmin(t, old, "REPLICAOF", h, p)
		},
		"REPLICAOF, the address late": func(t *testing.T, s *service, old, now *engine.Engine) {
			redisAdmin(t, now, "REPLICAOF", "NO", "ONE")
			h, p := host(now)
			redisAdmin(t, old, "REPLICAOF", h, p)
			time.Sleep(200 * time.Millisecond) // so long there is no writer at the address
			s.to.Store(&now.Address)
		},
		"FAILOVER": func(t *testing.T, s *service, old, now *engine.Engine) {
			h, p := host(now)
			redisAdmin(t, old, "FAILOVER", "TO", h, p)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := engine.Eventually(ctx, func() error {
				role, err := redis.Values(redisAdmin(t, now, "ROLE"), nil)
				if err == nil && string(role[0].([]byte)) != "master" {
					err = errors.New("not yet")
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			s.to.Store(&now.Address)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startRedis(t), startRedis(t)
			redisAdmin(t, a, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
			redisAdmin(t, b, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
			follows(t, b, a)
			s := inFront(t, a)
			pool, err := pools.New("failover", redisconn.New(redisconn.Options{Address: s.Addr().String()}), pools.Settings{Size: size, WaitWhileDown: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if err := pool.Close(ctx); err != nil {
					t.Error(err)
				}
			}()
			var written, refused, other atomic.Int64
			load := func(ctx context.Context) (wait func()) {
				var all sync.WaitGroup
				for range users {
					all.Go(func() {
						for ctx.Err() == nil {
							within, cancel := context.WithTimeout(context.Background(), time.Minute)
							err := pool.Use(within, func(c *redisconn.Conn) error {
								_, err := c.DoContext(within, "INCR", "n")
								return err
							})
							cancel()
							switch {
							case err == nil:
								written.Add(1)
							case strings.HasPrefix(err.Error(), "READONLY"):
								refused.Add(1)
							default:
								other.Add(1)
								t.Log(err)
							}
						}
					})
				}
				return all.Wait
			}
			old, now := a, b
			for round := range 2 {
				if err := pool.Fill(t.Context(), size); err != nil {
					t.Fatal(err)
				}
				refused.Store(0)
				ctx, stop := context.WithCancel(t.Context())
				wait := load(ctx)
				time.Sleep(200 * time.Millisecond)
				swap(t, s, old, now)
				time.Sleep(300 * time.Millisecond)
				during := refused.Load()
				written.Store(0)
				time.Sleep(500 * time.Millisecond)
				stop()
				wait()
				t.Logf("round %d: %d READONLY while it swapped, %d afterwards with %d written, %d other errors; %d opened",
					round, during, refused.Load()-during, written.Load(), other.Load(), pool.Stats().Opened)
				if during > users || refused.Load() != during || other.Load() != 0 || written.Load() == 0 {
					t.Errorf("round %d: %d READONLY with %d in use, %d afterwards, %d other errors, %d written", round, during, users, refused.Load()-during, other.Load(), written.Load())
				}
				old, now = now, old
				if strings.HasPrefix(name, "REPLICAOF") {
					follows(t, now, old)
				}
			}
		})
	}
}

// Where replicas are meant, READONLY is an answer.
func TestRedisReplica(t *testing.T) {
	a, b := startRedis(t), startRedis(t)
	redisAdmin(t, a, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
	follows(t, b, a)
	for _, replica := range []bool{true, false} {
		pool, err := pools.New("replica", redisconn.New(redisconn.Options{Address: b.Address, Replica: replica}), pools.Settings{Size: 1, ReconnectAttempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close(context.Background())
		read := func() error {
			return pool.Use(t.Context(), func(c *redisconn.Conn) error { _, err := c.DoContext(t.Context(), "GET", "x"); return err })
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
		for _, in := range [][]string{{"SET"}, {"EVAL"}, {"MULTI", "EXEC"}} {
			_ = pool.Use(t.Context(), func(c *redisconn.Conn) error {
				for _, command := range in {
					args := map[string][]any{"SET": {"x", 1}, "EVAL": {"return {1, redis.pcall('SET', 'x', 1)}", 0}}[command]
					_, _ = c.Do(command, args...) // whatever its user makes of it
				}
				return nil
			})
			if !replica {
				break
			}
		}
		err = read()
		if replica && (err != nil || pool.Stats().Opened != 1) {
			t.Errorf("with Replica: %v, %d opened", err, pool.Stats().Opened)
		}
		if !replica && (err == nil || !strings.Contains(err.Error(), "set Options.Replica")) {
			t.Errorf("without Replica: %v", err)
		}
	}
}

// What Open makes of a server's refusals.
func TestRedisRefusedOpens(t *testing.T) {
	e := startRedis(t)
	redisAdmin(t, e, "ACL", "SETUSER", "app", "on", ">secret", "~*", "+get", "+set")
	for name, test := range map[string]struct {
		o     redisconn.Options
		want  string // "": it opens
		tries int
	}{
		"a wrong password":          {redisconn.Options{Username: "app", Password: "hidden"}, "AUTH: WRONGPASS (check Options.Username", 1},
		"a password nobody wants":   {redisconn.Options{Password: "hidden"}, "AUTH: ERR AUTH <password> called without", 1},
		"a database too many":       {redisconn.Options{Database: 99}, "SELECT: ERR DB index is out of range (the server has fewer", 1},
		"a user who may not PING":   {redisconn.Options{Username: "app", Password: "secret"}, "", 1},
		"a user who may not SELECT": {redisconn.Options{Username: "app", Password: "secret", Database: 1}, "SELECT: NOPERM (allow", 1},
		"a password that is asked for": {redisconn.Options{Credentials: func(context.Context) (string, string, error) { return "app", "hidden", nil }},
			"AUTH: WRONGPASS", 3},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Address = e.Address
			connector := redisconn.New(test.o)
			open, tries := connector.Open, atomic.Int32{}
			connector.Open = func(ctx context.Context) (*redisconn.Conn, error) { tries.Add(1); return open(ctx) }
			pool, err := pools.New("refused", connector, pools.Settings{Size: 1, ReconnectAttempts: 3, CheckAfter: pools.Always})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close(context.Background())
			for range 2 {
				err = errors.Join(err, pool.Use(t.Context(), func(c *redisconn.Conn) error {
					_, err := c.DoContext(t.Context(), "SET", "x", 1)
					if err == nil {
						_, _ = c.DoContext(t.Context(), "SELECT", 0) // and Reset comes
					}
					return err
				}))
			}
			switch {
			case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "hidden"):
				t.Errorf("%v: the password", err)
			}
			if n := int(tries.Load()); n != test.tries {
				t.Errorf("%d tries, want %d", n, test.tries)
			}
		})
	}
	redisAdmin(t, e, "CONFIG", "SET", "requirepass", "secret") // last: it is the admin's too
	_, err := redisconn.New(redisconn.Options{Address: e.Address}).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "PING: NOAUTH (the server wants a login") {
		t.Error(err)
	}
}

// A replica without its primary is told in words.
func TestRedisMasterdown(t *testing.T) {
	e := startRedis(t)
	redisAdmin(t, e, "CONFIG", "SET", "replica-serve-stale-data", "no")
	connector := redisconn.New(redisconn.Options{Address: e.Address})
	c, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer connector.Close(context.Background(), c)
	redisAdmin(t, e, "REPLICAOF", "127.0.0.1", 1)
	if _, err := c.DoContext(t.Context(), "GET", "x"); err == nil || !strings.HasPrefix(err.Error(), "MASTERDOWN") || !connector.Broken(c, nil) {
		t.Errorf("%v, it goes: %v", err, connector.Broken(c, nil))
	}
	if _, err := connector.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "set Options.Replica") {
		t.Errorf("Open: %v", err)
	}
	other := redisconn.New(redisconn.Options{Address: e.Address, Replica: true})
	if _, err := other.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "PING: MASTERDOWN (the server is a replica without its primary)") {
		t.Errorf("Open of one that has seen nothing yet: %v", err)
	}
}

// While a script runs, the pool gives the connection by which it is ended.
func TestRedisBusy(t *testing.T) {
	e := startRedis(t)
	redisAdmin(t, e, "CONFIG", "SET", "busy-reply-threshold", 50)
	pool, err := pools.New("busy", redisconn.New(redisconn.Options{Address: e.Address}), pools.Settings{Size: 2, CheckAfter: pools.Always, ReconnectAttempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	if err := pool.Fill(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	script, err := redis.DialContext(t.Context(), "tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	done := make(chan error, 1)
	go func() { _, err := script.Do("EVAL", "while true do end", 0); done <- err }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The first is checked, the second opened, and the third has been reset.
	for _, command := range [][]string{{"GET", "x"}, {"GET", "x"}, {"SCRIPT", "KILL"}} {
		held, err := pool.Pop(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = pool.Use(ctx, func(c *redisconn.Conn) error {
			return engine.Eventually(ctx, func() error {
				_, err := c.DoContext(ctx, command[0], command[1])
				if command[0] == "GET" && (err == nil || !strings.HasPrefix(err.Error(), "BUSY ")) {
					return errors.Join(errors.New("not busy yet"), err)
				} else if command[0] == "GET" {
					_, err = c.DoContext(ctx, "RESET") // Dirty
				}
				return err
			})
		})
		if err != nil {
			t.Errorf("%q: %v", command, err)
		}
		if err := pool.Push(held); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err == nil {
		t.Error("the script was not killed")
	}
	if n := pool.Stats().Opened; n != 2 {
		t.Errorf("%d opened", n)
	}
}

// The deadline of a ctx counts, and ReadTimeout where there is none.
func TestRedisReadTimeout(t *testing.T) {
	e := startRedis(t)
	connector := redisconn.New(redisconn.Options{Address: e.Address, ReadTimeout: 50 * time.Millisecond})
	open := func() *redisconn.Conn {
		c, err := connector.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connector.Close(context.Background(), c) })
		return c
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	blocks := open()
	if answer, err := blocks.DoContext(ctx, "BLPOP", "nothing", "0.2"); answer != nil || err != nil || blocks.Err() != nil {
		t.Errorf("BLPOP: %v, %v, %v", answer, err, blocks.Err())
	}
	listens := open()
	if _, err := listens.DoContext(ctx, "SUBSCRIBE", "news"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _, _ = blocks.Do("PUBLISH", "news", "late") })
	if answer, err := redis.Strings(listens.ReceiveContext(ctx)); err != nil || answer[2] != "late" {
		t.Errorf("%q, %v", answer, err)
	}
	for name, call := range map[string]func(c *redisconn.Conn) (any, error){
		"without a ctx":             func(c *redisconn.Conn) (any, error) { return c.Do("BLPOP", "nothing", 5) },
		"with a ctx of no deadline": func(c *redisconn.Conn) (any, error) { return c.DoContext(t.Context(), "BLPOP", "nothing", 5) },
		"with a timeout of its own": func(c *redisconn.Conn) (any, error) {
			return c.DoWithTimeout(50*time.Millisecond, "BLPOP", "nothing", 5)
		},
		"with an earlier deadline": func(c *redisconn.Conn) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			return c.DoContext(ctx, "BLPOP", "nothing", 5)
		},
	} {
		c, began := open(), time.Now()
		if _, err := call(c); err == nil || c.Err() == nil || time.Since(began) > 4*time.Second {
			t.Errorf("%s: %v after %v, %v", name, err, time.Since(began), c.Err())
		}
	}
}

// RESET has no answer after CLIENT REPLY SKIP; the connection is clean all the
// same, and its answers are its own.
func TestRedisReplySkip(t *testing.T) {
	e := startRedis(t)
	connector := redisconn.New(redisconn.Options{Address: e.Address, Name: "proof", Database: 1})
	for _, mode := range []string{"SKIP", "ON", "OFF"} {
		n := next[*redisconn.Conn]{name: mode, same: true}
		n.first = func(_ context.Context, c *redisconn.Conn) error {
			// UNSUBSCRIBE has three answers: so many can be received, and nothing is
			// outstanding when CLIENT REPLY has none.
			if err := errors.Join(c.Send("SUBSCRIBE", "a", "b", "c"), c.Send("UNSUBSCRIBE"), c.Send("CLIENT", "REPLY", mode), c.Flush()); err != nil {
				return err
			}
			for range 6 {
				if _, err := c.Receive(); err != nil {
					return err
				}
			}
			if connector.Broken(c, nil) {
				return errors.New("something is outstanding")
			}
			return nil
		}
		n.second = func(ctx context.Context, c *redisconn.Conn) error {
			for range 3 {
				if answer, err := redis.String(c.DoContext(ctx, "ECHO", "mine")); answer != "mine" {
					t.Errorf("%q, %v", answer, err)
				}
			}
			return clean(ctx, c)
		}
		n.run(t, connector)
	}
}

// A server that loads its data refuses opens by name, and is tried again.
func TestRedisLoading(t *testing.T) {
	e := startRedis(t)
	redisAdmin(t, e, "EVAL", "for i = 1, 300000 do redis.call('SET', i, redis.sha1hex(i)) end", 0)
	redisAdmin(t, e, "SAVE")
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { started <- e.Start(ctx) }()
	connector := redisconn.New(redisconn.Options{Address: e.Address})
	seen := 0
	if err := engine.Eventually(ctx, func() error {
		c, err := connector.Open(ctx)
		if err != nil {
			if strings.Contains(err.Error(), "PING: LOADING (the server is loading its data)") {
				seen++
			}
			return err
		}
		return connector.Close(ctx, c)
	}); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("nobody was told that it loads")
	}
	t.Logf("%d times LOADING", seen)
}

// A failover unblocks those who block, and ends their connections.
func TestRedisUnblocked(t *testing.T) {
	e := startRedis(t)
	connector := redisconn.New(redisconn.Options{Address: e.Address})
	pool, err := pools.New("unblocked", connector, pools.Settings{Size: 1, CheckAfter: pools.Never})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, by := range []string{"CLIENT UNBLOCK", "REPLICAOF"} {
		err := pool.Use(ctx, func(c *redisconn.Conn) error {
			id, err := redis.Int(c.DoContext(ctx, "CLIENT", "ID"))
			if err != nil {
				return err
			}
			answered := make(chan error, 1)
			go func() { _, err := c.DoContext(ctx, "BLPOP", "nothing", 10); answered <- err }()
			if err := engine.Eventually(ctx, func() error {
				list, err := redis.String(redisAdmin(t, e, "CLIENT", "LIST", "ID", id), nil)
				if err == nil && !strings.Contains(list, "cmd=blpop") {
					err = errors.New("it does not block yet")
				}
				return err
			}); err != nil {
				return err
			}
			if by == "REPLICAOF" {
				redisAdmin(t, e, by, "127.0.0.1", 1)
			} else {
				redisAdmin(t, e, "CLIENT", "UNBLOCK", id, "ERROR")
			}
			err = <-answered
			if err == nil || !strings.HasPrefix(err.Error(), "UNBLOCKED ") {
				t.Errorf("%s: %v", by, err)
			}
			if goes := connector.Broken(c, err); goes != (by == "REPLICAOF") {
				t.Errorf("%s: it goes: %v", by, goes)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A MULTI without its EXEC is reset, and never silently.
func TestRedisLeftMulti(t *testing.T) {
	e := startRedis(t)
	pool, err := pools.New("multi", redisconn.New(redisconn.Options{Address: e.Address}), pools.Settings{Size: 1, FailUnfinished: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	for name, c := range map[string]struct {
		commands []string
		left     bool
	}{
		"MULTI":           {[]string{"MULTI", "PING"}, true},
		"multi":           {[]string{"multi"}, true},
		"MULTI, EXEC":     {[]string{"MULTI", "PING", "EXEC"}, false},
		"a failed EXEC":   {[]string{"MULTI", "NOSUCHCOMMAND", "EXEC"}, false},
		"MULTI, DISCARD":  {[]string{"MULTI", "PING", "DISCARD"}, false},
		"EXEC, MULTI":     {[]string{"EXEC", "MULTI"}, true},
		"nothing of this": {[]string{"PING"}, false},
	} {
		for _, pipelined := range []bool{false, true} {
			before := pool.Stats().Unfinished
			err := pool.Use(t.Context(), func(conn *redisconn.Conn) error {
				for _, command := range c.commands {
					if pipelined {
						_ = conn.Send(command)
					} else {
						_, _ = conn.Do(command)
					}
				}
				if pipelined {
					_ = conn.Flush()
					for range c.commands {
						_, _ = conn.Receive()
					}
				}
				return nil
			})
			if errors.Is(err, pools.ErrUnfinished) != c.left || pool.Stats().Unfinished != before+map[bool]uint64{true: 1}[c.left] {
				t.Errorf("%s (pipelined: %v): %v", name, pipelined, err)
			}
		}
	}
	if n := pool.Stats().Opened; n != 1 {
		t.Errorf("%d opened", n)
	}
}

// A MULTI that Redis refuses leaves nothing unfinished, but a second one leaves the
// first.
func TestRedisRefusedMulti(t *testing.T) {
	e := startRedis(t)
	redisAdmin(t, e, "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-multi")
	for _, test := range []struct {
		username, password string
		multis             int
		unfinished         bool
	}{{"app", "secret", 1, false}, {"", "", 1, true}, {"", "", 2, true}} {
		connector := redisconn.New(redisconn.Options{Address: e.Address, Username: test.username, Password: test.password})
		pool, err := pools.New("multi", connector, pools.Settings{Size: 1, FailUnfinished: true})
		if err != nil {
			t.Fatal(err)
		}
		err = pool.Use(t.Context(), func(c *redisconn.Conn) error {
			for range test.multis {
				_, err = c.Do("MULTI")
			}
			if refused := test.username != "" || test.multis > 1; refused != (err != nil) {
				t.Errorf("%+v: %v", test, err)
			}
			return nil
		})
		if errors.Is(err, pools.ErrUnfinished) != test.unfinished {
			t.Errorf("%+v: %v", test, err)
		}
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
