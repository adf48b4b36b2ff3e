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
//     listens to what is published), when the user did what no command undoes
//     (CLIENT NO-EVICT, CLIENT SETINFO, SYNC, SCRIPT DEBUG), or when the server
//     has answered that it is of no use for writers (READONLY). Any other error
//     that Redis itself answers leaves it as good as before.
//   - Dirty knows from the commands that went through whether the server may
//     remember something of the last user: MULTI without its EXEC or DISCARD,
//     WATCH, SELECT, SUBSCRIBE, MONITOR, CLIENT, AUTH, HELLO and the like. Most
//     uses do none of that, and the next user has the connection at once.
//   - Unfinished reports a MULTI whose EXEC or DISCARD was never sent.
//   - Reset is for the others: RESET (Redis 6.2 and later) ends all of it, and
//     the login, the database and the name come after it, in one round trip.
//     What is published meanwhile is read and thrown away, and a PING with a
//     text that nobody else has sent makes sure that each answer was the right
//     one. An older server refuses RESET, and such a connection is closed
//     instead.
//   - Check is a PING. NOPERM and BUSY are answers to it as good as PONG, in
//     Open and Reset too: a user need not be allowed PING. After a failover it
//     is a HELLO, whose answer tells the server's role.
//   - Peek sees without a round trip that the server has closed the connection
//     (its timeout, a restart, CLIENT KILL); see [pools.Connector] for when it is
//     asked. A connection that was used within the last second or two is lent
//     without it.
//   - Abort closes the connection below redigo.
//   - Close ends its own half and waits until the server has ended the other,
//     so that the server never counts a connection that the pool has forgotten.
//
// # What answers mean
//
// For Open, and for the connection of a user who gets one, as an error, in the
// answer of EXEC or a script, or in a pipeline:
//
//	answer       Open                      a user's connection       the idle ones
//	READONLY     -                         goes                      asked for their role
//	MASTERDOWN   refused, tried again      goes                      asked for their role
//	UNBLOCKED    -                         goes (by a failover)      asked for their role
//	LOADING      refused, tried again      stays                     stay
//	CLUSTERDOWN  PING is not refused       stays                     stay
//	BUSY         as good as PONG           stays                     stay
//	NOPERM       PING: as good as PONG     stays                     stay
//	             else: Permanent
//	NOAUTH       Permanent                 goes, or Reset logs in    checked
//	WRONGPASS    Permanent                 stays                     stay
//
// READONLY is also that inside an EXECABORT, and inside the error of a script
// before Redis 7.0. UNBLOCKED by CLIENT UNBLOCK means nothing. A server demoted
// by REPLICAOF ends the connections that block, keeps all others and answers
// their writes with READONLY; FAILOVER holds writers up first. So after such an
// answer the connections that were opened before are asked for their server's
// role before they are lent again, those in use when they come back, and Open
// asks for 10 s. Each connection in use costs its user one error at most. None
// is kept whose server does not tell its role (before Redis 6.2, or a user
// without HELLO). With [Options].Replica, READONLY and MASTERDOWN mean nothing,
// and no role is asked for. Idle connections are asked only if the pool's
// CheckAfter is not Never.
//
// NOAUTH, WRONGPASS and other refusals of a login are not Permanent with
// Credentials: the next try asks for another. A database that does not exist, or
// a cluster that has only one, is Permanent. ERR max number of clients is not.
// BUSY refuses SELECT and CLIENT SETNAME too: while a script runs, new connections
// can be opened only without Database and Name.
//
// The tests see this with Redis 7.0.15, except CLUSTERDOWN, which is documented at
// redis.io, and the answers of older versions. Errors of Open, Check and Reset have the name of the
// answer and what to do, but never its text: it may belong to another command.
package redisconn

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
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

	// Dialer dials; default: the zero one. That of [netconn.Dialer] ends
	// connections whose server has vanished sooner than the system does.
	Dialer *net.Dialer

	// Username and Password log in; both empty: nobody does. Credentials, if
	// not nil, is asked for them instead, before each login: after a change
	// of the password, Pool.Refresh replaces the connections of before.
	Username, Password string
	Credentials        func(ctx context.Context) (username, password string, err error)

	Database int    // SELECT; default: 0
	Name     string // CLIENT SETNAME; default: none

	// ReadTimeout is the longest that a command without a deadline of its own
	// may take to be answered: without a ctx, or with one that has none. A ctx's
	// deadline counts instead of it, also if it is later, so that BLPOP and
	// subscriptions can wait. Default: as long as it likes.
	ReadTimeout time.Duration

	// Replica says that Address leads to replicas on purpose, and that users
	// read: READONLY and MASTERDOWN are answers then like any other. Default:
	// false; a server that answers so is not the one that was meant. Its
	// connection goes when it comes back, the others are asked for their
	// server's role (HELLO) before they are lent again, and for 10 s after the
	// latest such answer Open refuses replicas: one write by mistake costs a
	// pool of replicas without this setting as much.
	Replica bool
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
	network := netconn.DialWith(o.Dialer, o.Network, o.Address)
	if o.TLS != nil {
		network = netconn.DialTLSWith(&tls.Dialer{NetDialer: o.Dialer, Config: o.TLS}, o.Network, o.Address)
	}
	r := &roles{replica: o.Replica}
	return pools.Connector[*Conn]{
		Open:  func(ctx context.Context) (*Conn, error) { return o.open(ctx, network, r) },
		Close: func(ctx context.Context, c *Conn) error { return c.leave(ctx) },
		Check: func(ctx context.Context, c *Conn) error { return c.check(ctx) },
		Peek:  func(c *Conn) error { return netconn.Check(c.network) },
		Reset: o.reset,
		Dirty: func(c *Conn) bool { return c.left.Load() != 0 || c.doubted() },
		Broken: func(c *Conn, _ error) bool {
			return c.Err() != nil || c.useless.Load() || c.pending.Load() != 0 || c.calls.Load() != 0 || c.left.Load()&lasting != 0
		},
		Unfinished: func(c *Conn) error {
			if c.queues.Load() {
				return errOpenMulti
			}
			return nil
		},
		Abort: (*Conn).interrupt,
	}
}

