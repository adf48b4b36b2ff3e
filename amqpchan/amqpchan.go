// Package amqpchan makes pools of AMQP 0-9-1 channels, for RabbitMQ and others
// that speak it, by the client that the RabbitMQ team keeps
// (github.com/rabbitmq/amqp091-go).
//
// A channel is what one goroutine publishes on; connections are dear, and many
// channels share one. So the pool's resources are channels, and the connector
// keeps the few connections below them: it dials when no connection has a place
// left, and closes one when it has had no channel for a while (Options.KeepEmpty),
// or when the pool wants no channel any more.
//
//	pool, err := pools.New("events", amqpchan.New(amqpchan.Options{URL: "amqp://app:secret@rabbit", Confirm: true}),
//		pools.Settings{Size: 50})
//	...
//	err = pool.Use(ctx, func(ch *amqpchan.Channel) error {
//		sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, "events", "user.created", false, false, message)
//		if err != nil {
//			return err
//		}
//		_, err = sent.WaitContext(ctx)
//		return err
//	})
//
// What the functions of the connector do, and why:
//
//   - Open opens a channel, and before it a connection if it must; with Confirm
//     the channel is in confirm mode.
//   - Broken: a channel must go when it or its connection is closed, after any
//     error of AMQP (the server has closed the channel with it), when its user
//     gave up waiting, and when the user changed what it is: a channel that
//     consumes, has a prefetch limit, a transaction, messages to acknowledge or
//     listeners, or that has declared a queue, which AMQP remembers as the one
//     without a name, is its user's for good. Opening another one is one round trip.
//     A goroutine of a user's must not begin a call after the use: what it sends on
//     a channel that was just closed is an error (504) with which RabbitMQ ends the
//     connection and all its channels (seen with 3.10.8 and amqp091-go 1.16.0).
//     A channel error closes that channel alone; the others of its connection
//     stay. A channel dies with its connection, and the pool opens others.
//   - Dirty knows whether something was sent that the server answers only if it
//     is wrong, and then by closing the channel: a message, an acknowledgement,
//     a call with noWait. With Confirm a message whose confirmation has come is
//     none of these.
//   - Reset is for the others. AMQP has no command that makes a channel as it
//     was, so this only waits until the server has taken what was sent: else
//     its error would take the next user's messages with it, of which the next
//     user would not learn. That is one round trip after each use that
//     published and did not wait for the confirmation; meanwhile others use the
//     other channels. Who would rather lose messages sets Reset and Dirty of the
//     connector to nil.
//   - Check asks the server by the channel, for a thing that every server has.
//   - Peek knows, without asking, that the channel or its connection has ended.
//   - Abort closes the channel, and not the connection, on which others work:
//     a wait for a delivery is interrupted. A wait for a silent server lasts
//     until the heartbeat fails, and a publish to a server that has stopped
//     reading (an alarm of RabbitMQ's) until it reads again.
//   - Close closes the channel and waits for the server's answer: until its ctx
//     ends, but while the server blocks the connection until it no longer does,
//     because the server keeps the channel that long, and the pool's place must
//     not be given to another one.
//
// # Consumers and publishers
//
// Give consumers a pool of their own, with Options.Consumers. RabbitMQ answers a
// shortage of memory or disk by no longer reading from connections that publish:
// a consumer whose channel is on one of these can neither begin nor acknowledge,
// and so cannot end the shortage. A channel that was detached from a pool stays on
// its connection, beside the publishers. Each connector has connections of its
// own; two pools never share one.
//
// # What the server does
//
// Seen with RabbitMQ 3.10.8 and amqp091-go 1.16.0, by the tests in
// internal/connectors (with a heartbeat of 1 s, and but for the wait of 30 s).
//
//	alarm (memory, disk)     The server reads nothing from connections that have
//	                         published, until the alarm is over. Open, Check and Reset
//	                         fail at once with its reason and dial nothing; Close
//	                         waits. Publish itself goes on until buffers are full: wait
//	                         for its confirmation with a ctx. Consumers' connections go on.
//	wrong password           The server says nothing and hangs up, after about 3 s. It
//	                         may have stopped just then, so Open is tried again.
//	no such virtual host     530. The error is permanent, unless there are Credentials.
//	max-channels of a user   530 for the first channel too many, which ends its
//	                         connection and all channels on it. The connector remembers
//	                         how many were possible; every 30 s it tries one more, on a
//	                         connection that has no other channel. The server counts a
//	                         closed channel a little longer, so at the limit a place is
//	                         free 0.3 s after its channel has closed. Channels of other
//	                         programs with this user count, too.
//	channel_max              One channel too many is the client's error 504, and ends
//	                         nothing. The connector dials another connection instead.
//	frame_max                The smaller wish holds (the server's: 131,072 bytes). The
//	                         client cuts larger messages into frames.
//	heartbeat                After one and a half intervals without a byte the client
//	                         ends the connection: with the default of 10 s after 15 s.
//	                         heartbeat=0 in the URL turns nothing off: the server's
//	                         60 s hold, and the connection ends after 90 s.
//	deleted queue            Its consumers get a cancel (NotifyCancel), their deliveries
//	                         end, the channel stays. A message to it is confirmed and
//	                         lost, or returned if it is mandatory. Get answers 404,
//	                         which closes the channel.
//	cancelled consumer       Its deliveries end and the channel stays, but goes after
//	                         the lease. What was not acknowledged is delivered again,
//	                         as redelivered, when the channel has closed.
package amqpchan

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
)

