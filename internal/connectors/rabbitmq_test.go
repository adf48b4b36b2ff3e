package connectors

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/amqpchan"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/poolstest"
)

// passive asks for something that every RabbitMQ has. The client has no ctx.
func passive(ctx context.Context, ch *amqpchan.Channel) error {
	done := make(chan error, 1)
	go func() { done <- ch.ExchangeDeclarePassive("amq.topic", "topic", true, false, false, false, nil) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestRabbitMQ(t *testing.T) {
	e, err := engine.RabbitMQ(t.Context())
	engine.Need(t, e, err)
	const secret = "open sesame/50%"
	if err := errors.Join(engine.AddRabbitUser(t.Context(), e, "app"), engine.SetRabbitPassword(t.Context(), e, "app", secret)); err != nil {
		t.Fatal(err)
	}
	for name, confirm := range map[string]bool{"connector": false, "connector, Confirm": true} {
		t.Run(name, func(t *testing.T) { rabbitConnector(t, e, secret, confirm) })
	}
	t.Run("next user", func(t *testing.T) { rabbitNextUser(t, "amqp://guest:guest@"+e.Address) })
	t.Run("dirty", func(t *testing.T) { rabbitDirty(t, "amqp://guest:guest@"+e.Address) })
	t.Run("few connections", func(t *testing.T) { fewConnections(t, e) })
	t.Run("fewer channels than asked for", func(t *testing.T) { channelMax(t, e) })
	t.Run("credentials", func(t *testing.T) { rabbitCredentials(t, e) })
	t.Run("a dial for who has less time", func(t *testing.T) { rabbitShortDial(t, "amqp://guest:guest@"+e.Address) })
	t.Run("peek", func(t *testing.T) {
		p := before(t, e)
		seesEnd(t, amqpchan.New(amqpchan.Options{URL: "amqp://guest:guest@" + p.Address}),
			func(ch *amqpchan.Channel) error { return passive(t.Context(), ch) }, p.Cut)
	})
	t.Run("peek, many channels", func(t *testing.T) { rabbitPeeks(t, e) })
	t.Run("a login that panics", func(t *testing.T) { rabbitPanics(t, "amqp://guest:guest@"+e.Address) })
}

// rabbitConnector tries the connector out. A channel in confirm mode can have no
// transactions, and there is no Useless: each error of AMQP's ends its channel.
func rabbitConnector(t *testing.T, e *engine.Engine, secret string, confirm bool) {
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*amqpchan.Channel] {
		p := before(t, e)
		connector := func(password, address string) pools.Connector[*amqpchan.Channel] {
			u := "amqp://" + url.UserPassword("app", password).String() + "@" + address
			return amqpchan.New(amqpchan.Options{URL: u, Confirm: confirm})
		}
		s := poolstest.Subject[*amqpchan.Channel]{
			Connector: connector(secret, p.Address),
			Use:       passive,
			Block: func(ch *amqpchan.Channel) error {
				q, err := ch.QueueDeclare("", false, true, true, false, nil)
				if err != nil {
					return err
				}
				deliveries, err := ch.Consume(q.Name, "", true, false, false, false, nil)
				if err != nil {
					return err
				}
				for range deliveries {
				}
				return amqp.ErrClosed
			},
			Failing: map[string]pools.Connector[*amqpchan.Channel]{
				"a wrong password":             connector("wrong "+secret, p.Address),
				"a password without encodings": amqpchan.New(amqpchan.Options{URL: "amqp://app:" + secret + "@" + p.Address}),
				"no such virtual host":         connector(secret, p.Address+"/none"),
				"nobody who listens":           connector(secret, nobody),
			},
			Secrets: []string{secret, "sesame"},
		}
		if !confirm {
			s.Write = func(ctx context.Context, ch *amqpchan.Channel) error {
				return errors.Join(ch.PublishWithContext(ctx, "", "written", false, false, amqp.Publishing{Body: []byte("x")}), passive(ctx, ch))
			}
			s.Begin = func(ctx context.Context, ch *amqpchan.Channel) error { return errors.Join(ch.Tx(), s.Write(ctx, ch)) }
			s.Written = func() int { return messages(t, e) }
		}
		return subject(t, e, p, s)
	})
}

