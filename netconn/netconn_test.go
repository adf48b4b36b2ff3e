//go:build unix

package netconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
	"github.com/utopia-go/pools/poolstest"
)

// server answers each line with the same line. Some lines are commands.
type server struct {
	listener net.Listener
	mu       sync.Mutex
	all      map[string]net.Conn // open ones, by the client's address or name
	order    int
	done     sync.WaitGroup
}

func serve(t *testing.T, listener net.Listener) *server {
	s := &server{listener: listener, all: map[string]net.Conn{}}
	s.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.talk(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, conn := range s.all {
			conn.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

// talk gives a connection a name, which is its answer to "name".
func (s *server) talk(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.order++
	name := fmt.Sprint(s.order)
	s.all[name] = conn
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, name)
	}()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == "name":
			line = name
		case line == "silence":
			continue
		}
		if _, err := fmt.Fprintln(conn, line); err != nil {
			return
		}
	}
}

func (s *server) isOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func (s *server) kill(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[name].Close()
}

// ask sends a line and reads the answer.
func ask(ctx context.Context, conn net.Conn, line string) (string, error) {
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// kinds are the same server behind each kind of connection.
var kinds = map[string]func(t *testing.T) (*server, pools.Connector[net.Conn]){
	"TCP": func(t *testing.T) (*server, pools.Connector[net.Conn]) {
		l := listen(t, "tcp", "127.0.0.1:0")
		return serve(t, l), netconn.Dial("tcp", l.Addr().String())
	},
	"Unix": func(t *testing.T) (*server, pools.Connector[net.Conn]) {
		l := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
		return serve(t, l), netconn.Dial("unix", l.Addr().String())
	},
	"TLS 1.3": func(t *testing.T) (*server, pools.Connector[net.Conn]) { return withTLS(t, tls.VersionTLS13) },
	"TLS 1.2": func(t *testing.T) (*server, pools.Connector[net.Conn]) { return withTLS(t, tls.VersionTLS12) },
	"a type of one's own": func(t *testing.T) (*server, pools.Connector[net.Conn]) {
		l := listen(t, "tcp", "127.0.0.1:0")
		return serve(t, l), netconn.DialFunc(func(ctx context.Context) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			return wrapped{conn}, err
		})
	},
}

type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func listen(t *testing.T, network, address string) net.Listener {
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func withTLS(t *testing.T, version uint16) (*server, pools.Connector[net.Conn]) {
	server, client := certificate()
	client.MinVersion, client.MaxVersion = version, version
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), server)
	return serve(t, l), netconn.DialTLS("tcp", l.Addr().String(), client)
}

// certificate returns what a server and its clients need.
func certificate() (server, client *tls.Config) {
	web := httptest.NewTLSServer(nil) // it has one
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

func subject(s *server, c pools.Connector[net.Conn]) poolstest.Subject[net.Conn] {
	return poolstest.Subject[net.Conn]{
		Connector: c,
		Use:       func(ctx context.Context, conn net.Conn) error { _, err := ask(ctx, conn, "hello"); return err },
		IsOpen:    s.isOpen,
		Kill: func(conn net.Conn) {
			name, err := ask(context.Background(), conn, "name")
			if err != nil {
				return // it is dead already
			}
			s.kill(name)
		},
		Block:   func(conn net.Conn) error { _, err := ask(context.Background(), conn, "silence"); return err },
		Failing: map[string]pools.Connector[net.Conn]{"nobody who listens": netconn.Dial("tcp", "127.0.0.1:1")},
	}
}

func TestConnector(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[net.Conn] { return subject(kind(t)) })
		})
	}
	t.Run("in memory", func(t *testing.T) {
		poolstest.TestConnector(t, synctest.Test, func(t *testing.T) poolstest.Subject[net.Conn] {
			network := poolstest.NewNetwork()
			l, err := network.Listen("server")
			if err != nil {
				t.Fatal(err)
			}
			return subject(serve(t, l), netconn.DialFunc(func(ctx context.Context) (net.Conn, error) {
				return network.DialContext(ctx, "tcp", "server")
			}))
		})
	})
}

