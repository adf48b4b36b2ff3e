package amqpchan

import (
	"context"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Channel is an [amqp.Channel] that notes when its user changes what it is: then
// it goes when its user gives it back. Publishing, and declaring exchanges and
// bindings do not change it. Who consumes for long should detach it from the pool.
//
// It notes, too, whether something was sent that the server answers only by
// closing the channel, if it is wrong: messages, acknowledgements, and what is
// sent with noWait. The next user gets the channel when the server has taken that.
//
// What the Notify methods are given is not handed to the client, whose one reader
// waits up to 5 s for each event that nobody takes, and all channels of the
// connection with it. A queue of up to 65,536 events is between, and drops what
// comes beyond that. After the lease a listener may take what is queued for one
// more second; then the rest is dropped and the listener closed.
//
// An exclusive queue belongs to the connection, which the channel shares with
// others: it lasts until that ends, and not only until the channel does.
type Channel struct {
	*amqp.Channel
	dialer     *dialer
	connection *connection
	leave      func() // gives its place on the connection back, once
	changed    atomic.Bool
	broken     atomic.Bool // the pool was told so

	over chan struct{} // closed when its lease has ended
	ends sync.Once

	unanswered atomic.Bool // something was sent that has no answer
	sending    sync.Mutex  // of a message, so that latest is that of the last one
	latest     *amqp.DeferredConfirmation
}

// ended reports whether the channel or its connection has ended. The client
// closes the channels of a connection that has ended one after the other.
func (ch *Channel) ended() bool {
	return ch.IsClosed() || ch.connection.conn.IsClosed()
}

// dirty reports whether the server may yet close the channel for something
// that its user has sent. It takes everything in order, so when it has confirmed
// the last message, that holds for all before.
func (ch *Channel) dirty() bool {
	if !ch.sending.TryLock() {
		return true // a goroutine of the user's is still at it
	}
	defer ch.sending.Unlock()
	return ch.unanswered.Load() || ch.latest != nil && !ch.latest.Acked()
}

// reset waits until the server has taken what was sent, or has closed the
// channel for it.
func (ch *Channel) reset(ctx context.Context) error {
	return ch.within(ctx, func() error {
		ch.unanswered.Store(false)
		ch.sending.Lock()
		ch.latest = nil
		ch.sending.Unlock()
		return ch.ask()
	})
}

// ask asks for something that every server has. The answer comes after
// everything that was sent before.
func (ch *Channel) ask() error {
	return ch.Channel.ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil)
}

// Close closes the channel. The pool does that; it is for users that have
// detached the channel from it.
func (ch *Channel) Close() error {
	ch.end()
	err := ch.Channel.Close()
	ch.leave()
	return err
}

// close is Close within a ctx. The client has sent its farewell before it
// waits for the answer, so the server learns of it in any case, unless it does
// not read: then it has the channel until it does, and so long this is not over.
//
// If the channel is as good as new, the pool wants it no more. When that was the last
// one, the connections go too, and are waited for until ctx ends.
func (ch *Channel) close(ctx context.Context) error {
	unwanted := !ch.ended() && !ch.changed.Load() && !ch.broken.Load()
	done, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		done <- ch.Close()
		ch.dialer.hangUp(unwanted)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		if !ch.dialer.isBlocked(ch.connection) {
			return context.Cause(ctx)
		}
		err = <-done
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
	return err
}

// QueueDeclare is [amqp.Channel.QueueDeclare]. The channel remembers the queue
// as the one that an empty name means.
func (ch *Channel) QueueDeclare(name string, durable, autoDelete, exclusive, noWait bool, args amqp.Table) (amqp.Queue, error) {
	ch.changed.Store(true)
	return ch.Channel.QueueDeclare(name, durable, autoDelete, exclusive, noWait, args)
}

// QueueDeclarePassive is [amqp.Channel.QueueDeclarePassive]. The channel
// remembers the queue as the one that an empty name means.
func (ch *Channel) QueueDeclarePassive(name string, durable, autoDelete, exclusive, noWait bool, args amqp.Table) (amqp.Queue, error) {
	ch.changed.Store(true)
	return ch.Channel.QueueDeclarePassive(name, durable, autoDelete, exclusive, noWait, args)
}

// QueueInspect is [amqp.Channel.QueueInspect]. The channel remembers the queue
// as the one that an empty name means.
//
// Deprecated: Use [Channel.QueueDeclarePassive].
func (ch *Channel) QueueInspect(name string) (amqp.Queue, error) {
	ch.changed.Store(true)
	return ch.Channel.QueueInspect(name)
}

// Consume is [amqp.Channel.Consume].
func (ch *Channel) Consume(queue, consumer string, autoAck, exclusive, noLocal, noWait bool, args amqp.Table) (<-chan amqp.Delivery, error) {
	ch.changed.Store(true)
	return ch.Channel.Consume(queue, consumer, autoAck, exclusive, noLocal, noWait, args)
}