// messages counts those in the queue "written".
func messages(t *testing.T, e *engine.Engine) int {
	conn, err := amqp.Dial("amqp://guest:guest@" + e.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("written", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// rabbitPeeks has a connection end that many channels share. The client closes them
// one after the other; Peek must not call a channel good after another one has
// been seen to end.
func rabbitPeeks(t *testing.T, e *engine.Engine) {
	p := before(t, e)
	connector := amqpchan.New(amqpchan.Options{URL: "amqp://guest:guest@" + p.Address})
	for range 20 {
		channels := make([]*amqpchan.Channel, 100) // Options.PerConnection
		for i := range channels {
			ch, err := connector.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			channels[i] = ch
		}
		p.Cut()
		ended := func(ch *amqpchan.Channel) bool { return connector.Peek(ch) != nil }
		for end := time.Now().Add(5 * time.Second); !slices.ContainsFunc(channels, ended); {
			if time.Now().After(end) {
				t.Fatal("the end is not seen")
			}
		}
		for i, ch := range channels {
			if !ended(ch) {
				t.Fatalf("channel %d is good, though its connection has ended", i)
			}
		}
		for _, ch := range channels {
			_ = connector.Close(t.Context(), ch)
		}
	}
}

func rabbitNextUser(t *testing.T, url string) {
	publish := func(exchange string) func(context.Context, *amqpchan.Channel) error {
		return func(ctx context.Context, ch *amqpchan.Channel) error {
			sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, "nowhere", false, false, amqp.Publishing{Body: []byte("x")})
			if err != nil {
				return err
			}
			if acked, err := sent.WaitContext(ctx); err != nil || !acked {
				return fmt.Errorf("acknowledged %v: %w", acked, errors.Join(err, errLeft))
			}
			return nil
		}
	}
	for _, n := range []next[*amqpchan.Channel]{
		{name: "nothing", first: passive, same: true},
		{name: "a message", first: publish("amq.topic"), same: true},
		{name: "a queue", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error {
			q, err := ch.QueueDeclare("", false, true, false, false, nil)
			return errors.Join(err, ch.QueueBind(q.Name, "x", "amq.topic", false, nil))
		}},
		{name: "an error of AMQP", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error {
			return ch.ExchangeDeclarePassive("none", "topic", true, false, false, false, nil)
		}},
		{name: "a message to no exchange", same: false, first: publish("none")},
		{name: "a prefetch limit", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error { return ch.Qos(1, 0, false) }},
		{name: "a consumer", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error {
			q, err := ch.QueueDeclare("", false, true, true, false, nil)
			if err != nil {
				return err
			}
			_, err = ch.Consume(q.Name, "", false, false, false, false, nil)
			return err
		}},
		{name: "a listener", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error {
			ch.NotifyReturn(make(chan amqp.Return))
			return nil
		}},
		{name: "an answer that nobody waited for", same: false, first: func(ctx context.Context, ch *amqpchan.Channel) error {
			// It must have been sent before the use ends; see the package's comment.
			if err := passive(ctx, ch); err != nil {
				t.Error(err)
			}
			return context.Canceled
		}},
		{name: "closed by its user", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error { return ch.Close() }},
	} {
		n.second = func(ctx context.Context, ch *amqpchan.Channel) error {
			return errors.Join(passive(ctx, ch), publish("amq.topic")(ctx, ch))
		}
		n.run(t, amqpchan.New(amqpchan.Options{URL: url, Confirm: true}))
	}
	// What the server answers only if it is wrong, and then by closing the channel.
	for _, n := range []next[*amqpchan.Channel]{
		{name: "a message, not awaited", same: true, first: unawaited("amq.topic")},
		{name: "a message to no exchange, not awaited", same: false, first: unawaited("none")},
		{name: "a purge, not awaited", same: true, first: func(_ context.Context, ch *amqpchan.Channel) error {
			_, err := ch.QueuePurge("mailbox", true)
			return err
		}},
		{name: "a purge of no queue, not awaited", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error {
			_, err := ch.QueuePurge("none", true)
			return err
		}},
		{name: "an acknowledgement of nothing", same: false, first: func(_ context.Context, ch *amqpchan.Channel) error { return ch.Ack(7, false) }},
		{name: "an acknowledgement too many", same: false, first: func(ctx context.Context, ch *amqpchan.Channel) error {
			d, ok, err := ch.Get("mailbox", true)
			if !ok {
				t.Errorf("no message: %v", err)
			}
			return d.Ack(false)
		}},
	} {
		n.second = passive
		for _, confirm := range []bool{false, true} {
			mailbox(t, url)
			t.Run(fmt.Sprintf("confirm %v", confirm), func(t *testing.T) {
				n.run(t, amqpchan.New(amqpchan.Options{URL: url, Confirm: confirm}))
			})
		}
	}
}

func unawaited(exchange string) func(context.Context, *amqpchan.Channel) error {
	return func(ctx context.Context, ch *amqpchan.Channel) error {
		return ch.PublishWithContext(ctx, exchange, "nowhere", false, false, amqp.Publishing{Body: []byte("x")})
	}
}

// mailbox makes a queue of that name with one message in it.
func mailbox(t *testing.T, url string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	_, err = ch.QueueDeclare("mailbox", false, false, false, false, nil)
	_, err2 := ch.QueuePurge("mailbox", false)
	err3 := ch.Confirm(false)
	sent, err4 := ch.PublishWithDeferredConfirm("", "mailbox", false, false, amqp.Publishing{})
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	sent.Wait()
}

// Only who did not wait for the server costs the next user a round trip.
func rabbitDirty(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, confirm := range []bool{false, true} {
		c := amqpchan.New(amqpchan.Options{URL: url, Confirm: confirm})
		ch, err := c.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		is := func(want bool, after string) {
			t.Helper()
			if c.Dirty(ch) != want {
				t.Errorf("confirm %v: dirty after %s: %v", confirm, after, !want)
			}
		}
		is(false, "its opening")
		if err := passive(ctx, ch); err != nil {
			t.Error(err)
		}
		is(false, "a question")
		var sent *amqp.DeferredConfirmation
		for range 3 {
			if sent, err = ch.PublishWithDeferredConfirmWithContext(ctx, "amq.topic", "nowhere", false, false, amqp.Publishing{}); err != nil {
				t.Fatal(err)
			}
		}
		if confirm {
			if acked, err := sent.WaitContext(ctx); !acked {
				t.Error(err)
			}
			is(false, "the last confirmation")
		} else {
			is(true, "messages")
		}
		if err := c.Reset(ctx, ch); err != nil {
			t.Error(err)
		}
		is(false, "a reset")
		_ = ch.Reject(7, false)
		is(true, "a rejection")
		if err := c.Reset(ctx, ch); err == nil {
			t.Error("the server has rejected the rejection, and Reset does not know")
		}
		if err := c.Close(ctx, ch); err != nil {
			t.Error(err)
		}
	}
}

// A channel error closes its channel alone; the end of a connection closes all
// of its channels, and the pool opens others; without a channel it closes.
func fewConnections(t *testing.T, e *engine.Engine) {
	const size, each = 10, 4
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool, err := pools.New("few", amqpchan.New(amqpchan.Options{URL: "amqp://guest:guest@" + e.Address, PerConnection: each, KeepEmpty: time.Second}),
		pools.Settings{Size: size, CheckAfter: pools.Always})
	if err != nil {
		t.Fatal(err)
	}
	has := func(channels, connections int) {
		t.Helper()
		err := engine.Eventually(ctx, func() error {
			a, err1 := e.Connections(ctx)
			b, err2 := engine.RabbitConnections(ctx, e)
			if a != channels || b != connections {
				return fmt.Errorf("%d channels on %d connections, want %d on %d: %w", a, b, channels, connections, errors.Join(err1, err2, errLeft))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := pool.Fill(ctx, size); err != nil {
		t.Fatal(err)
	}
	has(size, (size+each-1)/each)

	var held []pools.Conn[*amqpchan.Channel]
	for range size {
		conn, err := pool.Pop(ctx)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	err = held[0].Resource().ExchangeDeclarePassive("none", "topic", true, false, false, false, nil)
	if err == nil {
		t.Fatal("there is no such exchange")
	}
	for _, conn := range held[1:] {
		if err := passive(ctx, conn.Resource()); err != nil {
			t.Errorf("another channel's error: %v", err)
		}
	}
	if err := held[0].PushErr(err); err != nil {
		t.Error(err)
	}
	has(size-1, (size+each-1)/each)

	if err := e.Terminate(ctx, 1); err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, conn := range held[1:] {
		err := passive(ctx, conn.Resource())
		if err != nil {
			broken++
		}
		if err := conn.PushErr(err); err != nil {
			t.Error(err)
		}
	}
	if broken == 0 || broken > each {
		t.Errorf("%d channels died with one connection of at most %d", broken, each)
	}
	for range 2 * size {
		if err := pool.Use(ctx, func(ch *amqpchan.Channel) error { return passive(ctx, ch) }); err != nil {
			t.Errorf("after a connection's end: %v", err)
		}
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
	has(0, 0)
}

// When server and client have agreed on fewer channels than PerConnection, a
// further connection is dialled; what the caller gave stays as it is.
func channelMax(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	properties := amqp.Table{"connection_name": "small"}
	pool, err := pools.New("small", amqpchan.New(amqpchan.Options{
		URL: "amqp://guest:guest@" + e.Address, Config: amqp.Config{ChannelMax: 2, Properties: properties},
	}), pools.Settings{Size: 7})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 7 {
		all.Go(func() {
			err := pool.Use(ctx, func(ch *amqpchan.Channel) error {
				if err := passive(ctx, ch); err != nil {
					return err
				}
				return engine.Eventually(ctx, func() error {
					if held := pool.Stats().Held; held < 7 && pool.Stats().Leases < 7 {
						return fmt.Errorf("%d channels: %w", held, errLeft)
					}
					return nil
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(properties) != 1 {
		t.Errorf("the caller's properties are %v now", properties)
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
}

// After a change of the password a Refresh leaves no channel on a connection
// that logged in before.
func rabbitCredentials(t *testing.T, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var username atomic.Value
	username.Store("guest")
	pool, err := pools.New("rotating", amqpchan.New(amqpchan.Options{
		URL: "amqp://" + e.Address,
		Credentials: func(context.Context) (string, string, error) {
			name := username.Load().(string)
			return name, name, nil
		},
	}), pools.Settings{Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Fill(ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := engine.AddRabbitUser(ctx, e, "second"); err != nil {
		t.Fatal(err)
	}
	username.Store("second")
	if err := pool.Refresh(ctx, 0); err != nil {
		t.Fatal(err)
	}
	err = engine.Eventually(ctx, func() error { // the last channel's connection is being closed
		all, err1 := engine.RabbitConnections(ctx, e)
		second, err2 := engine.RabbitConnectionsOf(ctx, e, "second")
		if all != 1 || second != 1 {
			return fmt.Errorf("%d connections, %d of the second user: %w", all, second, errors.Join(err1, err2, errLeft))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
}

// login is a user's SASL, which runs within the dial.
type login struct {
	amqp.Authentication
	response func()
}

func (l login) Response() string {
	l.response()
	return l.Authentication.Response()
}

// User code in a dial may panic or end its goroutine: that is the error of all
// who wait for the dial, and the next one goes on.
func rabbitPanics(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var response func()
	connector := amqpchan.New(amqpchan.Options{URL: url, Config: amqp.Config{SASL: []amqp.Authentication{
		login{&amqp.PlainAuth{Username: "guest", Password: "guest"}, func() { response() }},
	}}})
	response = func() { panic(errLeft) }
	_, err := connector.Open(ctx)
	if e, ok := errors.AsType[*pools.PanicError](err); !ok || e.Value != errLeft || len(e.Stack) == 0 {
		t.Errorf("a panic: %v", err)
	}
	response = runtime.Goexit
	if _, err := connector.Open(ctx); err == nil || !strings.Contains(err.Error(), "Goexit") {
		t.Errorf("a Goexit: %v", err)
	}
	response = func() {}
	ch, err := connector.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := connector.Close(ctx, ch); err != nil {
		t.Error(err)
	}
}

// Who waits for the dial of somebody who has less time does not end with it.
func rabbitShortDial(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dials, ended := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(dials); <-ended })
	connector := amqpchan.New(amqpchan.Options{URL: url, Config: amqp.Config{SASL: []amqp.Authentication{
		login{&amqp.PlainAuth{Username: "guest", Password: "guest"}, first},
	}}})
	var all sync.WaitGroup
	short, cancelShort := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelShort()
	all.Go(func() {
		if _, err := connector.Open(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who had less time: %v", err)
		}
		close(ended)
	})
	<-dials
	for range 3 {
		all.Go(func() {
			ch, err := connector.Open(ctx)
			if err != nil {
				t.Errorf("who had more time: %v", err)
			} else if err := connector.Close(ctx, ch); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
