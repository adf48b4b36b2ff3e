package amqpchan

import (
	"context"
	"fmt"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
)

// dialer keeps the connections that the channels of one connector share.
type dialer struct {
	options Options

	mu  sync.Mutex
	all []*connection
}

// connection is one of them. Its fields are under the dialer's lock, but for
// conn, err and late, which are set before ready is closed.
type connection struct {
	login    login
	channels int // open or about to be
	most     int // that it has places for
	doubts   int // channels whose opening hangs

	cancel context.CancelFunc // ends the dial
	ready  chan struct{}
	conn   *amqp.Connection
	err    error
	late   bool // err is because the dial's time was over
}

type login struct{ username, password string }

// connection returns one with a place for a channel, which is taken then. If
// several callers need a new one, one dials for all that it has places for.
func (d *dialer) connection(ctx context.Context) (*connection, error) {
	var l login
	if ask := d.options.Credentials; ask != nil {
		var err error
		if l.username, l.password, err = ask(ctx); err != nil {
			return nil, err
		}
	}
	for {
		c, dials := d.take(ctx, l)
		select {
		case <-c.ready:
		case <-ctx.Done():
			go d.leave(c)
			return nil, context.Cause(ctx)
		}
		if d.keeps(c) {
			return c, nil
		}
		if c.err != nil && (dials || !c.late) {
			return nil, c.err
		}
		// It was dead or full, or it was dialled for somebody who had less time.
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// keeps reports whether the caller may keep its place on a connection that is
// ready: it may be dead, or have fewer places than were taken.
func (d *dialer) keeps(c *connection) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.err != nil || c.conn.IsClosed() {
		d.remove(c)
		c.channels--
		return false
	}
	if c.channels > c.most {
		c.channels-- // here, so that no more leave than are too many
		return false
	}
	return true
}

// take takes a place on a connection, and reports whether it dials that for the
// caller, until its ctx's deadline.
func (d *dialer) take(ctx context.Context, l login) (c *connection, dials bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		if c.login == l && c.channels < c.most && c.doubts == 0 {
			c.channels++
			return c, false
		}
	}
	c = &connection{login: l, channels: 1, most: d.options.PerConnection, ready: make(chan struct{})}
	d.all = append(d.all, c)
	// Others may wait for it, so it goes on when its ctx is cancelled, until
	// nobody waits, but not beyond its deadline.
	end, bounded := ctx.Deadline()
	if !bounded {
		end = time.Now().Add(patience)
	}
	ctx, c.cancel = context.WithDeadline(context.WithoutCancel(ctx), end)
	go d.dial(ctx, c)
	return c, true
}

// dial connects.
func (d *dialer) dial(ctx context.Context, c *connection) {
	defer close(c.ready)
	defer func() {
		// Config has functions of the user's, and no goroutine of the pool's
		// is around this one.
		if v := recover(); v != nil {
			c.err = &pools.PanicError{Func: "Open", Value: v, Stack: debug.Stack()}
		} else if c.conn == nil && c.err == nil {
			c.err = errGoexit
		}
	}()
	defer c.cancel() // closes what a panic has left
	o := d.options
	switch {
	case o.Config.Dial != nil:
		c.err = errDial
	case o.Config.Recovery != nil:
		c.err = errRecovery
	case o.PerConnection < 0:
		c.err = errNegative
	}
	if c.err != nil {
		return
	}
	if o.Credentials != nil {
		o.Config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: c.login.username, Password: c.login.password}}
	}
	// The client writes into both.
	o.Config.Properties = maps.Clone(o.Config.Properties)
	o.Config.TLSClientConfig = o.Config.TLSClientConfig.Clone()
	shaken := func() bool { return true }
	o.Config.Dial = func(network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			shaken = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	c.conn, c.err = amqp.DialConfig(o.URL, o.Config)
	switch {
	case !shaken() && c.err == nil:
		c.late, c.err = true, context.Cause(ctx) // it is closed, as soon as it was there
	case c.err != nil && ctx.Err() != nil:
		c.late, c.err = true, fmt.Errorf("%w: %w", context.Cause(ctx), c.err)
	}
	if c.err == nil {
		if most := int(c.conn.Config.ChannelMax); most > 0 {
			d.limit(c, most)
		}
	}
}

// limit notes how many channels the server allows on a connection.
func (d *dialer) limit(c *connection, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if most < c.most {
		c.most = most
	}
}

// doubt notes that the opening of a channel hangs, or that it does no more.
func (d *dialer) doubt(c *connection, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if on {
		c.doubts++
	} else {
		c.doubts--
	}
}

// remove lets nobody else have a place on a connection. Under the lock.
func (d *dialer) remove(c *connection) {
	d.all = slices.DeleteFunc(d.all, func(other *connection) bool { return other == c })
}

// leave gives a place back. The last one closes the connection.
func (d *dialer) leave(c *connection) error {
	d.mu.Lock()
	c.channels--
	last := c.channels == 0
	if last {
		d.remove(c)
	}
	d.mu.Unlock()
	if !last {
		return nil
	}
	c.cancel()
	<-c.ready
	if c.conn == nil || c.conn.IsClosed() {
		return nil
	}
	return c.conn.CloseDeadline(time.Now().Add(farewell))
}

const (
	patience = 30 * time.Second // of a dial whose ctx has no deadline
	farewell = 5 * time.Second  // how long a connection's close may take
)