// ConsumeWithContext is [amqp.Channel.ConsumeWithContext].
func (ch *Channel) ConsumeWithContext(ctx context.Context, queue, consumer string, autoAck, exclusive, noLocal, noWait bool, args amqp.Table) (<-chan amqp.Delivery, error) {
	ch.changed.Store(true)
	return ch.Channel.ConsumeWithContext(ctx, queue, consumer, autoAck, exclusive, noLocal, noWait, args)
}

// Publish is [amqp.Channel.Publish].
func (ch *Channel) Publish(exchange, key string, mandatory, immediate bool, msg amqp.Publishing) error {
	_, err := ch.PublishWithDeferredConfirm(exchange, key, mandatory, immediate, msg)
	return err
}

// PublishWithContext is [amqp.Channel.PublishWithContext].
func (ch *Channel) PublishWithContext(ctx context.Context, exchange, key string, mandatory, immediate bool, msg amqp.Publishing) error {
	_, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, mandatory, immediate, msg)
	return err
}

// PublishWithDeferredConfirm is [amqp.Channel.PublishWithDeferredConfirm].
func (ch *Channel) PublishWithDeferredConfirm(exchange, key string, mandatory, immediate bool, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	return ch.PublishWithDeferredConfirmWithContext(context.Background(), exchange, key, mandatory, immediate, msg)
}

// PublishWithDeferredConfirmWithContext is
// [amqp.Channel.PublishWithDeferredConfirmWithContext].
func (ch *Channel) PublishWithDeferredConfirmWithContext(ctx context.Context, exchange, key string, mandatory, immediate bool, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	if ch.dialer.options.Consumers {
		return nil, errConsumer
	}
	ch.sending.Lock()
	defer ch.sending.Unlock()
	sent, err := ch.Channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, mandatory, immediate, msg)
	if sent != nil {
		ch.latest = sent
	} else {
		ch.unanswered.Store(true)
	}
	return sent, err
}

// Ack is [amqp.Channel.Ack].
func (ch *Channel) Ack(tag uint64, multiple bool) error {
	ch.unanswered.Store(true)
	return ch.Channel.Ack(tag, multiple)
}

// Nack is [amqp.Channel.Nack].
func (ch *Channel) Nack(tag uint64, multiple, requeue bool) error {
	ch.unanswered.Store(true)
	return ch.Channel.Nack(tag, multiple, requeue)
}

// Reject is [amqp.Channel.Reject].
func (ch *Channel) Reject(tag uint64, requeue bool) error {
	ch.unanswered.Store(true)
	return ch.Channel.Reject(tag, requeue)
}

// Get is [amqp.Channel.Get]. What is to be acknowledged belongs to this
// channel, and the server delivers it again when that has gone.
func (ch *Channel) Get(queue string, autoAck bool) (amqp.Delivery, bool, error) {
	if !autoAck {
		ch.changed.Store(true)
	}
	d, ok, err := ch.Channel.Get(queue, autoAck)
	if ok {
		d.Acknowledger = ch // not the client's channel, which notes nothing
	}
	return d, ok, err
}

// Qos is [amqp.Channel.Qos].
func (ch *Channel) Qos(prefetchCount, prefetchSize int, global bool) error {
	ch.changed.Store(true)
	return ch.Channel.Qos(prefetchCount, prefetchSize, global)
}

// Tx is [amqp.Channel.Tx].
func (ch *Channel) Tx() error {
	ch.changed.Store(true)
	return ch.Channel.Tx()
}

// Confirm is [amqp.Channel.Confirm]. See [Options].Confirm.
func (ch *Channel) Confirm(noWait bool) error {
	ch.changed.Store(true)
	return ch.Channel.Confirm(noWait)
}

// Flow is [amqp.Channel.Flow].
func (ch *Channel) Flow(active bool) error {
	ch.changed.Store(true)
	return ch.Channel.Flow(active)
}

// NotifyClose is [amqp.Channel.NotifyClose], through a queue: see [Channel].
func (ch *Channel) NotifyClose(c chan *amqp.Error) chan *amqp.Error {
	forwardTo(ch, ch.Channel.NotifyClose(make(chan *amqp.Error, 1)), c)
	return c
}

// NotifyFlow is [amqp.Channel.NotifyFlow], through a queue: see [Channel].
func (ch *Channel) NotifyFlow(c chan bool) chan bool {
	forwardTo(ch, ch.Channel.NotifyFlow(make(chan bool, 1)), c)
	return c
}