// What is left unread goes, a deadline does not stay, and a session ticket is
// no answer.
func TestNextUser(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			_, connector := kind(t)
			pool, err := pools.New("next", connector, pools.Settings{Size: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close(context.Background())
			use := func(what string, same bool, f func(conn net.Conn) error) {
				t.Helper()
				opened := pool.Stats().Opened
				if err := pool.Use(t.Context(), f); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				err := pool.Use(t.Context(), func(conn net.Conn) error {
					answer, err := ask(t.Context(), conn, "mine")
					if answer != "mine" {
						t.Errorf("after %s: the next user got %q", what, answer)
					}
					return err
				})
				if err != nil {
					t.Errorf("after %s: %v", what, err)
				}
				if now := pool.Stats().Opened; (now == opened) != same {
					t.Errorf("after %s: %d connections, %d before", what, now, opened)
				}
			}
			use("nothing", false, func(net.Conn) error { return nil }) // the first
			use("nothing", true, func(net.Conn) error { return nil })
			use("a deadline", true, func(conn net.Conn) error { return conn.SetDeadline(time.Now().Add(time.Nanosecond)) })
			use("an answer not read", false, func(conn net.Conn) error {
				_, err := fmt.Fprintln(conn, "theirs")
				return errors.Join(err, readable(conn))
			})
			use("half an answer read", false, func(conn net.Conn) error {
				if _, err := fmt.Fprintln(conn, "theirs"); err != nil {
					return err
				}
				_, err := conn.Read(make([]byte, 3))
				return err
			})
		})
	}
}

// readable waits until there is something to read.
func readable(conn net.Conn) error {
	for l, ok := conn.(interface{ NetConn() net.Conn }); ok; l, ok = conn.(interface{ NetConn() net.Conn }) {
		conn = l.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var n int
	return errors.Join(raw.Read(func(fd uintptr) bool {
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return n > 0
	}), err)
}

// The answer that comes while a connection is idle, and its end, are found
// before it is lent.
func TestCheck(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			s, connector := kind(t)
			open := func() net.Conn {
				conn, err := connector.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return conn
			}
			late := open()
			if _, err := ask(t.Context(), late, "hello"); err != nil {
				t.Fatal(err)
			}
			if err := netconn.Check(late); err != nil {
				t.Errorf("a good one: %v", err)
			}
			if _, err := fmt.Fprintln(late, "hello?"); err != nil {
				t.Fatal(err)
			}
			if err := readable(late); err != nil {
				t.Fatal(err)
			}
			if err := netconn.Check(late); !errors.Is(err, netconn.ErrUnread) {
				t.Errorf("with an answer: %v", err)
			}

			ended := open()
			name, err := ask(t.Context(), ended, "name")
			if err != nil {
				t.Fatal(err)
			}
			s.kill(name)
			for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); {
				err = netconn.Check(ended)
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("ended by the server: %v", err)
			}

			closed := open()
			closed.Close()
			if err := netconn.Check(closed); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// counting counts the bytes that are written.
type counting struct {
	net.Conn
	written *int
}

func (c counting) Write(b []byte) (int, error) {
	*c.written += len(b)
	return c.Conn.Write(b)
}

// A TLS connection that cannot write any more is not lent again, also when its
// user said nothing. To find that out nothing is sent.
func TestWriteSide(t *testing.T) {
	for _, name := range []string{"TLS 1.3", "TLS 1.2"} {
		for what, spoil := range map[string]func(conn *tls.Conn){
			"nothing":    nil,
			"CloseWrite": func(conn *tls.Conn) { _ = conn.CloseWrite() },
			"a write that ran into its deadline": func(conn *tls.Conn) {
				_ = conn.SetWriteDeadline(time.Unix(1, 0))
				_, _ = fmt.Fprintln(conn, "hello")
			},
			"a write deadline that nobody wrote into": func(conn *tls.Conn) { _ = conn.SetWriteDeadline(time.Unix(1, 0)) },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				s, _ := kinds[name](t)
				_, config := certificate()
				if name == "TLS 1.2" {
					config.MaxVersion = tls.VersionTLS12
				}
				below, err := net.Dial("tcp", s.listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				written := 0
				conn := tls.Client(counting{below, &written}, config)
				defer conn.Close()
				if _, err := ask(t.Context(), conn, "hello"); err != nil {
					t.Fatal(err)
				}
				good := what == "nothing" || strings.HasSuffix(what, "nobody wrote into")
				if spoil != nil {
					spoil(conn)
				}
				connector, before := netconn.DialFunc(func(context.Context) (*tls.Conn, error) { return conn, nil }), written
				if connector.Broken(conn, nil) == good {
					t.Errorf("it is lent again: want %v", good)
				}
				if written != before {
					t.Errorf("%d bytes were sent", written-before)
				}
				if !good {
					return
				}
				if answer, err := ask(t.Context(), conn, "mine"); answer != "mine" {
					t.Errorf("the next user got %q, %v", answer, err)
				}
			})
		}
	}
}

