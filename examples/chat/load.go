package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/gomodule/redigo/redis"
)

// load puts users on the server, each of whom says its next message when it
// has heard its last one, and checks that nobody misses a message, hears one
// twice or out of order.
func load(ctx context.Context, o options, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	backend, err := connections(o)
	if err != nil {
		return err
	}
	s := newServer(&store{backend})
	listens, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.listen(listens) }()
	defer func() {
		s.close()
		stop()
		err = errors.Join(err, <-ended, backend.close())
	}()
	select {
	case <-s.listens:
	case <-ctx.Done():
		return errors.New("nobody listens: is there a Redis at " + o.redis + "?")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = web.Serve(l) }()
	defer web.Close()

	most, err := watch(ctx, o.redis)
	if err != nil {
		return err
	}
	run := fmt.Sprintf("load-%d", time.Now().UnixNano()) // rooms of this run alone
	users := make([]*user, o.sockets)
	each := o.messages / o.sockets
	for i := range users {
		inRoom := o.sockets / o.rooms
		if i%o.rooms < o.sockets%o.rooms {
			inRoom++
		}
		users[i] = &user{
			name: fmt.Sprintf("user-%d", i), room: fmt.Sprintf("%s-%d", run, i%o.rooms),
			says: each, hears: inRoom * each, heard: map[string]int{},
		}
	}
	if err := all(users, func(u *user) error { return u.enter(ctx, l.Addr().String()) }); err != nil {
		return err
	}
	began := time.Now()
	if err := all(users, func(u *user) error { return u.talk(ctx) }); err != nil {
		return err
	}
	took := time.Since(began)
	if err := all(users, func(u *user) error { return u.conn.Close(websocket.StatusNormalClosure, "") }); err != nil {
		return err
	}

	var delays []time.Duration
	heard := 0
	for _, u := range users {
		delays = append(delays, u.delays...)
		heard += u.hears
	}
	slices.Sort(delays)
	at := func(q float64) time.Duration {
		return delays[int(q*float64(len(delays)-1))].Round(100 * time.Microsecond)
	}
	said := each * o.sockets
	fmt.Fprintf(stdout, "%d sockets in %d rooms said %d messages and heard %d in %v: %.0f said a second; none missed, doubled or out of order\n",
		o.sockets, o.rooms, said, heard, took.Round(time.Millisecond), float64(said)/took.Seconds())
	fmt.Fprintf(stdout, "from said to heard: half within %v, 99 %% within %v, the last after %v\n", at(0.5), at(0.99), at(1))
	fmt.Fprintf(stdout, "by %s: at most %d connections on the server\n", o.by, most())
	return nil
}

// all does something with all users at once, and returns the first errors.
func all(users []*user, do func(*user) error) error {
	faults := make([]error, len(users))
	var done sync.WaitGroup
	for i, u := range users {
		done.Go(func() {
			if err := do(u); err != nil {
				faults[i] = fmt.Errorf("%s: %w", u.name, err)
			}
		})
	}
	done.Wait()
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	if more := len(faults) - 3; more > 0 {
		faults = append(faults[:3], fmt.Errorf("and %d more", more))
	}
	return errors.Join(faults...)
}

// user is one of them.
type user struct {
	name, room  string
	says, hears int
	conn        *websocket.Conn
	last        int64          // number
	heard       map[string]int // how many messages of each user
	delays      []time.Duration
}

func (u *user) enter(ctx context.Context, address string) (err error) {
	u.conn, _, err = websocket.Dial(ctx, fmt.Sprintf("ws://%s/chat?room=%s&user=%s", address, u.room, u.name), nil)
	return err
}

func (u *user) talk(ctx context.Context) error {
	said, heard := 0, 0
	var since time.Time
	say := func() error {
		if said == u.says {
			return nil
		}
		since = time.Now()
		said++
		return wsjson.Write(ctx, u.conn, message{Text: fmt.Sprint(said)})
	}
	if err := say(); err != nil {
		return err
	}
	for heard < u.hears {
		var m message
		if err := wsjson.Read(ctx, u.conn, &m); err != nil {
			return fmt.Errorf("after %d of %d messages: %w", heard, u.hears, err)
		}
		if m.Number == 0 {
			continue // who is there
		}
		heard++
		u.heard[m.User]++
		switch {
		case m.Number != u.last+1:
			return fmt.Errorf("heard number %d after %d", m.Number, u.last)
		case m.Text != fmt.Sprint(u.heard[m.User]):
			return fmt.Errorf("heard %q as message %d of %s", m.Text, u.heard[m.User], m.User)
		}
		u.last = m.Number
		if m.User == u.name {
			u.delays = append(u.delays, time.Since(since))
			if err := say(); err != nil {
				return err
			}
		}
	}
	return nil
}

// watch asks Redis again and again how many connections it has. most returns
// the largest answer, the one that asks aside.
func watch(ctx context.Context, address string) (most func() int, err error) {
	conn, err := redis.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	largest := 0
	done.Go(func() {
		defer conn.Close()
		for ctx.Err() == nil {
			info, err := redis.String(conn.Do("INFO", "clients"))
			if err != nil {
				return
			}
			for line := range strings.Lines(info) {
				var n int
				if _, err := fmt.Sscanf(line, "connected_clients:%d", &n); err == nil {
					largest = max(largest, n-1)
				}
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return func() int { cancel(); done.Wait(); return largest }, nil
}