// NotifyReturn is [amqp.Channel.NotifyReturn], through a queue: see [Channel].
func (ch *Channel) NotifyReturn(c chan amqp.Return) chan amqp.Return {
	forwardTo(ch, ch.Channel.NotifyReturn(make(chan amqp.Return, 1)), c)
	return c
}

// NotifyCancel is [amqp.Channel.NotifyCancel], through a queue: see [Channel].
func (ch *Channel) NotifyCancel(c chan string) chan string {
	forwardTo(ch, ch.Channel.NotifyCancel(make(chan string, 1)), c)
	return c
}

// NotifyConfirm is [amqp.Channel.NotifyConfirm], through a queue: see [Channel].
func (ch *Channel) NotifyConfirm(ack, nack chan uint64) (chan uint64, chan uint64) {
	forward(ch, ch.Channel.NotifyPublish(make(chan amqp.Confirmation, 1)), func(c amqp.Confirmation) (chan<- uint64, uint64) {
		if c.Ack {
			return ack, c.DeliveryTag
		}
		return nack, c.DeliveryTag
	}, func() {
		close(ack)
		if nack != ack {
			close(nack)
		}
	})
	return ack, nack
}

// NotifyPublish is [amqp.Channel.NotifyPublish], through a queue: see [Channel].
func (ch *Channel) NotifyPublish(confirm chan amqp.Confirmation) chan amqp.Confirmation {
	forwardTo(ch, ch.Channel.NotifyPublish(make(chan amqp.Confirmation, 1)), confirm)
	return confirm
}

// NotifyStateChange is [amqp.Channel.NotifyStateChange].
func (ch *Channel) NotifyStateChange(c chan *amqp.StateChanged) {
	ch.changed.Store(true)
	ch.Channel.NotifyStateChange(c)
}

// NotifyRecoveryCancel is [amqp.Channel.NotifyRecoveryCancel].
func (ch *Channel) NotifyRecoveryCancel(receiver chan struct{}) chan struct{} {
	ch.changed.Store(true)
	return ch.Channel.NotifyRecoveryCancel(receiver)
}

// answers notes a call that has no answer.
func (ch *Channel) answers(noWait bool) {
	if noWait {
		ch.unanswered.Store(true)
	}
}

// Cancel is [amqp.Channel.Cancel].
func (ch *Channel) Cancel(consumer string, noWait bool) error {
	ch.answers(noWait)
	return ch.Channel.Cancel(consumer, noWait)
}

// QueueBind is [amqp.Channel.QueueBind].
func (ch *Channel) QueueBind(name, key, exchange string, noWait bool, args amqp.Table) error {
	ch.answers(noWait)
	return ch.Channel.QueueBind(name, key, exchange, noWait, args)
}

// QueuePurge is [amqp.Channel.QueuePurge].
func (ch *Channel) QueuePurge(name string, noWait bool) (int, error) {
	ch.answers(noWait)
	return ch.Channel.QueuePurge(name, noWait)
}

// QueueDelete is [amqp.Channel.QueueDelete].
func (ch *Channel) QueueDelete(name string, ifUnused, ifEmpty, noWait bool) (int, error) {
	ch.answers(noWait)
	return ch.Channel.QueueDelete(name, ifUnused, ifEmpty, noWait)
}

// ExchangeDeclare is [amqp.Channel.ExchangeDeclare].
func (ch *Channel) ExchangeDeclare(name, kind string, durable, autoDelete, internal, noWait bool, args amqp.Table) error {
	ch.answers(noWait)
	return ch.Channel.ExchangeDeclare(name, kind, durable, autoDelete, internal, noWait, args)
}

// ExchangeDeclarePassive is [amqp.Channel.ExchangeDeclarePassive].
func (ch *Channel) ExchangeDeclarePassive(name, kind string, durable, autoDelete, internal, noWait bool, args amqp.Table) error {
	ch.answers(noWait)
	return ch.Channel.ExchangeDeclarePassive(name, kind, durable, autoDelete, internal, noWait, args)
}

// ExchangeDelete is [amqp.Channel.ExchangeDelete].
func (ch *Channel) ExchangeDelete(name string, ifUnused, noWait bool) error {
	ch.answers(noWait)
	return ch.Channel.ExchangeDelete(name, ifUnused, noWait)
}

// ExchangeBind is [amqp.Channel.ExchangeBind].
func (ch *Channel) ExchangeBind(destination, key, source string, noWait bool, args amqp.Table) error {
	ch.answers(noWait)
	return ch.Channel.ExchangeBind(destination, key, source, noWait, args)
}

// ExchangeUnbind is [amqp.Channel.ExchangeUnbind].
func (ch *Channel) ExchangeUnbind(destination, key, source string, noWait bool, args amqp.Table) error {
	ch.answers(noWait)
	return ch.Channel.ExchangeUnbind(destination, key, source, noWait, args)
}
