package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Conn is a connection of redigo's that notes what its user leaves behind. It
// is a [redis.Conn], a [redis.ConnWithTimeout] and a [redis.ConnWithContext],
// so that redigo's functions and scripts take it. Like those it serves one
// goroutine, or one that sends and another that receives. A goroutine of a
// user's must not outlive the use: one that is in a call when the use ends
// costs the connection, and one that begins a call later takes what the next
// user was to get.
type Conn struct {
	conn    redis.Conn
	network net.Conn
	abort   func(net.Conn) // netconn's
	pending atomic.Int64   // answers that nobody has received
	calls   atomic.Int64   // of users, under way; resetting is added during Reset
	left    atomic.Uint32  // a state
	queues  atomic.Bool    // MULTI was sent, and neither EXEC nor DISCARD after it

	readTimeout time.Duration
	useless     atomic.Bool   // the server has said so
	roles       *roles        // of the connector; nil: nobody asks for them
	proved      atomic.Uint64 // roles.lost, when the server had the right role
}

// timeout is what bounds a call beside its ctx: nothing if that has a deadline.
func (c *Conn) timeout(ctx context.Context) time.Duration {
	if _, has := ctx.Deadline(); has {
		return 0
	}
	return c.readTimeout
}

func (c *Conn) lost() uint64 {
	if c.roles == nil {
		return 0
	}
	return c.roles.lost.Load()
}

// resetting is more than the calls that users can have under way.
const resetting = 1 << 32

var (
	errInUse     = errors.New("redisconn: a goroutine of the last user is in a call; have it end before the use does, or take the connection out of the pool with Lease.Detach")
	errResetting = errors.New("redisconn: the use of this connection is over, and the pool resets it; end what uses it before the use does, or take it out of the pool with Lease.Detach")
)

// enter begins a call of a user's. What comes during Reset is refused, and
// stays counted, so that Reset sees it.
func (c *Conn) enter() error {
	if c.calls.Add(1) > resetting {
		return errResetting
	}
	return nil
}

// alone runs f while no user can read from the connection. The connection is
// of no use when one wanted to.
func (c *Conn) alone(f func() error) error {
	if c.calls.Add(resetting) != resetting {
		return errInUse // nor may anybody begin a call any more
	}
	if err := f(); err != nil {
		return err
	}
	if c.calls.Add(-resetting) != 0 || c.pending.Load() != 0 {
		return errInUse
	}
	return nil
}

// state is what the server may remember of a user.
type state = uint32

const (
	multi   state = 1 << iota // MULTI: EXEC and DISCARD end it
	watches                   // WATCH: so do these, and UNWATCH
	other                     // only RESET ends it
	lasting                   // nor does RESET: the connection has to go
	replies                   // CLIENT REPLY, beside other: RESET may have no answer
)

// leaves says which commands change what a connection is, and not only what is
// in the database. A CLIENT that is not here, as one of a later Redis, counts
// as lasting: so are SETINFO, CAPA and IMPORT-SOURCE, which RESET leaves, and
// in Redis 7.0 NO-EVICT.
var leaves = map[string]state{
	"MULTI": multi, "WATCH": watches,
	"SELECT": other, "AUTH": other, "HELLO": other, "READONLY": other, "READWRITE": other, "ASKING": other, "MONITOR": other, "RESET": other,
	"SUBSCRIBE": other, "PSUBSCRIBE": other, "SSUBSCRIBE": other, "UNSUBSCRIBE": other, "PUNSUBSCRIBE": other, "SUNSUBSCRIBE": other,
	"CLIENT SETNAME": other, "CLIENT REPLY": other | replies, "CLIENT TRACKING": other, "CLIENT CACHING": other,
	"SYNC": lasting, "PSYNC": lasting, "REPLCONF": lasting, "QUIT": lasting, "SCRIPT DEBUG": lasting,
	"CLIENT GETNAME": 0, "CLIENT ID": 0, "CLIENT INFO": 0, "CLIENT LIST": 0, "CLIENT GETREDIR": 0, "CLIENT TRACKINGINFO": 0, "CLIENT HELP": 0,
	"CLIENT KILL": 0, "CLIENT PAUSE": 0, "CLIENT UNPAUSE": 0, "CLIENT UNBLOCK": 0, // these are about others
}

var ends = map[string]state{"EXEC": multi | watches, "DISCARD": multi | watches, "UNWATCH": watches}

// note notes what a command is about to leave behind. It returns its name.
func (c *Conn) note(command string, args []any) (name string) {
	command = strings.ToUpper(strings.TrimSpace(command)) // no copy of what is that already
	what, known := leaves[command]
	if !known && len(args) > 0 && (command == "CLIENT" || command == "SCRIPT") {
		if what, known = leaves[command+" "+strings.ToUpper(word(args[0]))]; !known && command == "CLIENT" {
			what = lasting
		}
	}
	if what != 0 {
		c.left.Or(what)
	}
	switch command {
	case "MULTI":
		c.queues.Store(true)
	case "EXEC", "DISCARD", "RESET":
		c.queues.Store(false)
	}
	return command
}