// Options say how connections and channels are made.
type Options struct {
	// URL is as [amqp.DialConfig] takes it; default: amqp://guest:guest@127.0.0.1:5672/.
	URL string

	// Config is the client's, for TLS, the heartbeat (default: 10 s; the URL's wins) and the
	// name that the server shows. Its Dial and Recovery must be nil: the pool
	// dials, and opens anew.
	Config amqp.Config

	// Credentials, if not nil, is asked for user and password before each
	// channel is opened, which is then on a connection that logged in with
	// them: after a change of the password, Pool.Refresh replaces the channels
	// of before, and with the last of them their connection goes.
	Credentials func(ctx context.Context) (username, password string, err error)

	// PerConnection is the most channels on one connection; default: 100. The
	// server has a limit, too (2,047 for RabbitMQ).
	PerConnection int

	// KeepEmpty is how long a connection stays open after its last channel went
	// because of what its user did (Broken), so that the next channel needs no
	// dial; default: 10 s, negative: it closes at once.
	//
	// If the pool closes a channel that is as good as new (the pool closes,
	// IdleTimeout, MaxLifetime, MaxUses, Destroy, Discard) and opens none after it,
	// all connections close with the last channel, and the Close of that waits for
	// them. So after the pool's Close a connection stays for that long only if the
	// pool had no good channel then: [NewCloser] is for those.
	KeepEmpty time.Duration

	// Consumers makes a pool for channels that consume: to publish on one is an
	// error. RabbitMQ stops reading from a connection that has published while
	// it is short of memory or disk, and with it the consumers on that
	// connection, who alone could end the shortage, stand still. Each connector
	// has connections of its own, so a pool of consumers beside the pool that
	// publishes goes on. Default: false, any use.
	Consumers bool

	// Confirm puts every channel into confirm mode: the server says of each
	// message that it has it. Who waits for that spares the next user a round
	// trip, see Reset.
	Confirm bool
}

var (
	errDial     = errors.New("amqpchan: Options.Config.Dial is set; leave it nil, the pool dials")
	errRecovery = errors.New("amqpchan: Options.Config.Recovery is set; leave it nil, the pool replaces what breaks")
	errNegative = errors.New("amqpchan: Options.PerConnection is negative; give the most channels on one connection")
	errConsumer = errors.New("amqpchan: this channel is for consumers (Options.Consumers); publish on a channel of another pool")
	errGoexit   = errors.New("amqpchan: the dial called runtime.Goexit")
)

// New makes a connector. It opens nothing; what is wrong with the options is
// the error of the first Open, which dials nothing then.
func New(o Options) pools.Connector[*Channel] {
	connector, _ := NewCloser(o)
	return connector
}

