package connectors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/amqpchan"
	"github.com/utopia-go/pools/internal/engine"
)

func TestRabbitMQFaults(t *testing.T) {
	e, err := engine.RabbitMQ(t.Context())
	engine.Need(t, e, err)
	t.Run("churn", func(t *testing.T) { rabbitChurn(t, e) })
	t.Run("last channel", func(t *testing.T) { rabbitLastChannel(t, e) })
	t.Run("closer", func(t *testing.T) { rabbitCloser(t, e) })
	t.Run("refused", func(t *testing.T) { rabbitRefused(t, e) })
	t.Run("listeners", func(t *testing.T) { rabbitListeners(t, e) })
	t.Run("max-channels", func(t *testing.T) { rabbitMaxChannels(t, e) })
	t.Run("limits of a connection", func(t *testing.T) { rabbitTuning(t, e) })
	t.Run("heartbeat", func(t *testing.T) { rabbitHeartbeat(t, e) })
	t.Run("deleted queue", func(t *testing.T) { rabbitDeletedQueue(t, e) })
	t.Run("cancelled consumer", func(t *testing.T) { rabbitCancelled(t, e) })
	t.Run("alarm", func(t *testing.T) { rabbitAlarm(t, e) })
	t.Run("consumers under an alarm", func(t *testing.T) { rabbitConsumers(t, e) })
}

// counting is a login that counts how often it is used, which is once a dial.
func counting(n *atomic.Int32, name string) []amqp.Authentication {
	return []amqp.Authentication{login{&amqp.PlainAuth{Username: name, Password: name}, func() { n.Add(1) }}}
}

// publish sends a message and waits for its confirmation.
func publish(ctx context.Context, ch *amqpchan.Channel, exchange, key string) error {
	sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, amqp.Publishing{Body: []byte("x")})
	if err != nil {
		return err
	}
	_, err = sent.WaitContext(ctx)
	return err
}

