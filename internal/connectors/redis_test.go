package connectors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/poolstest"
	"github.com/utopia-go/pools/redisconn"
)

func startRedis(t *testing.T) *engine.Engine {
	e, err := engine.Redis(t.Context(), 50)
	return engine.Need(t, e, err)
}

func TestRedis(t *testing.T) {
	const secret = "open sesame/50%"
	all, e, successor := t, startRedis(t), startRedis(t)
	for _, e := range []*engine.Engine{e, successor} {
		redisAdmin(t, e, "ACL", "SETUSER", "app", "on", ">"+secret, "~*", "&*", "+@all")
	}
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*redisconn.Conn] {
		p := before(t, e)
		connector := func(change func(o *redisconn.Options)) pools.Connector[*redisconn.Conn] {
			o := redisconn.Options{Address: p.Address, Username: "app", Password: secret, Name: "proof", Database: 1}
			change(&o)
			return redisconn.New(o)
		}
		return subject(t, e, p, poolstest.Subject[*redisconn.Conn]{
			Connector: connector(func(*redisconn.Options) {}),
			Use:       asks("SET used 1"),
			Useless: func(context.Context, *redisconn.Conn) error { // by a failover
				t.Cleanup(func() { redisAdmin(all, e, "REPLICAOF", "NO", "ONE") })
				redisAdmin(t, e, "REPLICAOF", "127.0.0.1", 1)
				p.Lead(successor.Address)
				return nil
			},
			Dirty:   asks("SELECT 3"),
			Clean:   clean,
			Begin:   asks("MULTI", "INCR written"),
			Write:   asks("INCR written"),
			Written: func() int { return written(t, e) },
			Refused: asks("NONSENSE"),
			Block:   func(c *redisconn.Conn) error { _, err := c.Do("BLPOP", "nothing", 0); return err },
			Failing: map[string]pools.Connector[*redisconn.Conn]{
				"a wrong password":   connector(func(o *redisconn.Options) { o.Password = "wrong " + secret }),
				"a user who is none": connector(func(o *redisconn.Options) { o.Username = "nobody" }),
				"a password that is asked": connector(func(o *redisconn.Options) {
					o.Credentials = func(context.Context) (string, string, error) { return "nobody", secret, nil }
				}),
				"a database too many": connector(func(o *redisconn.Options) { o.Database = 99 }),
				"nobody who listens":  connector(func(o *redisconn.Options) { o.Address = nobody }),
			},
			Secrets: []string{secret},
		})
	})
}

// asks sends commands of words.
func asks(commands ...string) func(context.Context, *redisconn.Conn) error {
	return func(ctx context.Context, c *redisconn.Conn) error {
		for _, command := range commands {
			words := strings.Fields(command)
			args := redis.Args{}.AddFlat(words[1:])
			if _, err := c.DoContext(ctx, words[0], args...); err != nil {
				return err
			}
		}
		return nil
	}
}