// NewCloser makes a connector like New's, and a function to be called after the
// Close of its pool, which leaves nothing behind then: it closes the connections
// that stay without a channel for [Options].KeepEmpty. It returns when the server
// has let them go, after 5 s at most, or with ctx's error when that ends.
// Connections that have a channel yet, such as one that was detached from the pool,
// close with their last channel from now on. It may be called more than once, and
// by any goroutine.
func NewCloser(o Options) (connector pools.Connector[*Channel], closer func(ctx context.Context) error) {
	if o.URL == "" {
		o.URL = "amqp://guest:guest@127.0.0.1:5672/"
	}
	if o.PerConnection == 0 {
		o.PerConnection = 100
	}
	if o.KeepEmpty == 0 {
		o.KeepEmpty = 10 * time.Second
	}
	if o.Config.Heartbeat == 0 {
		o.Config.Heartbeat = 10 * time.Second
	}
	d := &dialer{options: o, limits: map[string]*limit{}}
	if err := faults(o); err != nil {
		d.fault = pools.Permanent(err)
	}
	connector = pools.Connector[*Channel]{
		Open:  d.open,
		Close: func(ctx context.Context, ch *Channel) error { return ch.close(ctx) },
		Check: func(ctx context.Context, ch *Channel) error { return ch.within(ctx, ch.ask) },
		Peek: func(ch *Channel) error {
			if ch.ended() {
				return amqp.ErrClosed
			}
			return nil
		},
		Reset: func(ctx context.Context, ch *Channel) error { return ch.reset(ctx) },
		Dirty: func(ch *Channel) bool { return ch.dirty() },
		Broken: func(ch *Channel, err error) bool {
			_, closed := errors.AsType[*amqp.Error](err)
			broken := closed || pools.Breaks(err) || ch.ended() || ch.changed.Load()
			if broken {
				ch.broken.Store(true)
			}
			return broken
		},
		Abort: func(ch *Channel) { go ch.Channel.Close() }, // its answer may never come
	}
	return connector, d.close
}

// faults finds what is wrong with the options. Its errors quote nothing of the
// URL, because a password that is not encoded may be anywhere in it.
func faults(o Options) error {
	switch {
	case o.Config.Dial != nil:
		return errDial
	case o.Config.Recovery != nil:
		return errRecovery
	case o.PerConnection < 0:
		return errNegative
	}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || strings.Contains(o.URL, " "):
		return errURL
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return errScheme
	case u.Opaque != "":
		return errURL
	}
	// A "/", "?" or "#" in a password ends what is taken for the login, and the
	// host is part of the password then, which errors of the dial would show.
	_, rest, _ := strings.Cut(o.URL, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.ContainsAny(rest[end:], "@#") {
		return errURL
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errPort
		}
	}
	if _, err := amqp.ParseURI(o.URL); err != nil { // the rest is its query
		return errQuery
	}
	for _, m := range u.Query()["auth_mechanism"] {
		switch strings.ToUpper(m) {
		case "PLAIN", "AMQPLAIN", "EXTERNAL":
		default:
			return errQuery
		}
	}
	return nil
}

var (
	errURL = errors.New("amqpchan: Options.URL cannot be read; write amqp://user:password@host:port/vhost, " +
		"with everything in user, password and vhost that is not a letter or a digit percent-encoded (url.UserPassword does that), and %40 for an @ in the query")
	errScheme = errors.New("amqpchan: the scheme of Options.URL is unknown; begin it with amqp:// or amqps://")
	errPort   = errors.New("amqpchan: the port in Options.URL is not a number from 1 to 65535; correct it, " +
		"or percent-encode the password (url.UserPassword does that)")
	errQuery = errors.New("amqpchan: the query of Options.URL is wrong; heartbeat, connection_timeout and channel_max are numbers, " +
		"auth_mechanism is plain, amqplain or external")
)

func (d *dialer) open(ctx context.Context) (*Channel, error) {
	if d.fault != nil {
		return nil, d.fault
	}
	c, err := d.connection(ctx)
	if err != nil {
		return nil, err
	}
	var ch *amqp.Channel
	opened := make(chan error, 1)
	go func() {
		var err error
		if ch, err = c.conn.Channel(); err == nil && d.options.Confirm {
			err = ch.Confirm(false)
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err == nil {
			d.opened(c)
			return &Channel{
				Channel: ch, dialer: d, connection: c, over: make(chan struct{}),
				leave: sync.OnceFunc(func() { d.leave(c) }),
			}, nil
		}
		if c.conn.IsClosed() { // why, is known in a moment
			select {
			case <-c.gone:
				err = d.reason(c, err)
			case <-ctx.Done():
			}
		}
		go func() { // nothing of this keeps the pool waiting
			if ch != nil {
				_ = ch.Close()
			}
			d.leave(c)
		}()
		return nil, err
	case <-d.blocks(c):
		err = d.blocked(c)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	// The connection does not answer: it gets no more channels until it does.
	// This one is given back when it comes.
	d.doubt(c, true)
	go func() {
		<-opened
		d.doubt(c, false)
		if ch != nil {
			_ = ch.Close()
		}
		d.leave(c)
	}()
	return nil, err
}

// within waits for f until ctx ends, or the server stops reading. The client
// has no ctx for what it asks.
func (ch *Channel) within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ch.dialer.blocks(ch.connection):
		return ch.dialer.blocked(ch.connection)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