// word is an argument as redigo sends it.
func word(arg any) string {
	if a, ok := arg.(redis.Argument); ok {
		arg = a.RedisArg()
	}
	if b, ok := arg.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(arg)
}

// Close closes the connection and tells its pool so: Use's function, or
// PushErr, gives it up then.
func (c *Conn) Close() error { return c.conn.Close() }

// Err returns why the connection is of no use any more, or nil.
func (c *Conn) Err() error { return c.conn.Err() }

// Do is [redis.Conn]'s: it sends a command and returns its answer. An empty
// command receives all answers that are outstanding.
func (c *Conn) Do(command string, args ...any) (any, error) {
	return c.do(command, args, func() (any, error) { return c.round(c.readTimeout, command, args) })
}

// DoContext is Do, and gives the connection up when ctx ends before the
// answer has come.
func (c *Conn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was sent: the connection is as good as before
	}
	return c.do(command, args, func() (any, error) {
		return c.until(ctx, func() (any, error) { return c.round(c.timeout(ctx), command, args) })
	})
}

// until gives the connection up when ctx ends before call has returned. redigo
// does the same, with a goroutine for each call.
func (c *Conn) until(ctx context.Context, call func() (any, error)) (any, error) {
	stop := context.AfterFunc(ctx, c.interrupt)
	answer, err := call()
	if !stop() {
		_ = c.conn.Close() // redigo may have the answer, and not know that nothing comes after it
		return nil, ctx.Err()
	}
	return answer, err
}

// DoWithTimeout is Do, and gives the connection up when the answer has not
// come after that time; 0 is none.
func (c *Conn) DoWithTimeout(timeout time.Duration, command string, args ...any) (any, error) {
	return c.do(command, args, func() (any, error) { return c.round(timeout, command, args) })
}

// round is redigo's Do. That drops all answers but the last one and the first
// error; one that was dropped may be READONLY.
func (c *Conn) round(timeout time.Duration, command string, args []any) (any, error) {
	if c.pending.Load() == 1 || command == "" { // its own
		return redis.DoWithTimeout(c.conn, timeout, command, args...)
	}
	if err := c.conn.Send(command, args...); err != nil {
		return nil, err
	}
	all, err := redis.Values(redis.DoWithTimeout(c.conn, timeout, ""))
	if err != nil {
		return nil, err
	}
	c.heard(all, nil)
	for _, answer := range all {
		if e, is := answer.(redis.Error); is {
			return all[len(all)-1], e
		}
	}
	return all[len(all)-1], nil
}

// do notes a command and, when Redis has not refused it, what it has ended.
// Its own answer is outstanding meanwhile; with it come all before it.
func (c *Conn) do(command string, args []any, do func() (any, error)) (any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	queued := c.queues.Load()
	name := c.note(command, args)
	c.pending.Add(1)
	answer, err := do()
	c.heard(answer, err)
	c.pending.Store(0)
	c.calls.Add(-1)
	if err == nil {
		if end := ends[name]; end != 0 {
			c.left.And(^end)
		}
	} else if _, is := err.(redis.Error); is && name == "MULTI" && answer != "OK" {
		c.queues.Store(queued) // Redis has refused it
	}
	return answer, err
}

// Send writes a command to the buffer, for Flush and Receive.
func (c *Conn) Send(command string, args ...any) error {
	c.pending.Add(1)
	c.note(command, args)
	return c.conn.Send(command, args...)
}

// Flush sends what the buffer has.
func (c *Conn) Flush() error { return c.conn.Flush() }

// Receive returns the next answer.
func (c *Conn) Receive() (any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	return c.received(c.conn.Receive())
}

// ReceiveContext is Receive, and gives the connection up when ctx ends before
// the answer has come.
func (c *Conn) ReceiveContext(ctx context.Context) (any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	return c.received(c.until(ctx, func() (any, error) { return redis.ReceiveWithTimeout(c.conn, c.timeout(ctx)) }))
}

// ReceiveWithTimeout is Receive, and gives the connection up when the answer
// has not come after that time; 0 is none.
func (c *Conn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	return c.received(redis.ReceiveWithTimeout(c.conn, timeout))
}

// received ends a call and notes one answer. What is published to a subscriber is none that
// was outstanding.
func (c *Conn) received(answer any, err error) (any, error) {
	c.heard(answer, err)
	for {
		n := c.pending.Load()
		if n <= 0 || c.pending.CompareAndSwap(n, n-1) {
			c.calls.Add(-1)
			return answer, err
		}
	}
}
