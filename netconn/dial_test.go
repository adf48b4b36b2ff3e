//go:build unix

package netconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
)

// full listens on a Unix socket, and has others wait to be accepted until its
// queue is full.
func full(t *testing.T) (address string, accept func() error) {
	address = filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: address}), syscall.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.Dial("unix", address)
		if errors.Is(err, syscall.EAGAIN) {
			return address, func() error {
				conn, _, err := syscall.Accept(fd)
				if err == nil {
					t.Cleanup(func() { syscall.Close(conn) })
				}
				return err
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("here a full queue is not told")
	return "", nil
}

// A full accept queue of a Unix socket is waited out, as TCP's is, until the ctx
// ends.
func TestFullQueue(t *testing.T) {
	address, accept := full(t)
	connector := netconn.Dial("unix", address)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if conn, err := connector.Open(ctx); conn != nil || !errors.Is(err, syscall.EAGAIN) || !strings.Contains(err.Error(), "accept queue") || time.Since(began) < 100*time.Millisecond {
		t.Errorf("%v, %v after %v", conn, err, time.Since(began))
	}
	pool, err := pools.New("unix", connector, pools.Settings{Size: 1, ReconnectAttempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	accepted := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() { accepted <- accept() })
	if err := pool.Use(t.Context(), func(net.Conn) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if failed := pool.Stats().OpenErrors; failed != 0 {
		t.Errorf("%d opens failed", failed)
	}
	var dialed net.Error
	if _, err := netconn.Dial("unix", address+"x").Open(t.Context()); !errors.As(err, &dialed) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
}

// clientCertificate is one that nobody has signed but itself.
func clientCertificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A client's certificate that the server refuses is a failed open, also in
// TLS 1.3, where the client has shaken hands by then.
func TestClientCertificate(t *testing.T) {
	ours := clientCertificate(t)
	leaf, err := x509.ParseCertificate(ours.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	known, unknown := x509.NewCertPool(), x509.NewCertPool()
	known.AddCert(leaf)
	for _, test := range []struct {
		name    string
		server  func(c *tls.Config)
		client  func(c *tls.Config)
		greets  string
		refused bool
		again   bool // refused, but another certificate may come next time
	}{
		{name: "taken", server: func(c *tls.Config) { c.ClientCAs = known }},
		{name: "taken, no tickets", server: func(c *tls.Config) { c.ClientCAs, c.SessionTicketsDisabled = known, true }},
		{name: "taken, no tickets, a greeting", greets: "220 hello\n", server: func(c *tls.Config) { c.ClientCAs, c.SessionTicketsDisabled = known, true }},
		{name: "none, and none is needed", server: func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }, client: func(c *tls.Config) { c.Certificates = nil }},
		{name: "nobody asks", server: func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }},
		{name: "unknown authority", refused: true, server: func(c *tls.Config) { c.ClientCAs = unknown }},
		{name: "none", refused: true, server: func(c *tls.Config) { c.ClientCAs = known }, client: func(c *tls.Config) { c.Certificates = nil }},
		{name: "one of the moment", refused: true, again: true, server: func(c *tls.Config) { c.ClientCAs = unknown }, client: func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }
		}},
	} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			t.Run(fmt.Sprint(test.name, ", ", tls.VersionName(version)), func(t *testing.T) {
				server, client := certificate()
				server.ClientAuth = tls.RequireAndVerifyClientCert
				client.Certificates = []tls.Certificate{ours}
				client.MinVersion, client.MaxVersion = version, version
				test.server(server)
				if test.client != nil {
					test.client(client)
				}
				var shaken atomic.Int32
				below := listen(t, "tcp", "127.0.0.1:0")
				t.Cleanup(func() { below.Close() })
				go func() {
					for {
						conn, err := below.Accept()
						if err != nil {
							return
						}
						shaken.Add(1)
						go func() {
							conn := tls.Server(conn, server)
							defer conn.Close()
							if conn.Handshake() == nil {
								_, _ = io.WriteString(conn, test.greets)
								_, _ = io.Copy(conn, conn)
							}
						}()
					}
				}()
				pool, err := pools.New("tls", netconn.DialTLS("tcp", below.Addr().String(), client), pools.Settings{Size: 1, ReconnectAttempts: 2})
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close(context.Background())
				var uses int
				for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); uses++ {
					err = pool.Use(t.Context(), func(conn net.Conn) error {
						if got := make([]byte, len(test.greets)); uses == 0 && test.greets != "" {
							if _, err := io.ReadFull(conn, got); string(got) != test.greets {
								return fmt.Errorf("%q, %w", got, err)
							}
						}
						answer, err := ask(t.Context(), conn, "mine")
						if err == nil && answer != "mine" {
							err = fmt.Errorf("got %q", answer)
						}
						return err
					})
					if test.refused != (err != nil) {
						t.Fatal(err)
					}
				}
				if test.refused && !errors.Is(err, pools.ErrOpenFailed) {
					t.Errorf("not a failed open: %v", err)
				}
				if n, stats := shaken.Load(), pool.Stats(); !test.again && n != 1 || test.again && n < 2 || test.refused && stats.Opened != 0 {
					t.Errorf("%d handshakes for %d uses, %d opened: %v", n, uses, stats.Opened, err)
				}
			})
		}
	}
}

// An answer that comes when its user has gone is found by the Check before the
// next use.
func TestAnswerOnItsWay(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			_, connector := kind(t)
			pool, err := pools.New("late", connector, pools.Settings{Size: 1, CheckAfter: pools.Always})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close(context.Background())
			var first net.Conn
			if err := pool.Use(t.Context(), func(conn net.Conn) error {
				first = conn
				_, err := fmt.Fprintln(conn, "theirs")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			_ = readable(first) // or it is closed already
			if err := pool.Use(t.Context(), func(conn net.Conn) error {
				answer, err := ask(t.Context(), conn, "mine")
				if answer != "mine" {
					t.Errorf("the next user got %q", answer)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A nil dialer is the zero one.
func TestNilDialers(t *testing.T) {
	for name, connector := range map[string]pools.Connector[net.Conn]{
		"Dial":    netconn.DialWith(nil, "unix", filepath.Join(t.TempDir(), "none")),
		"DialTLS": netconn.DialTLSWith(nil, "unix", filepath.Join(t.TempDir(), "none")),
	} {
		if _, err := connector.Open(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
