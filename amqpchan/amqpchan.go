// Package amqpchan makes pools of AMQP 0-9-1 channels, for RabbitMQ and others
// that speak it, by the client that the RabbitMQ team keeps
// (github.com/rabbitmq/amqp091-go).
//
// A channel is what one goroutine publishes on; connections are dear, and many
// channels share one. So the pool's resources are channels, and the connector
// keeps the few connections below them: it dials when no connection has a place
// left, and closes one when its last channel has gone.
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
//   - Abort closes the channel, and not the connection, on which others work:
//     who waits for a delivery is interrupted. Who waits for a server that is
//     silent waits for the heartbeat to find that out, and who publishes to one
//     that has stopped reading (an alarm of RabbitMQ's), until it reads again.
//   - Close closes the channel and waits for the server's answer.
package amqpchan

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
)

// Options say how connections and channels are made.
type Options struct {
	// URL is as [amqp.DialConfig] takes it; default: amqp://guest:guest@127.0.0.1:5672/.
	URL string

	// Config is the client's, for TLS, the heartbeat (default: 10 s) and the
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

	// Confirm puts every channel into confirm mode: the server says of each
	// message that it has it. Who waits for that spares the next user a round
	// trip, see Reset.
	Confirm bool
}

var (
	errDial     = errors.New("amqpchan: Options.Config.Dial is set; leave it nil, the pool dials")
	errRecovery = errors.New("amqpchan: Options.Config.Recovery is set; leave it nil, the pool replaces what breaks")
	errNegative = errors.New("amqpchan: Options.PerConnection is negative; give the most channels on one connection")
	errGoexit   = errors.New("amqpchan: the dial called runtime.Goexit")
)

// New makes a connector. It opens nothing; what is wrong with the options is
// the error of the first Open.
func New(o Options) pools.Connector[*Channel] {
	if o.URL == "" {
		o.URL = "amqp://guest:guest@127.0.0.1:5672/"
	}
	if o.PerConnection == 0 {
		o.PerConnection = 100
	}
	if o.Config.Heartbeat == 0 {
		o.Config.Heartbeat = 10 * time.Second
	}
	d := &dialer{options: o}
	return pools.Connector[*Channel]{
		Open:  d.open,
		Close: func(ctx context.Context, ch *Channel) error { return ch.close(ctx) },
		Check: func(ctx context.Context, ch *Channel) error { return within(ctx, ch.ask) },
		Reset: func(ctx context.Context, ch *Channel) error { return ch.reset(ctx) },
		Dirty: func(ch *Channel) bool { return ch.dirty() },
		Broken: func(ch *Channel, err error) bool {
			_, closed := errors.AsType[*amqp.Error](err)
			return closed || pools.Breaks(err) || ch.IsClosed() || ch.changed.Load()
		},
		Abort: func(ch *Channel) { go ch.Channel.Close() }, // its answer may never come
	}
}

func (d *dialer) open(ctx context.Context) (*Channel, error) {
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
			return &Channel{Channel: ch, leave: sync.OnceValue(func() error { return d.leave(c) })}, nil
		}
		go func() { // nothing of this keeps the pool waiting
			if ch != nil {
				_ = ch.Close()
			}
			_ = d.leave(c)
		}()
		return nil, err
	case <-ctx.Done():
		// The connection does not answer: it gets no more channels until it
		// does. This one is given back when it comes.
		d.doubt(c, true)
		go func() {
			<-opened
			d.doubt(c, false)
			if ch != nil {
				_ = ch.Close()
			}
			_ = d.leave(c)
		}()
		return nil, context.Cause(ctx)
	}
}

// within waits for f until ctx ends. The client has no ctx for what it asks.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
