package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools/examples/internal/redistest"
)

// start serves a chat on a Redis for the length of a test.
func start(t *testing.T, address string) (url string) {
	t.Helper()
	backend, err := connections(options{redis: address, size: 10, by: "pools"})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(&store{backend})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.listen(ctx) }()
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.Close()
		s.close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := backend.close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.listens:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody listens")
	}
	return web.URL
}

func embedded(t *testing.T) string {
	r, err := miniredis.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r.Addr()
}

// tab is a user in a room.
type tab struct {
	t    *testing.T
	ctx  context.Context
	conn *websocket.Conn
}

func enter(t *testing.T, url, room, user string) *tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, url+"/chat?room="+room+"&user="+user, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &tab{t, ctx, conn}
}

func (b *tab) says(text string) {
	b.t.Helper()
	if err := wsjson.Write(b.ctx, b.conn, message{Text: text}); err != nil {
		b.t.Fatal(err)
	}
}

// hears waits for the next message of somebody.
func (b *tab) hears(number int64, user, text string) {
	b.t.Helper()
	for {
		var m message
		if err := wsjson.Read(b.ctx, b.conn, &m); err != nil {
			b.t.Fatal(err)
		}
		if m.Number == 0 {
			continue
		}
		if m.Number != number || m.User != user || m.Text != text {
			b.t.Fatalf("heard %+v, want %d, %s: %s", m, number, user, text)
		}
		return
	}
}

// sees waits until that is who is there.
func (b *tab) sees(present ...string) {
	b.t.Helper()
	for {
		var m message
		if err := wsjson.Read(b.ctx, b.conn, &m); err != nil {
			b.t.Fatalf("who is there, want %v: %v", present, err)
		}
		if m.Number == 0 && len(m.Present) == len(present) && strings.Contains(fmt.Sprint(m.Present), present[len(present)-1]) {
			return
		}
	}
}

func TestRooms(t *testing.T) {
	for name, redisAt := range map[string]func(*testing.T) string{
		"embedded": embedded,
		"real":     func(t *testing.T) string { address, _ := redistest.Start(t); return address },
	} {
		t.Run(name, func(t *testing.T) {
			url := start(t, redisAt(t))
			anna, elsewhere := enter(t, url, "lobby", "anna"), enter(t, url, "attic", "berta")
			anna.sees("anna")
			berta := enter(t, url, "lobby", "berta")
			anna.sees("anna", "berta")
			anna.says("hello")
			anna.hears(1, "anna", "hello")
			berta.says("<b>hi</b>")
			anna.hears(2, "berta", "<b>hi</b>")
			elsewhere.says("nobody here")
			elsewhere.hears(1, "berta", "nobody here")

			// Who comes later finds the history, and who has left is not there.
			berta.conn.Close(websocket.StatusNormalClosure, "")
			anna.sees("anna")
			again := enter(t, url, "lobby", "berta")
			again.hears(1, "anna", "hello")
			again.hears(2, "berta", "<b>hi</b>")
			anna.says("there you are")
			again.hears(3, "anna", "there you are")
		})
	}
}

// What is published while nobody listens is not missed.
func TestListenerComesBack(t *testing.T) {
	address, admin := redistest.Start(t)
	url := start(t, address)
	anna := enter(t, url, "lobby", "anna")
	anna.says("before")
	anna.hears(1, "anna", "before")
	for range 3 {
		if _, err := admin.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
			t.Fatal(err)
		}
	}
	anna.says("meanwhile")
	anna.hears(2, "anna", "meanwhile")
	anna.says("after")
	anna.hears(3, "anna", "after")
}

// Nor who has left.
func TestLeftWhileNobodyListened(t *testing.T) {
	address, admin := redistest.Start(t)
	url := start(t, address)
	anna := enter(t, url, "lobby", "anna")
	anna.sees("anna")
	berta := enter(t, url, "lobby", "berta")
	anna.sees("anna", "berta")
	if n, err := redis.Int(admin.Do("CLIENT", "KILL", "TYPE", "pubsub")); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	berta.conn.CloseNow() // it listens again after a second
	anna.sees("anna")
}

// When Redis loses its data while somebody listens, its numbers begin anew.
func TestDataLost(t *testing.T) {
	address, admin := redistest.Start(t)
	url := start(t, address)
	anna := enter(t, url, "lobby", "anna")
	for i, text := range []string{"one", "two", "three"} {
		anna.says(text)
		anna.hears(int64(i+1), "anna", text)
	}
	later := enter(t, start(t, address), "lobby", "berta") // her server knows what was said from the history alone
	later.hears(1, "anna", "one")
	later.hears(2, "anna", "two")
	later.hears(3, "anna", "three")
	if _, err := admin.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"four", "five", "six", "seven"} {
		anna.says(text)
		anna.hears(int64(i+1), "anna", text)
		later.hears(int64(i+1), "anna", text)
	}
	for _, text := range []string{"eight", "nine", "ten"} { // they may be in the history before the first is heard
		anna.says(text)
	}
	for i, text := range []string{"eight", "nine", "ten"} {
		anna.hears(int64(i+5), "anna", text)
		later.hears(int64(i+5), "anna", text)
	}
}

// A small load by each kind of connection; the pool's bound holds.
func TestLoad(t *testing.T) {
	address, _ := redistest.Start(t)
	for _, by := range []string{"pools", "redigo", "dial"} {
		t.Run(by, func(t *testing.T) {
			var out bytes.Buffer
			o := options{redis: address, size: 4, by: by, sockets: 60, messages: 600, rooms: 3}
			if err := load(t.Context(), o, &out); err != nil {
				t.Fatal(err)
			}
			var most int
			_, said, _ := strings.Cut(out.String(), "at most ")
			if _, err := fmt.Sscanf(said, "%d connections", &most); err != nil || most < 1 || by != "dial" && most > 4+2 { // who listens, and the test's own
				t.Errorf("%v: %s", err, out.String())
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	url := start(t, embedded(t))
	for _, query := range []string{"", "room=lobby", "room=a/b&user=x", "room=" + strings.Repeat("x", 41) + "&user=x"} {
		answer, err := http.Get(url + "/chat?" + query)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", query, answer.Status)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, args := range []string{"-size 0", "-rooms 0", "-sockets 3 -rooms 4", "-messages 1", "lobby", "-by magic -load"} {
		o, err := parse(strings.Fields(args), new(bytes.Buffer))
		if err == nil {
			err = run(t.Context(), o, new(bytes.Buffer))
		}
		if err == nil {
			t.Errorf("%s: accepted", args)
		}
	}
}
