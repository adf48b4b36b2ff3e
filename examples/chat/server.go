package main

import (
	"context"
	_ "embed"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const (
	longest  = 2000            // bytes of a message
	backlog  = remembered + 64 // messages that a socket may be behind before it is closed
	patience = 10 * time.Second
)

//go:embed page/index.html
var page []byte

// server is the chat's web server.
type server struct {
	store     *store
	mux       *http.ServeMux
	listens   chan struct{} // closed when somebody listens
	listening sync.Once

	ctx  context.Context // of all sockets
	stop context.CancelFunc
	all  sync.WaitGroup // sockets

	mu    sync.Mutex
	rooms map[string]*room
}

func newServer(store *store) *server {
	s := &server{store: store, mux: http.NewServeMux(), listens: make(chan struct{}), rooms: map[string]*room{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'")
		_, _ = w.Write(page)
	})
	s.mux.HandleFunc("GET /chat", s.chat)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// close ends all sockets and waits until they have left their rooms.
func (s *server) close() {
	s.mu.Lock()
	s.stop() // under the lock: no further socket is added to all
	s.mu.Unlock()
	s.all.Wait()
}

// begins counts a socket, unless the server ends.
func (s *server) begins() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.all.Add(1)
	return true
}

// room returns a room in which somebody is, or nil.
func (s *server) room(name string) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[name]
}

// catchUp has every room fetch what was published while nobody listened.
func (s *server) catchUp(ctx context.Context) error {
	s.mu.Lock()
	var all []*room
	for _, r := range s.rooms {
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		if err := r.catchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// socket is one tab.
type socket struct {
	conn   *websocket.Conn
	queue  chan message
	cancel context.CancelFunc
}

// send never waits: who does not read does not hold up the room, and has to
// come again.
func (s *socket) send(m message) {
	select {
	case s.queue <- m:
	default:
		s.cancel()
	}
}

// chat is one socket: ?room=NAME&user=NAME.
func (s *server) chat(w http.ResponseWriter, r *http.Request) {
	name, user := r.URL.Query().Get("room"), r.URL.Query().Get("user")
	if !valid(name) || !valid(user) {
		http.Error(w, "room and user must be names of at most 40 letters, digits, spaces and .-_", http.StatusBadRequest)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(longest)
	if !s.begins() {
		return
	}
	defer s.all.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // the web server has let go of the connection
	sock := &socket{conn: conn, queue: make(chan message, backlog), cancel: cancel}

	writes := make(chan struct{})
	go func() {
		defer close(writes)
		defer cancel()
		sock.write(ctx)
	}()
	defer func() { <-writes }()
	defer cancel()

	in, err := s.enter(ctx, name, sock)
	if err == nil {
		defer s.leave(in, sock)
		if err = s.counts(ctx, name, user, 1); err == nil {
			defer func() {
				if err := s.counts(ctx, name, user, -1); err != nil {
					log.Printf("chat: %s has left %s: %v", user, name, err)
				}
			}()
			err = s.read(ctx, sock, name, user)
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Printf("chat: %s in %s: %v", user, name, err)
		_ = conn.Close(websocket.StatusTryAgainLater, "please come again")
	}
}

// counts notes that a user has come or gone, also when the socket ends
// meanwhile: who was counted must be counted out.
func (s *server) counts(ctx context.Context, room, user string, by int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return s.store.enter(ctx, room, user, by)
}

// enter finds the socket's room, or makes it. Under the server's lock nobody
// else takes away a room that is about to have a socket.
func (s *server) enter(ctx context.Context, name string, sock *socket) (*room, error) {
	s.mu.Lock()
	r := s.rooms[name]
	if r == nil {
		r = &room{name: name, store: s.store, sockets: map[*socket]struct{}{}}
		s.rooms[name] = r
	}
	r.expected++
	s.mu.Unlock()
	err := r.enter(ctx, sock)
	if err != nil {
		s.leave(r, sock)
	}
	return r, err
}

func (s *server) leave(r *room, sock *socket) {
	r.leave(sock) // before the server's lock: a room may wait for Redis
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.expected--; r.expected == 0 {
		delete(s.rooms, r.name)
	}
}

// read says what the tab says, one message after the other.
func (s *server) read(ctx context.Context, sock *socket, room, user string) error {
	for {
		var m message
		if err := wsjson.Read(ctx, sock.conn, &m); err != nil {
			return nil // it is closed, by the user or by the network
		}
		if strings.TrimSpace(m.Text) == "" {
			continue
		}
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			return s.store.say(ctx, room, message{User: user, Text: m.Text})
		}()
		if err != nil {
			return err
		}
	}
}

func (s *socket) write(ctx context.Context) {
	for {
		select {
		case m := <-s.queue:
			ctx, cancel := context.WithTimeout(ctx, patience)
			err := wsjson.Write(ctx, s.conn, m)
			cancel()
			if err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func valid(name string) bool {
	if name == "" || len(name) > 40 {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" .-_", r)
	}) < 0
}