var errOpenMulti = errors.New("redisconn: a MULTI was left without EXEC or DISCARD; Redis has carried out none of its commands")

func (o Options) open(ctx context.Context, below pools.Connector[net.Conn], r *roles) (*Conn, error) {
	login, err := o.login(ctx)
	if err != nil {
		return nil, err
	}
	lost := r.lost.Load()
	network, err := below.Open(ctx)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: redis.NewConn(network, o.ReadTimeout, 0), network: network, abort: below.Abort, readTimeout: o.ReadTimeout, roles: r}
	c.proved.Store(lost)
	if err := o.greet(ctx, c, login, false, r.wary()); err != nil {
		network.Close()
		return nil, lasts(err, o.Credentials != nil)
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
	if c.left.Load() == 0 && c.doubted() { // only its server's role is in doubt
		return c.alone(func() error { return c.prove(ctx) })
	}
	login, err := o.login(ctx)
	if err != nil {
		return err
	}
	lost, doubted := c.lost(), c.doubted()
	err = c.alone(func() error { return o.greet(ctx, c, login, true, doubted) })
	if err == nil {
		c.proved.Store(lost)
		c.left.Store(0)
		c.queues.Store(false)
	}
	return err
}

// question is a command and the one answer that it must have.
type question struct {
	command []any
	answer  string
}

// greet makes a connection what each user is to find, in one round trip. With
// reset it begins with a RESET, and reads away all that comes before its
// answer. With role the server must be a primary, as far as it tells; in a reset
// it must tell.
func (o Options) greet(ctx context.Context, c *Conn, login []any, reset, role bool) error {
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
	if role {
		questions = append(questions, question{[]any{"HELLO"}, ""})
	}
	last := "PONG"
	if reset {
		// What looks like the answer to RESET may be that to a RESET of the
		// user's, who took a message for it. The answer to this can be no other.
		last = rand.Text()
		questions = append(questions, question{[]any{"PING", last}, last})
	} else {
		questions = append(questions, question{[]any{"PING"}, last}) // there may be nothing else to answer
	}
	silenced := reset && c.left.Load()&replies != 0
	return c.within(ctx, func() error {
		if silenced {
			// After a CLIENT REPLY SKIP the next command has no answer: better
			// this one than RESET. It goes below redigo, which counts answers.
			if _, err := io.WriteString(c.network, "*1\r\n$4\r\nPING\r\n"); err != nil {
				return err
			}
		}
		for _, q := range questions {
			if err := c.conn.Send(q.command[0].(string), q.command[1:]...); err != nil {
				return err
			}
		}
		if err := c.conn.Flush(); err != nil {
			return err
		}
		for i, q := range questions {
			answer, err := redis.ReceiveWithTimeout(c.conn, c.timeout(ctx))
			for reset && i == 0 && answer != "RESET" {
				if _, is := err.(redis.Error); is && silenced {
					silenced = false // the answer to the PING before
				} else if err != nil || text(answer) == last {
					break
				}
				answer, err = redis.ReceiveWithTimeout(c.conn, c.timeout(ctx)) // what was published before
			}
			command := q.command[0].(string)
			switch {
			case command == "HELLO":
				err = isPrimary(answer, err, reset)
			case command == "PING" && answers(err):
				err = nil // all answers before it were the right ones
			default:
				err = expect(command, q.answer, answer, err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// check asks the server whether it is there, and, after a failover, what it is.
func (c *Conn) check(ctx context.Context) error {
	if c.doubted() {
		if err := c.enter(); err != nil {
			return err
		}
		defer c.calls.Add(-1)
		return c.prove(ctx)
	}
	answer, err := c.DoContext(ctx, "PING")
	if answers(err) {
		return nil
	}
	return expect("PING", "PONG", answer, err)
}

// prove asks whether the server is a primary. Nobody else may use the connection.
func (c *Conn) prove(ctx context.Context) error {
	lost := c.lost()
	answer, err := c.until(ctx, func() (any, error) { return redis.DoWithTimeout(c.conn, c.timeout(ctx), "HELLO") })
	if err := isPrimary(answer, err, true); err != nil {
		return err
	}
	c.proved.Store(lost)
	return nil
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
