package amqpchan

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// dialer keeps the connections that the channels of one connector share.
type dialer struct {
	options Options

	mu  sync.Mutex
	all []*connection
}

// connection is one of them. Its fields are under the dialer's lock, but for
// conn and err, which are set before ready is closed.
type connection struct {
	login    login
	channels int  // open or about to be
	doubts   int  // channels whose opening hangs
	gone     bool // it is not in all any more

	ready chan struct{}
	conn  *amqp.Connection
	err   error
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
		c := d.take(ctx, l)
		select {
		case <-c.ready:
		case <-ctx.Done():
			go func() { // nobody may be left on it
				<-c.ready
				_ = d.leave(c)
			}()
			return nil, context.Cause(ctx)
		}
		if c.err == nil && !c.conn.IsClosed() {
			return c, nil
		}
		err := c.err
		d.forget(c)
		_ = d.leave(c)
		if err != nil {
			return nil, err
		}
	}
}

func (d *dialer) take(ctx context.Context, l login) *connection {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		if c.login == l && c.channels < d.options.PerConnection && c.doubts == 0 {
			c.channels++
			return c
		}
	}
	c := &connection{login: l, channels: 1, ready: make(chan struct{})}
	d.all = append(d.all, c)
	go d.dial(ctx, c)
	return c
}

// dial connects. Others may wait for it, so it goes on when its ctx is
// cancelled, but not beyond its deadline.
func (d *dialer) dial(ctx context.Context, c *connection) {
	defer close(c.ready)
	o := d.options
	end, bounded := ctx.Deadline()
	ctx = context.WithoutCancel(ctx)
	if bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
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
	o.Config.Dial = func(network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil && bounded {
			err = conn.SetDeadline(end) // the client clears it when it has shaken hands
		}
		return conn, err
	}
	c.conn, c.err = amqp.DialConfig(o.URL, o.Config)
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

// forget lets nobody else have a place on a connection.
func (d *dialer) forget(c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(c)
}

func (d *dialer) remove(c *connection) {
	if !c.gone {
		c.gone = true
		d.all = slices.DeleteFunc(d.all, func(other *connection) bool { return other == c })
	}
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
	if !last || c.conn == nil || c.conn.IsClosed() {
		return nil
	}
	return c.conn.CloseDeadline(time.Now().Add(farewell))
}

// farewell is how long a connection's close may take.
const farewell = 5 * time.Second