// A goroutine that still writes, into a network that takes no more, does not
// hold up the return.
func TestStillWriting(t *testing.T) {
	server, client := certificate()
	synctest.Test(t, func(t *testing.T) {
		below, theirs := net.Pipe()
		defer theirs.Close()
		shaken := make(chan error, 1)
		go func() { shaken <- tls.Server(theirs, server).Handshake() }() // and reads no more
		client.MaxVersion = tls.VersionTLS12                             // no tickets after the handshake
		conn := tls.Client(below, client)
		connector := netconn.DialFunc(func(context.Context) (*tls.Conn, error) { return conn, nil })
		if err := errors.Join(conn.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		go fmt.Fprintln(conn, "theirs")
		synctest.Wait() // it is in Write
		if !connector.Broken(conn, nil) {
			t.Error("it is lent again while somebody writes")
		}
		below.Close()
	})
}

// A dial function need not shake hands: Open does. Check leaves a connection
// alone that has not.
func TestHandshake(t *testing.T) {
	for _, name := range []string{"TLS 1.3", "TLS 1.2"} {
		t.Run(name, func(t *testing.T) {
			s, _ := kinds[name](t)
			_, config := certificate()
			address := s.listener.Addr().String()
			connect := func(config *tls.Config) pools.Connector[*tls.Conn] {
				return netconn.DialFunc(func(ctx context.Context) (*tls.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
					if err != nil {
						return nil, err
					}
					return tls.Client(conn, config), nil
				})
			}
			conn, err := connect(config).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if !conn.ConnectionState().HandshakeComplete {
				t.Error("Open has not shaken hands")
			}
			if conn, err := connect(&tls.Config{ServerName: "another"}).Open(t.Context()); err == nil || conn != nil {
				t.Errorf("Open with the wrong certificate: %v, %v", conn, err)
			}

			below, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			early := tls.Client(below, config)
			defer early.Close()
			if err := netconn.Check(early); err != nil {
				t.Errorf("before the handshake: %v", err)
			}
			if answer, err := ask(t.Context(), early, "hello"); answer != "hello" {
				t.Errorf("after a Check before the handshake: %q, %v", answer, err)
			}
		})
	}
}

// preempted is a connection of a goroutine that loses the processor when it
// has set its first deadline, until that has passed.
type preempted struct {
	net.Conn
	once *sync.Once
}

func (p preempted) SetReadDeadline(end time.Time) error {
	err := p.Conn.SetReadDeadline(end)
	p.once.Do(func() { time.Sleep(time.Until(end) + time.Millisecond) })
	return err
}

// preemptedTLS has a NetConn, as a layer has it.
type preemptedTLS struct {
	preempted
	below net.Conn
}

func (p preemptedTLS) NetConn() net.Conn { return p.below }

// Unread bytes are found also when there was no time to read.
func TestCheckWithoutTime(t *testing.T) {
	for _, name := range []string{"TLS 1.3", "TLS 1.2"} {
		t.Run(name, func(t *testing.T) {
			_, connector := kinds[name](t)
			conn, err := connector.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := ask(t.Context(), conn, "hello"); err != nil { // session tickets are through
				t.Fatal(err)
			}
			if _, err := fmt.Fprintln(conn, "theirs"); err != nil {
				t.Fatal(err)
			}
			if err := readable(conn); err != nil {
				t.Fatal(err)
			}
			late := preemptedTLS{preempted{conn, new(sync.Once)}, conn.(*tls.Conn).NetConn()}
			if err := netconn.Check(late); !errors.Is(err, netconn.ErrUnread) {
				t.Errorf("with an answer: %v", err)
			}
		})
	}
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, server := net.Pipe()
			if err := netconn.Check(preempted{conn, new(sync.Once)}); err != nil {
				t.Errorf("a good one: %v", err)
			}
			go server.Write([]byte("theirs"))
			synctest.Wait() // it is there
			if err := netconn.Check(preempted{conn, new(sync.Once)}); !errors.Is(err, netconn.ErrUnread) {
				t.Errorf("with an answer: %v", err)
			}
			conn.Close()
		})
	})
}

