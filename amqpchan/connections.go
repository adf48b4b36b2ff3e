package amqpchan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
)

// dialer keeps the connections that the channels of one connector share.
type dialer struct {
	options Options
	fault   error // of the options

	mu     sync.Mutex
	all    []*connection
	ending []*connection     // not in all any more, and not closed yet
	closed bool              // none is kept without a channel
	latest login             // that was asked for
	limits map[string]*limit // of users whom the server has refused a channel

	shrinks bool // the pool has closed a good channel, and asked for none since
}

// connection is one of them. Its fields are under the dialer's lock, but for
// conn, gone, err and late, which are set before ready is closed.
type connection struct {
	login    login
	channels int  // open or about to be
	most     int  // that it has places for
	doubts   int  // channels whose opening hangs
	alone    bool // its first channel may end it: nobody else gets a place yet
	empties  int  // how often it has lost its last channel

	ended chan struct{} // closed when it has closed; nil: it is not to close yet

	blocked string        // why the server does not read from it, or empty
	blocks  chan struct{} // closed when it becomes so

	cancel context.CancelFunc // ends the dial
	ready  chan struct{}
	conn   *amqp.Connection
	gone   chan struct{} // closed when it has ended, and what that means is noted
	err    error
	late   bool // err is because the dial's time was over
}

// limit is how many channels the server lets a user have (max-channels). One
// channel more ends the connection that it was to be opened on.
type limit struct {
	ceiling int       // as many were possible
	err     error     // that the server gave
	again   time.Time // when one more may be tried, on a connection of its own
	leaving int       // closed, but the server may count them yet
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
		c, dials, later, err := d.take(ctx, l)
		if err != nil {
			return nil, err
		}
		if c == nil {
			select {
			case <-time.After(later):
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
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
// caller, until its ctx's deadline. If c is nil without an error the caller
// should come back a little later.
func (d *dialer) take(ctx context.Context, l login) (c *connection, dials bool, later time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest, d.shrinks = l, false
	channels, silent := 0, 0
	for _, c := range d.all {
		if c.login != l {
			continue
		}
		if c.blocked != "" {
			return nil, false, 0, &blockedError{c.blocked}
		}
		channels += c.channels
		if c.doubts > 0 {
			silent++
		}
	}
	alone := false
	if limit := d.limits[l.username]; limit != nil {
		now := time.Now()
		switch {
		case channels+limit.leaving < limit.ceiling:
		case channels < limit.ceiling || limit.leaving > 0 && now.After(limit.again):
			return nil, false, settling / 10, nil
		case now.Before(limit.again):
			return nil, false, 0, limit.err
		default:
			alone, limit.again = true, now.Add(tryAgain)
		}
	}
	for _, c := range d.all {
		if c.login == l && c.channels < c.most && c.doubts == 0 && !c.alone && (!alone || c.channels == 0) {
			c.channels++
			c.alone = alone
			return c, false, 0, nil
		}
	}
	if silent > 1 {
		return nil, false, 0, errSilent
	}
	c = &connection{
		login: l, channels: 1, most: d.options.PerConnection, alone: alone,
		blocks: make(chan struct{}), ready: make(chan struct{}), gone: make(chan struct{}),
	}
	d.all = append(d.all, c)
	// Others may wait for it, so it goes on when its ctx is cancelled, until
	// nobody waits, but not beyond its deadline.
	end, bounded := ctx.Deadline()
	if !bounded {
		end = time.Now().Add(patience)
	}
	ctx, c.cancel = context.WithDeadline(context.WithoutCancel(ctx), end)
	go d.dial(ctx, c)
	return c, true, 0, nil
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
	switch answer, _ := errors.AsType[*amqp.Error](c.err); {
	case c.err == nil:
		if most := int(c.conn.Config.ChannelMax); most > 0 {
			d.limit(c, most)
		}
		blocks := c.conn.NotifyBlocked(make(chan amqp.Blocking, 1))
		closes := c.conn.NotifyClose(make(chan *amqp.Error, 1))
		go d.watch(c, blocks, closes)
	case errors.Is(c.err, amqp.ErrCredentials) && !c.late:
		// The server said nothing and hung up. It may also have died just then,
		// so another try may change it.
		c.err = fmt.Errorf("amqpchan: the server ended the connection at the login; correct user and password "+
			"(Options.URL, Options.Config.SASL or Options.Credentials): %w", c.err)
	case answer != nil && answer.Server && answer.Code == amqp.NotAllowed && strings.Contains(answer.Reason, "vhost") &&
		(strings.Contains(answer.Reason, "not found") || strings.Contains(answer.Reason, "refused")):
		c.err = fmt.Errorf("amqpchan: the virtual host in Options.URL does not exist or is not this user's; correct it, or add it with rabbitmqctl: %w", c.err)
		if o.Credentials == nil { // else the next login may be another user's
			c.err = pools.Permanent(c.err)
		}
	}
}

// watch notes when the server stops reading from a connection and when it goes
// on, and at last why the connection has ended.
func (d *dialer) watch(c *connection, blocks <-chan amqp.Blocking, closes <-chan *amqp.Error) {
	defer close(c.gone)
	for b := range blocks {
		d.mu.Lock()
		switch {
		case !b.Active && c.blocked != "":
			c.blocked, c.blocks = "", make(chan struct{})
		case b.Active && c.blocked == "":
			c.blocked = cmp.Or(b.Reason, "no reason given")
			close(c.blocks)
		}
		d.mu.Unlock()
	}
	reason := <-closes // it is closed with blocks, or just before
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(c)
	if reason == nil || reason.Code != amqp.NotAllowed || !strings.Contains(reason.Reason, "channels opened for user") {
		return
	}
	// All of its channels have gone with it, also those of others.
	channels := c.channels
	for _, other := range d.all {
		if other.login.username == c.login.username {
			channels += other.channels
		}
	}
	l := d.limits[c.login.username]
	if l == nil {
		l = new(limit)
		d.limits[c.login.username] = l
	}
	l.ceiling, l.again = channels-1, time.Now().Add(tryAgain)
	d.settle(l, c.channels)
	if i := strings.LastIndexByte(reason.Reason, '('); i >= 0 {
		var most int
		if _, err := fmt.Sscanf(reason.Reason[i:], "(%d)", &most); err == nil {
			l.ceiling = min(l.ceiling, most)
		}
	}
	l.err = fmt.Errorf("amqpchan: the server allows this user no more channels; raise its limit "+
		"(rabbitmqctl set_user_limits, max-channels) or lower the Size of the pools that share it: %w", reason)
}

// settle notes that the server still counts channels that have closed, for a
// while. Under the lock.
func (d *dialer) settle(l *limit, channels int) {
	l.leaving += channels
	time.AfterFunc(settling, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		l.leaving -= channels
	})
}

// reason is why a channel could not be opened on a connection that has ended.
func (d *dialer) reason(c *connection, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.limits[c.login.username]; l != nil {
		if answer, ok := errors.AsType[*amqp.Error](err); !ok || answer.Code == amqp.NotAllowed || answer == amqp.ErrClosed {
			return l.err
		}
	}
	return err
}

// opened notes that a channel has been opened.
func (d *dialer) opened(c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.alone {
		return
	}
	c.alone = false
	if l := d.limits[c.login.username]; l != nil { // there is room for more than was thought
		l.ceiling++
		l.again = time.Time{}
	}
}

// blocks is closed when the server does not read from the connection.
func (d *dialer) blocks(c *connection) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.blocks
}

// blocked is the error that says why the server does not read.
func (d *dialer) blocked(c *connection) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &blockedError{cmp.Or(c.blocked, "for a moment")}
}

