// Package redisconn makes pools of connections to Redis. The connections are
// redigo's (github.com/gomodule/redigo), the one well-kept client whose
// connection is one connection, without a pool or a multiplexer inside.
//
//	pool, err := pools.New("redis", redisconn.New(redisconn.Options{Address: "redis:6379"}), pools.Settings{Size: 10})
//	...
//	err = pool.Use(ctx, func(conn *redisconn.Conn) error {
//		name, err := redis.String(conn.DoContext(ctx, "GET", "name"))
//		...
//	})
//
// What the functions of the connector do, and why:
//
//   - Open dials, logs in, selects the database and sets the client's name, so
//     that a server which does not answer is found out here.
//   - Broken looks at the connection and not at the error: it must go when
//     redigo has given it up (any error of the network, a timeout, a ctx that
//     ended, half an answer), when an answer is outstanding that nobody has
//     received, when a goroutine of the user is still in a call (it asks, or
//     listens to what is published), or when the user did what no command
//     undoes (CLIENT NO-EVICT,
//     CLIENT SETINFO, SYNC, SCRIPT DEBUG). An error that Redis itself
//     answers leaves it as good as before.
//   - Dirty knows from the commands that went through whether the server may
//     remember something of the last user: MULTI without its EXEC or DISCARD,
//     WATCH, SELECT, SUBSCRIBE, MONITOR, CLIENT, AUTH, HELLO and the like. Most
//     uses do none of that, and the next user has the connection at once.
//   - Reset is for the others: RESET (Redis 6.2 and later) ends all of it, and
//     the login, the database and the name come after it, in one round trip.
//     What is published meanwhile is read and thrown away, and a PING with a
//     text that nobody else has sent makes sure that each answer was the right
//     one. An older server refuses RESET, and such a connection is closed
//     instead.
//   - Check is a PING, whose answer has to be PONG.
//   - Abort closes the connection below redigo.
//   - Close ends its own half and waits until the server has ended the other,
//     so that the server never counts a connection that the pool has forgotten.
package redisconn

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
)

// Options say how connections are made. The zero value is the Redis of this
// machine.
type Options struct {
	Network string // "tcp" or "unix"; default: "tcp"
	Address string // host:port, or the socket's path; default: "127.0.0.1:6379"

	TLS *tls.Config // nil: without TLS. Without a ServerName the Address's host is it.

	// Username and Password log in; both empty: nobody does. Credentials, if
	// not nil, is asked for them instead, before each login: after a change
	// of the password, Pool.Refresh replaces the connections of before.
	Username, Password string
	Credentials        func(ctx context.Context) (username, password string, err error)

	Database int    // SELECT; default: 0
	Name     string // CLIENT SETNAME; default: none

	// ReadTimeout is the longest that a command without a ctx may take to be
	// answered; default: as long as it likes.
	ReadTimeout time.Duration
}

// New makes a connector. It opens nothing; what is wrong with the options is
// the error of the first Open.
func New(o Options) pools.Connector[*Conn] {
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:6379"
	}
	network := netconn.Dial(o.Network, o.Address)
	if o.TLS != nil {
		network = netconn.DialTLS(o.Network, o.Address, o.TLS)
	}
	return pools.Connector[*Conn]{
		Open:  func(ctx context.Context) (*Conn, error) { return o.open(ctx, network) },
		Close: func(ctx context.Context, c *Conn) error { return c.leave(ctx) },
		Check: func(ctx context.Context, c *Conn) error { return c.check(ctx) },
		Reset: o.reset,
		Dirty: func(c *Conn) bool { return c.left.Load() != 0 },
		Broken: func(c *Conn, _ error) bool {
			return c.Err() != nil || c.pending.Load() != 0 || c.calls.Load() != 0 || c.left.Load()&lasting != 0
		},
		Abort: (*Conn).interrupt,
	}
}