// A TLS server that reads nothing does not hold up Close longer than its ctx.
func TestCloseGivesUp(t *testing.T) {
	server, client := certificate()
	synctest.Test(t, func(t *testing.T) {
		network := poolstest.NewNetwork()
		l, err := network.Listen("server")
		if err != nil {
			t.Fatal(err)
		}
		serve(t, tls.NewListener(l, server))
		connector := netconn.DialFunc(func(ctx context.Context) (*tls.Conn, error) {
			conn, err := network.DialContext(ctx, "tcp", "server")
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, client), nil
		})
		conn, err := connector.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		network.Stall()
		below := conn.NetConn()
		if err := below.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := below.Write(make([]byte, 1<<20)); err == nil { // until no more goes in
			t.Fatalf("%d bytes are on their way", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := connector.Close(ctx, conn); err == nil {
			t.Error("Close has taken leave of a server that does not listen")
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for b.Loop() {
		if err := netconn.Check(conn); err != nil {
			b.Fatal(err)
		}
	}
}

// A certificate that does not verify is refused once: a further try would meet
// the same one.
func TestRefusedCertificate(t *testing.T) {
	for name, spoil := range map[string]func(*tls.Config){
		"unknown authority": func(c *tls.Config) { c.RootCAs = x509.NewCertPool() },
		"wrong name":        func(c *tls.Config) { c.ServerName = "elsewhere.example" },
		"the user's own": func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error {
				return fmt.Errorf("not ours: %w", x509.CertificateInvalidError{Reason: x509.Expired})
			}
		},
	} {
		for _, ours := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", handshake in DialTLS: ", ours), func(t *testing.T) {
				server, client := certificate()
				spoil(client)
				l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), server)
				serve(t, l)
				connector := netconn.DialTLS("tcp", l.Addr().String(), client)
				if !ours {
					connector = netconn.DialFunc(func(context.Context) (net.Conn, error) {
						conn, err := net.Dial("tcp", l.Addr().String())
						if err != nil {
							return nil, err
						}
						return tls.Client(conn, client), nil
					})
				}
				var tries atomic.Int32
				open := connector.Open
				connector.Open = func(ctx context.Context) (net.Conn, error) {
					tries.Add(1)
					return open(ctx)
				}
				pool, err := pools.New("tls", connector, pools.Settings{Size: 1})
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close(context.Background())
				_, err = pool.Pop(t.Context())
				_, invalid := errors.AsType[x509.CertificateInvalidError](err)
				_, authority := errors.AsType[x509.UnknownAuthorityError](err)
				_, hostname := errors.AsType[x509.HostnameError](err)
				if !errors.Is(err, pools.ErrOpenFailed) || !invalid && !authority && !hostname {
					t.Error(err)
				}
				if n := tries.Load(); n != 1 {
					t.Errorf("%d tries", n)
				}
			})
		}
	}
}
