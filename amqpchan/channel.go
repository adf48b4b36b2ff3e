package amqpchan

import (
	"context"
	"errors"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Channel is an [amqp.Channel] that notes when its user changes what it is.
// Publishing, and declaring exchanges and bindings do not; what is overridden
// here does, and the channel goes when its user gives it back. Who consumes for
// long should detach it from the pool.
//
// An exclusive queue belongs to the connection, which the channel shares with
// others: it lasts until that ends, and not only until the channel does.
type Channel struct {
	*amqp.Channel
	leave   func() error // gives its place on the connection back, once
	changed atomic.Bool
}

// Close closes the channel, and its connection if it was the last there. The
// pool does that; it is for who has detached the channel from it.
func (ch *Channel) Close() error { return errors.Join(ch.Channel.Close(), ch.leave()) }

// close is Close within a ctx. The client has sent its farewell before it
// waits for the answer, so the server learns of it in any case.
func (ch *Channel) close(ctx context.Context) error { return within(ctx, ch.Close) }

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

// Get is [amqp.Channel.Get]. What is to be acknowledged belongs to this
// channel, and the server delivers it again when that has gone.
func (ch *Channel) Get(queue string, autoAck bool) (amqp.Delivery, bool, error) {
	if !autoAck {
		ch.changed.Store(true)
	}
	return ch.Channel.Get(queue, autoAck)
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

// NotifyClose is [amqp.Channel.NotifyClose].
func (ch *Channel) NotifyClose(c chan *amqp.Error) chan *amqp.Error {
	ch.changed.Store(true)
	return ch.Channel.NotifyClose(c)
}

// NotifyFlow is [amqp.Channel.NotifyFlow].
func (ch *Channel) NotifyFlow(c chan bool) chan bool {
	ch.changed.Store(true)
	return ch.Channel.NotifyFlow(c)
}

// NotifyReturn is [amqp.Channel.NotifyReturn].
func (ch *Channel) NotifyReturn(c chan amqp.Return) chan amqp.Return {
	ch.changed.Store(true)
	return ch.Channel.NotifyReturn(c)
}

// NotifyCancel is [amqp.Channel.NotifyCancel].
func (ch *Channel) NotifyCancel(c chan string) chan string {
	ch.changed.Store(true)
	return ch.Channel.NotifyCancel(c)
}

// NotifyConfirm is [amqp.Channel.NotifyConfirm].
func (ch *Channel) NotifyConfirm(ack, nack chan uint64) (chan uint64, chan uint64) {
	ch.changed.Store(true)
	return ch.Channel.NotifyConfirm(ack, nack)
}

// NotifyPublish is [amqp.Channel.NotifyPublish].
func (ch *Channel) NotifyPublish(confirm chan amqp.Confirmation) chan amqp.Confirmation {
	ch.changed.Store(true)
	return ch.Channel.NotifyPublish(confirm)
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