// A channel that has declared a queue goes after its use; its connection stays.
func rabbitChurn(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var dials atomic.Int32
	pool, err := pools.New("churn", amqpchan.New(amqpchan.Options{
		URL: "amqp://" + e.Address, Confirm: true, KeepEmpty: 2 * time.Second, Config: amqp.Config{SASL: counting(&dials, "guest")},
	}), pools.Settings{Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		err := pool.Use(ctx, func(ch *amqpchan.Channel) error {
			q, err := ch.QueueDeclare("churn", false, false, false, false, nil)
			return errors.Join(err, publish(ctx, ch, "", q.Name))
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("50 uses, one after the other, dialled %d times", n)
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 0)
}

// connected waits until the server has so many connections.
func connected(ctx context.Context, t *testing.T, e *engine.Engine, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := engine.Eventually(ctx, func() error {
		if n, err := engine.RabbitConnections(ctx, e); err != nil || n != want {
			return fmt.Errorf("%d connections, want %d: %w", n, want, errors.Join(err, errLeft))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// When a pool closes, and has had a good channel, its connections go with the last
// channel, also those that are empty because of their users, and if the last one to
// come back is not a good one.
func rabbitLastChannel(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool, err := pools.New("last", amqpchan.New(amqpchan.Options{
		URL: "amqp://guest:guest@" + e.Address, PerConnection: 1, KeepEmpty: time.Hour,
	}), pools.Settings{Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Fill(ctx, 3); err != nil {
		t.Fatal(err)
	}
	err = pool.Use(ctx, func(ch *amqpchan.Channel) error { return ch.Qos(1, 0, false) })
	if err != nil {
		t.Fatal(err)
	}
	err = engine.Eventually(ctx, func() error { // its channel goes
		if n := pool.Stats().Vacant; n != 1 {
			return fmt.Errorf("%d places are vacant: %w", n, errLeft)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 3)
	held, err := pool.Pop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Resource().Qos(1, 0, false); err != nil {
		t.Error(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- pool.Close(ctx) }()
	err = engine.Eventually(ctx, func() error {
		if n, err := e.Connections(ctx); err != nil || n != 1 {
			return fmt.Errorf("%d channels, want the held one: %w", n, errors.Join(err, errLeft))
		}
		return nil
	})
	if err := errors.Join(err, held.Push(), <-closed); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 0)
}

// Where the last channel that was closed was not a good one, the closer ends what
// stays; a channel that was detached keeps its connection, for as long as it is open.
func rabbitCloser(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connector, closer := amqpchan.NewCloser(amqpchan.Options{URL: "amqp://guest:guest@" + e.Address, PerConnection: 1, KeepEmpty: time.Hour})
	detached, err := connector.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last, err := connector.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(last.Qos(1, 0, false), connector.Close(ctx, last)); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 2)
	over, end := context.WithCancel(ctx)
	end()
	if err := closer(over); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := closer(ctx); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 1)
	if err := passive(ctx, detached); err != nil {
		t.Errorf("the channel that is left: %v", err)
	}
	if err := detached.Close(); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 0)
}

// A refused login names the remedy and not the password; a virtual host that
// does not exist is not asked for again at once.
func rabbitRefused(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, r := range []struct {
		url, password, remedy string
		tries                 int
	}{
		{"amqp://" + e.Address, "s3cret", "correct user and password", 2},
		{"amqp://" + e.Address + "/none", "guest", "the virtual host", 1},
	} {
		var dials atomic.Int32
		pool, err := pools.New("refused", amqpchan.New(amqpchan.Options{URL: r.url, Config: amqp.Config{SASL: []amqp.Authentication{
			login{&amqp.PlainAuth{Username: "guest", Password: r.password}, func() { dials.Add(1) }},
		}}}), pools.Settings{Size: 1, ReconnectAttempts: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err = pool.Pop(ctx)
			if err == nil || !strings.Contains(err.Error(), r.remedy) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error is %v", err)
			}
		}
		if n := int(dials.Load()); n != r.tries {
			t.Errorf("%s: %d dials, want %d", r.remedy, n, r.tries)
		}
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// A listener that nobody reads holds up neither another channel of the
// connection nor its own, and is closed after the lease; one that is read gets
// everything in order.
func rabbitListeners(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool, err := pools.New("listener", amqpchan.New(amqpchan.Options{URL: "amqp://guest:guest@" + e.Address, Confirm: true, KeepEmpty: -1}), pools.Settings{Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	other, err := pool.Pop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const messages = 100
	var returns chan amqp.Return
	var acks, nacks chan uint64
	var closes chan *amqp.Error
	start := time.Now()
	err = pool.Use(ctx, func(ch *amqpchan.Channel) error {
		returns = ch.NotifyReturn(make(chan amqp.Return))
		acks, nacks = ch.NotifyConfirm(make(chan uint64), make(chan uint64))
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation))
		ch.NotifyFlow(make(chan bool))
		closes = ch.NotifyClose(make(chan *amqp.Error))
		for range messages {
			if err := ch.PublishWithContext(ctx, "amq.topic", "nowhere", true, false, amqp.Publishing{}); err != nil {
				return err
			}
		}
		for tag := range uint64(messages) {
			if c := <-confirms; !c.Ack || c.DeliveryTag != tag+1 {
				return fmt.Errorf("confirmation %d is %+v", tag+1, c)
			}
		}
		<-returns // it knows enough
		return errors.Join(passive(ctx, ch), passive(ctx, other.Resource()))
	})
	if err != nil {
		t.Error(err)
	}
	if err := passive(ctx, other.Resource()); err != nil {
		t.Error(err)
	}
	took := time.Since(start)
	t.Logf("%d unread events twice, and three round trips: %v", messages, took)
	if took > 2*time.Second {
		t.Errorf("unread listeners have cost %v", took)
	}
	time.Sleep(1500 * time.Millisecond) // the time that a listener is given after the lease
	for name, n := range map[string]int{"returns": drained(ctx, returns), "acks": drained(ctx, acks), "nacks": drained(ctx, nacks), "closes": drained(ctx, closes)} {
		if n != 0 {
			t.Errorf("%s: %d events after the lease, or it is not closed", name, n)
		}
	}
	if err := errors.Join(other.Push(), pool.Close(ctx)); err != nil {
		t.Error(err)
	}
}

// drained counts what a listener gets until it is closed, or is -1.
func drained[T any](ctx context.Context, c <-chan T) (n int) {
	for {
		select {
		case _, ok := <-c:
			if !ok {
				return n
			}
			n++
		case <-ctx.Done():
			return -1
		}
	}
}

// The first channel above a user's limit ends the connection, which nobody can
// foresee; after that no connection in use is ended by it.
func rabbitMaxChannels(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := errors.Join(engine.AddRabbitUser(ctx, e, "limited"), engine.LimitRabbitUser(ctx, e, "limited", 5))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pools.New("limit", amqpchan.New(amqpchan.Options{URL: "amqp://limited:limited@" + e.Address, KeepEmpty: -1}),
		pools.Settings{Size: 8, ReconnectAttempts: 1, WaitTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		var held []pools.Conn[*amqpchan.Channel]
		for range 6 {
			c, err := pool.Pop(ctx)
			if err == nil {
				held = append(held, c)
			} else if !strings.Contains(err.Error(), "max-channels") {
				t.Errorf("round %d: the error does not name the remedy: %v", round, err)
			}
		}
		closed := 0
		for _, c := range held {
			if c.Resource().IsClosed() {
				closed++
			}
			if err := c.Push(); err != nil {
				t.Error(err)
			}
		}
		t.Logf("round %d: of %d held channels %d were closed under their holders", round, len(held), closed)
		if round > 0 && (closed > 0 || len(held) != 5) {
			t.Errorf("round %d: %d channels of 5, and %d of them ended by another Pop", round, len(held), closed)
		}
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
}

// While the server has an alarm it reads nothing from connections that have
// published. The pool answers with an error that says so, and not with ever
// more connections and channels.
func rabbitAlarm(t *testing.T, e *engine.Engine) {
	const size, each = 4, 2
	var dials atomic.Int32
	connector := amqpchan.New(amqpchan.Options{
		URL: "amqp://" + e.Address, Confirm: true, PerConnection: each, KeepEmpty: time.Hour, Config: amqp.Config{SASL: counting(&dials, "guest")},
	})
	pool, err := pools.New("alarm", connector, pools.Settings{
		Size: size, Strict: true, OpenTimeout: time.Second, ReconnectAttempts: 1, ReconnectSleep: 100 * time.Millisecond,
		ResetTimeout: 500 * time.Millisecond, CloseTimeout: 500 * time.Millisecond, CheckTimeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	use := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return pool.Use(ctx, func(ch *amqpchan.Channel) error { return publish(ctx, ch, "amq.topic", "x") })
	}
	if err := pool.Fill(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	before := dials.Load()
	ctx, stop := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range size {
		users.Go(func() {
			for ctx.Err() == nil {
				_ = use()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	raise(t, e)
	for range 4 {
		time.Sleep(1500 * time.Millisecond)
		connections, err1 := engine.RabbitConnections(t.Context(), e)
		channels, err2 := e.Connections(t.Context())
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
		}
		s := pool.Stats()
		t.Logf("figures: %d connections, %d channels, %d dials; abandoned %d, hung %d", connections, channels, dials.Load()-before, s.Abandoned, s.Hung)
		if connections > size/each || channels > size {
			t.Errorf("the server has %d connections and %d channels of a Strict pool of %d", connections, channels, size)
		}
		if s.Hung > size || s.Abandoned > size {
			t.Errorf("%d hung calls, %d abandoned, of a pool of %d", s.Hung, s.Abandoned, size)
		}
	}
	start := time.Now()
	_, err = connector.Open(ctx)
	t.Logf("figures: Open fails after %v", time.Since(start))
	if err == nil || !strings.Contains(err.Error(), "memory") || time.Since(start) > time.Second {
		t.Errorf("an Open after %v: %v", time.Since(start), err)
	}
	stop()
	users.Wait()
	if n := dials.Load(); n != before {
		t.Errorf("%d dials during the alarm", n-before)
	}
	if err := engine.RabbitAlarm(t.Context(), e, false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start = time.Now()
	if err := engine.Eventually(ctx, use); err != nil {
		t.Errorf("after the alarm: %v", err)
	}
	t.Logf("figures: served again after %v", time.Since(start))
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
	connected(ctx, t, e, 0)
}

// raise raises the alarm until the test ends.
func raise(t *testing.T, e *engine.Engine) {
	t.Helper()
	if err := engine.RabbitAlarm(t.Context(), e, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.RabbitAlarm(ctx, e, false); err != nil {
			t.Error(err)
		}
	})
}

// A pool for consumers goes on while an alarm stops the pool that publishes.
func rabbitConsumers(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := "amqp://guest:guest@" + e.Address
	publishers := amqpchan.New(amqpchan.Options{URL: url, Confirm: true, KeepEmpty: -1})
	consumers := amqpchan.New(amqpchan.Options{URL: url, Consumers: true, KeepEmpty: -1})
	p, err1 := publishers.Open(ctx)
	c, err2 := consumers.Open(ctx)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := c.PublishWithContext(ctx, "", "work", false, false, amqp.Publishing{}); err == nil || !strings.Contains(err.Error(), "another pool") {
		t.Errorf("to publish where consumers are: %v", err)
	}
	q, err := c.QueueDeclare("", false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	const messages = 20
	for range messages {
		if err := publish(ctx, p, "", q.Name); err != nil {
			t.Fatal(err)
		}
	}
	raise(t, e)
	short, cancelShort := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancelShort()
	if err := publish(short, p, "", q.Name); err == nil {
		t.Error("the alarm does not stop who publishes")
	}
	if err := publishers.Reset(ctx, p); err == nil || !strings.Contains(err.Error(), "stopped reading") {
		t.Errorf("Reset: %v", err)
	}
	deliveries, err := c.Consume(q.Name, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range messages {
		select {
		case d := <-deliveries:
			if err := d.Ack(false); err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Fatal("the consumer stands still")
		}
	}
	other, err := consumers.Open(ctx)
	if err != nil {
		t.Errorf("another consumer: %v", err)
	} else if err := consumers.Close(ctx, other); err != nil {
		t.Error(err)
	}
	if err := consumers.Close(ctx, c); err != nil {
		t.Error(err)
	}
	if err := engine.RabbitAlarm(ctx, e, false); err != nil {
		t.Error(err)
	}
	if err := publishers.Close(ctx, p); err != nil {
		t.Error(err)
	}
}

// opened opens a channel, and closes it at the end of the test.
func opened(t *testing.T, o amqpchan.Options) (pools.Connector[*amqpchan.Channel], *amqpchan.Channel) {
	t.Helper()
	o.KeepEmpty = -1
	connector := amqpchan.New(o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ch, err := connector.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = connector.Close(ctx, ch) // the test may have ended it
	})
	return connector, ch
}

// channel_max: one more is an error of the client's, and ends nothing.
// frame_max: the smaller of both wishes holds, and larger messages are cut.
func rabbitTuning(t *testing.T, e *engine.Engine) {
	url := "amqp://guest:guest@" + e.Address
	conn, err := amqp.DialConfig(url, amqp.Config{ChannelMax: 1, FrameSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Logf("channel_max %d, frame_max %d, heartbeat %v", conn.Config.ChannelMax, conn.Config.FrameSize, conn.Config.Heartbeat)
	if conn.Config.FrameSize != 131072 {
		t.Errorf("frame_max is %d", conn.Config.FrameSize)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Channel(); !errors.Is(err, amqp.ErrChannelMax) {
		t.Errorf("a channel too many: %v", err)
	}
	if err := ch.ExchangeDeclarePassive("amq.topic", "topic", true, false, false, false, nil); err != nil {
		t.Errorf("the first channel: %v", err)
	}

	zero, err := amqp.DialConfig(url+"/?heartbeat=0", amqp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	if h := zero.Config.Heartbeat; h != time.Minute {
		t.Errorf("heartbeat=0 makes a heartbeat of %v", h)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, small := opened(t, amqpchan.Options{URL: url, Confirm: true, Config: amqp.Config{FrameSize: 4096}})
	q, err := small.QueueDeclare("", false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 100_000)
	sent, err := small.PublishWithDeferredConfirmWithContext(ctx, "", q.Name, false, false, amqp.Publishing{Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sent.WaitContext(ctx)
	d, ok, err2 := small.Get(q.Name, true)
	if err := errors.Join(err, err2); err != nil || !ok || string(d.Body) != body {
		t.Errorf("a message larger than a frame: %v, %d of %d bytes: %v", ok, len(d.Body), len(body), err)
	}
	_, err = small.QueueDelete(q.Name, false, false, false)
	if err != nil {
		t.Error(err)
	}
}

// A connection whose heartbeat fails ends, after one and a half intervals;
// heartbeat=0 means the server's, and that one stays for longer.
func rabbitHeartbeat(t *testing.T, e *engine.Engine) {
	p := before(t, e)
	url := "amqp://guest:guest@" + p.Address
	_, with := opened(t, amqpchan.Options{URL: url, Config: amqp.Config{Heartbeat: time.Second}})
	_, servers := opened(t, amqpchan.Options{URL: url + "/?heartbeat=0"})
	p.Stall()
	start := time.Now()
	for !with.IsClosed() && time.Since(start) < 10*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(start)
	t.Logf("a heartbeat of 1 s: closed after %v", took)
	if took > 5*time.Second {
		t.Errorf("closed after %v", took)
	}
	if servers.IsClosed() {
		t.Error("with the server's heartbeat: closed as well")
	}
	p.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := passive(ctx, servers); err != nil {
		t.Errorf("with the server's heartbeat: %v", err)
	}
}

// When a queue is deleted its consumers are told, and their channels stay; a
// message to it is confirmed and lost; to get from it closes the channel.
func rabbitDeletedQueue(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := amqpchan.Options{URL: "amqp://guest:guest@" + e.Address, Confirm: true}
	_, consumer := opened(t, o)
	_, other := opened(t, o)
	q, err := consumer.QueueDeclare("", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancels := consumer.NotifyCancel(make(chan string))
	deliveries, err := consumer.Consume(q.Name, "me", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.QueueDelete(q.Name, false, false, false); err != nil {
		t.Fatal(err)
	}
	select {
	case tag := <-cancels:
		if tag != "me" {
			t.Errorf("%q was cancelled", tag)
		}
	case <-ctx.Done():
		t.Error("the consumer was not told")
	}
	if n := drained(ctx, deliveries); n != 0 {
		t.Errorf("%d deliveries, or they go on", n)
	}
	if err := passive(ctx, consumer); err != nil {
		t.Errorf("the consumer's channel: %v", err)
	}
	returns := other.NotifyReturn(make(chan amqp.Return))
	sent, err := other.PublishWithDeferredConfirmWithContext(ctx, "", q.Name, true, false, amqp.Publishing{})
	if err != nil {
		t.Fatal(err)
	}
	if acked, err := sent.WaitContext(ctx); !acked || err != nil {
		t.Errorf("a message to the deleted queue: acknowledged %v, %v", acked, err)
	}
	select {
	case <-returns:
	case <-ctx.Done():
		t.Error("a mandatory message was not returned")
	}
	_, _, err = other.Get(q.Name, true)
	if answer, ok := errors.AsType[*amqp.Error](err); !ok || answer.Code != amqp.NotFound || !other.IsClosed() {
		t.Errorf("to get from the deleted queue: %v, closed %v", err, other.IsClosed())
	}
}

// A user that cancels its consumer has a good channel, which goes with its
// lease all the same; what it has not acknowledged comes back.
func rabbitCancelled(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connector, ch := opened(t, amqpchan.Options{URL: "amqp://guest:guest@" + e.Address, Confirm: true})
	_, other := opened(t, amqpchan.Options{URL: "amqp://guest:guest@" + e.Address})
	q, err := ch.QueueDeclare("", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(q.Name, "me", false, false, false, false, nil)
	if err := errors.Join(err, publish(ctx, ch, "", q.Name), ch.Cancel("me", false)); err != nil {
		t.Fatal(err)
	}
	if n := drained(ctx, deliveries); n != 1 {
		t.Errorf("%d deliveries, want 1 and the end", n)
	}
	if err := passive(ctx, ch); err != nil {
		t.Errorf("the channel: %v", err)
	}
	if !connector.Broken(ch, nil) {
		t.Error("the channel would be lent again, with a message to acknowledge")
	}
	if err := connector.Close(ctx, ch); err != nil {
		t.Error(err)
	}
	var d amqp.Delivery
	err = engine.Eventually(ctx, func() error {
		var ok bool
		if d, ok, err = other.Get(q.Name, true); err == nil && !ok {
			err = errLeft
		}
		return err
	})
	if err != nil || !d.Redelivered {
		t.Errorf("the message: redelivered %v, %v", d.Redelivered, err)
	}
	if _, err := other.QueueDelete(q.Name, false, false, false); err != nil {
		t.Error(err)
	}
}