// written is a counter in database 1.
func written(t *testing.T, e *engine.Engine) int {
	conn, err := redis.DialContext(t.Context(), "tcp", e.Address, redis.DialDatabase(1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n, err := redis.Int(conn.Do("GET", "written"))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		t.Fatal(err)
	}
	return n
}

// clean returns an error if the server remembers anything but the login.
func clean(ctx context.Context, c *redisconn.Conn) error {
	info, err := redis.String(c.DoContext(ctx, "CLIENT", "INFO"))
	if err != nil {
		return err
	}
	fields := strings.Fields(info)
	for _, want := range []string{"name=proof", "db=1", "multi=-1", "sub=0", "psub=0", "resp=2", "flags=N"} {
		if !slices.Contains(fields, want) {
			return fmt.Errorf("not %s: %s", want, info)
		}
	}
	return nil
}

// Close takes leave also when the deadline of the last use has passed.
func TestRedisCloseAfterADeadline(t *testing.T) {
	e := startRedis(t)
	connector := redisconn.New(redisconn.Options{Address: e.Address})
	c, err := connector.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DoWithTimeout(20*time.Millisecond, "PING"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // nothing else to wait for
	if err := connector.Close(t.Context(), c); err != nil {
		t.Error(err)
	}
	if n, err := e.Connections(t.Context()); err != nil || n != 0 {
		t.Errorf("%d connections, %v", n, err)
	}
}

// Nothing of one user reaches the next.
func TestRedisNextUser(t *testing.T) {
	e := startRedis(t)
	do := asks
	connector := redisconn.New(redisconn.Options{Address: e.Address, Name: "proof", Database: 1})
	other, err := redis.DialContext(t.Context(), "tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	publish := func(ctx context.Context, text string) error {
		_, err := redis.DoContext(other, ctx, "PUBLISH", "news", text)
		return err
	}
	for _, n := range []next[*redisconn.Conn]{
		{name: "nothing", first: do("GET x"), same: true},
		{name: "MULTI", first: do("MULTI", "SET x 1"), same: true},
		{name: "MULTI to its end", first: do("MULTI", "SET x 1", "EXEC"), same: true},
		{name: "WATCH", first: do("WATCH x"), same: true},
		{name: "SELECT", first: do("SELECT 5"), same: true},
		{name: "CLIENT SETNAME", first: do("CLIENT SETNAME mine"), same: true},
		{name: "CLIENT NO-EVICT", first: do("CLIENT NO-EVICT on"), same: false},
		{name: "MONITOR", first: do("MONITOR"), same: true},
		{name: "HELLO", first: do("HELLO 2 SETNAME mine"), same: true},
		{name: "an error of Redis", first: do("NONSENSE"), same: true},
		{name: "a ctx that had ended before", same: true, first: func(ctx context.Context, c *redisconn.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return do("GET x")(ctx, c)
		}},
		{name: "an answer not received", same: false, first: func(_ context.Context, c *redisconn.Conn) error {
			return errors.Join(c.Send("ECHO", "theirs"), c.Flush())
		}},
		{name: "a command not sent", same: false, first: func(_ context.Context, c *redisconn.Conn) error { return c.Send("ECHO", "theirs") }},
		{name: "DISCARD refused", first: do("MULTI", "DISCARD x"), same: true},
		{name: "a goroutine that still asks", same: false, first: func(_ context.Context, c *redisconn.Conn) error {
			go c.Do("BLPOP", "nothing", 0)
			return await(func() bool { return connector.Broken(c, nil) })
		}},
		{name: "a goroutine that still receives", same: false, first: func(_ context.Context, c *redisconn.Conn) error {
			go c.Receive()
			return await(func() bool { return connector.Broken(c, nil) })
		}},
		{name: "a goroutine that still listens", same: false, first: func(_ context.Context, c *redisconn.Conn) error {
			if _, err := c.Do("SUBSCRIBE", "news"); err != nil {
				return err
			}
			go func() {
				for {
					if _, err := c.Receive(); err != nil {
						return
					}
				}
			}()
			return await(func() bool { return connector.Broken(c, nil) })
		}},
		{name: "a pipeline to its end", same: true, first: func(_ context.Context, c *redisconn.Conn) error {
			if err := errors.Join(c.Send("ECHO", "a"), c.Send("ECHO", "b"), c.Flush()); err != nil {
				return err
			}
			_, err1 := c.Receive()
			_, err2 := c.Receive()
			return errors.Join(err1, err2)
		}},
		{name: "a late answer", same: false, first: func(ctx context.Context, c *redisconn.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := c.DoContext(ctx, "BLPOP", "nothing", "0.05")
			return err
		}},
		{name: "closed by its user", same: false, first: func(_ context.Context, c *redisconn.Conn) error { return c.Close() }},
		{name: "CLIENT SETINFO", first: do("CLIENT SETINFO lib-name theirs"), same: false},
		{name: "its own RESET", first: do("SELECT 5", "RESET"), same: true},
		{name: "its own RESET, and more is published", same: false, first: func(ctx context.Context, c *redisconn.Conn) error {
			if _, err := c.DoContext(ctx, "SUBSCRIBE", "news"); err != nil {
				return err
			}
			if err := publish(ctx, "theirs"); err != nil {
				return err
			}
			answer, err := redis.Strings(c.DoContext(ctx, "RESET")) // and its own comes later
			if len(answer) != 3 || answer[2] != "theirs" {
				t.Errorf("%q, %v", answer, err)
			}
			return err
		}},
		{name: "SUBSCRIBE, and more is published", same: true, first: func(ctx context.Context, c *redisconn.Conn) error {
			if err := errors.Join(c.Send("SUBSCRIBE", "news"), c.Flush()); err != nil {
				return err
			}
			if _, err := c.Receive(); err != nil {
				return err
			}
			for range 100 {
				if err := publish(ctx, "RESET"); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		n.second = func(ctx context.Context, c *redisconn.Conn) error {
			if answer, err := redis.String(c.DoContext(ctx, "ECHO", "mine")); answer != "mine" {
				return fmt.Errorf("got %q, %v", answer, err)
			}
			return clean(ctx, c)
		}
		n.run(t, connector)
	}
}