func (o Options) open(ctx context.Context, below pools.Connector[net.Conn]) (*Conn, error) {
	login, err := o.login(ctx)
	if err != nil {
		return nil, err
	}
	network, err := below.Open(ctx)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: redis.NewConn(network, o.ReadTimeout, 0), network: network, abort: below.Abort}
	if err := o.greet(ctx, c, login, false); err != nil {
		network.Close()
		return nil, err
	}
	return c, nil
}

// login is the command that logs in, or nil.
func (o Options) login(ctx context.Context) ([]any, error) {
	username, password := o.Username, o.Password
	if o.Credentials != nil {
		var err error
		if username, password, err = o.Credentials(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case username != "":
		return []any{"AUTH", username, password}, nil
	case password != "":
		return []any{"AUTH", password}, nil
	}
	return nil, nil
}

func (o Options) reset(ctx context.Context, c *Conn) error {
	login, err := o.login(ctx)
	if err != nil {
		return err
	}
	err = c.alone(func() error { return o.greet(ctx, c, login, true) })
	if err == nil {
		c.left.Store(0)
	}
	return err
}

// greet makes a connection what each user is to find, in one round trip. With
// reset it begins with a RESET, and reads away all that comes before its
// answer.
func (o Options) greet(ctx context.Context, c *Conn, login []any, reset bool) error {
	type question struct {
		command []any
		answer  string
	}
	var questions []question
	if reset {
		questions = append(questions, question{[]any{"RESET"}, "RESET"})
	}
	if login != nil {
		questions = append(questions, question{login, "OK"})
	}
	if o.Name != "" {
		questions = append(questions, question{[]any{"CLIENT", "SETNAME", o.Name}, "OK"})
	}
	if o.Database != 0 {
		questions = append(questions, question{[]any{"SELECT", o.Database}, "OK"})
	}
	if reset {
		// What looks like the answer to RESET may be that to a RESET of the
		// user's, who took a message for it. The answer to this can be no other.
		nobodyElses := rand.Text()
		questions = append(questions, question{[]any{"PING", nobodyElses}, nobodyElses})
	} else {
		questions = append(questions, question{[]any{"PING"}, "PONG"}) // there may be nothing else to answer
	}
	return c.within(ctx, func() error {
		for _, q := range questions {
			if err := c.conn.Send(q.command[0].(string), q.command[1:]...); err != nil {
				return err
			}
		}
		if err := c.conn.Flush(); err != nil {
			return err
		}
		for i, q := range questions {
			answer, err := c.conn.Receive()
			for reset && i == 0 && err == nil && answer != "RESET" {
				answer, err = c.conn.Receive() // what was published before
			}
			if err := expect(q.answer, answer, err); err != nil {
				return fmt.Errorf("%v: %w", q.command[0], err)
			}
		}
		return nil
	})
}

// expect returns an error if a command was not answered as it has to be: the
// answer is another's then.
func expect(want string, answer any, err error) error {
	if got, is := answer.([]byte); is {
		answer = string(got)
	}
	if err == nil && answer != want {
		return fmt.Errorf("redisconn: the answer is %.100q, and not %q: it belongs to another command", fmt.Sprint(answer), want)
	}
	return err
}

func (c *Conn) check(ctx context.Context) error {
	answer, err := c.DoContext(ctx, "PING")
	return expect("PONG", answer, err)
}

// within runs f, whose calls are interrupted when ctx ends.
func (c *Conn) within(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, c.interrupt)
	err := f()
	if !stop() {
		return errors.Join(context.Cause(ctx), err) // it is closed now, whatever came of it
	}
	return err
}

// leave closes a connection.
func (c *Conn) leave(ctx context.Context) error {
	defer c.conn.Close()
	half, ok := c.network.(interface{ CloseWrite() error })
	if c.Err() != nil || !ok {
		return c.conn.Close()
	}
	return c.within(ctx, func() error {
		if err := c.network.SetDeadline(time.Time{}); err != nil { // redigo leaves that of its last command
			return err
		}
		if err := half.CloseWrite(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, c.network)
		return err
	})
}

// interrupt closes the connection below redigo, and below TLS.
func (c *Conn) interrupt() { c.abort(c.network) }