// isBlocked reports whether the server does not read from the connection.
func (d *dialer) isBlocked(c *connection) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return c.blocked != ""
}

// blockedError says why the server does not read from a connection.
type blockedError struct{ reason string }

func (e *blockedError) Error() string {
	return "amqpchan: the server has stopped reading from the connection (" + e.reason +
		"); give it memory or disk, or let consumers empty its queues"
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

// leave gives a place back. A connection without channels closes after a while,
// unless it is given another one.
func (d *dialer) leave(c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.channels--
	if l := d.limits[c.login.username]; l != nil {
		d.settle(l, 1)
	}
	if c.channels > 0 {
		return
	}
	c.empties++
	keep := d.options.KeepEmpty
	select {
	case <-c.ready:
		if c.conn == nil || c.conn.IsClosed() || c.login != d.latest || d.closed {
			keep = 0
		}
	default:
		keep = 0 // nobody waits for the dial
	}
	if keep <= 0 {
		d.end(c)
		return
	}
	empties := c.empties
	time.AfterFunc(keep, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if c.channels == 0 && c.empties == empties {
			d.end(c)
		}
	})
}

// end closes a connection that nobody has a place on, in the background. Under the
// lock.
func (d *dialer) end(c *connection) {
	d.remove(c)
	c.empties++ // leave's timer is for nothing
	c.ended = make(chan struct{})
	d.ending = append(d.ending, c)
	go func() {
		c.close()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ending = slices.DeleteFunc(d.ending, func(other *connection) bool { return other == c })
		close(c.ended)
	}()
}

// hangUp closes the connections that have no channel, and waits until they have
// closed, if nobody wants a channel any more: none may be kept, or there is none and
// the pool has closed a good one, which may be the one because of which this is
// called (unwanted), and has opened none since.
func (d *dialer) hangUp(unwanted bool) {
	has := func(c *connection) bool { return c.channels > 0 }
	d.mu.Lock()
	d.shrinks = d.shrinks || unwanted
	if !d.closed && (!d.shrinks || slices.ContainsFunc(d.all, has)) {
		d.mu.Unlock()
		return
	}
	for _, c := range slices.Clone(d.all) {
		if !has(c) {
			d.end(c)
		}
	}
	var ended []chan struct{}
	for _, c := range d.ending {
		ended = append(ended, c.ended)
	}
	d.mu.Unlock()
	for _, e := range ended {
		<-e
	}
}

// close lets no connection stay without a channel any more.
func (d *dialer) close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); d.hangUp(false) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close closes a connection that nobody can have a place on any more.
func (c *connection) close() {
	c.cancel()
	<-c.ready
	if c.conn != nil && !c.conn.IsClosed() {
		_ = c.conn.CloseDeadline(time.Now().Add(farewell))
	}
}

var errSilent = errors.New("amqpchan: two connections do not answer; the next is dialled when one does or its heartbeat has failed")

const (
	patience = 30 * time.Second       // of a dial whose ctx has no deadline
	farewell = 5 * time.Second        // how long a connection's close may take
	tryAgain = 30 * time.Second       // how often a limit of the server's is tried again
	settling = 300 * time.Millisecond // until the server counts a closed channel no more
)
