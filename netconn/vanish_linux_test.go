package netconn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
)

// options reads what decides how long a connection waits for its other side.
func options(t *testing.T, conn net.Conn) (idle, interval, probes, unacknowledged int) {
	t.Helper()
	for l, ok := conn.(interface{ NetConn() net.Conn }); ok; l, ok = conn.(interface{ NetConn() net.Conn }) {
		conn = l.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	get := func(fd uintptr, level, option int) int {
		n, err := syscall.GetsockoptInt(int(fd), level, option)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	err = raw.Control(func(fd uintptr) {
		if get(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 {
			t.Error("no keep-alive")
		}
		idle = get(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		interval = get(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
		probes = get(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
		unacknowledged = get(fd, syscall.IPPROTO_TCP, 18) // TCP_USER_TIMEOUT, in ms
	})
	if err != nil {
		t.Error(err)
	}
	return idle, interval, probes, unacknowledged
}

// The system has what Dialer was asked for, by each connector that takes it, and
// Go's defaults without it.
func TestDialerOptions(t *testing.T) {
	server, client := certificate()
	plain := listen(t, "tcp", "127.0.0.1:0")
	serve(t, plain)
	secret := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), server)
	serve(t, secret)
	unix := listen(t, "unix", t.TempDir()+"/s")
	serve(t, unix)
	with := func(silence time.Duration) pools.Connector[net.Conn] {
		return netconn.DialWith(netconn.Dialer(silence), "tcp", plain.Addr().String())
	}
	for _, test := range []struct {
		name                                   string
		connector                              pools.Connector[net.Conn]
		idle, interval, probes, unacknowledged int
	}{
		{"Go's", netconn.Dial("tcp", plain.Addr().String()), 15, 15, 9, 0},
		{"none", netconn.DialWith(nil, "tcp", plain.Addr().String()), 15, 15, 9, 0},
		{"TLS, Go's", netconn.DialTLS("tcp", secret.Addr().String(), client), 15, 15, 9, 0},
		{"TLS", netconn.DialTLSWith(&tls.Dialer{NetDialer: netconn.Dialer(30 * time.Second), Config: client}, "tcp", secret.Addr().String()), 15, 5, 3, 30_000},
		{"30 s", with(30 * time.Second), 15, 5, 3, 30_000},
		{"10 s", with(10 * time.Second), 7, 1, 3, 10_000},
		{"9.1 s", with(9100 * time.Millisecond), 7, 1, 3, 10_000},
		{"too short", with(-time.Second), 1, 1, 3, 4_000},
		{"too long", with(1 << 62), 16_200, 5_400, 3, 32_400_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := test.connector.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			idle, interval, probes, unacknowledged := options(t, conn)
			if idle != test.idle || interval != test.interval || probes != test.probes || unacknowledged != test.unacknowledged {
				t.Errorf("%d s, then %d probes %d s apart; %d ms", idle, probes, interval, unacknowledged)
			}
		})
	}
	if conn, err := netconn.DialWith(netconn.Dialer(time.Minute), "unix", unix.Addr().String()).Open(t.Context()); err != nil {
		t.Errorf("a Unix socket: %v", err)
	} else {
		conn.Close()
	}
}

// vanish has a connection hear nothing any more, and so say nothing.
func vanish(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 this module has only the standard library
	drop := []syscall.SockFilter{*syscall.LsfStmt(syscall.BPF_RET|syscall.BPF_K, 0)}
	//lint:ignore SA1019 as above
	err2 := raw.Control(func(fd uintptr) { err = syscall.AttachLsf(int(fd), drop) })
	if err := errors.Join(err2, err); err != nil {
		t.Fatal(err)
	}
}

// A connection whose other side has vanished ends after the time that Dialer was
// given, whether it is idle or not, and Check and Broken know. With Go's defaults
// that takes 150 s and more.
func TestDialerEndsConnections(t *testing.T) {
	t.Parallel()
	quiet := net.ListenConfig{KeepAlive: -1} // or the server's probes are heard
	for name, test := range map[string]struct {
		vanishes bool
		use      func(conn net.Conn) error
	}{
		"idle":           {true, nil},
		"unacknowledged": {true, func(conn net.Conn) error { _, err := io.WriteString(conn, "hello"); return err }},
		"it reads nothing": {false, func(conn net.Conn) error {
			for much := make([]byte, 1<<20); ; {
				if _, err := conn.Write(much); err != nil {
					return err
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := quiet.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			connector := netconn.DialWith(netconn.Dialer(4*time.Second), "tcp", l.Addr().String())
			conn, err := connector.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			// What the test waits for must come without it.
			closes := sync.OnceFunc(func() { connector.Close(context.Background(), conn) })
			defer closes()
			defer time.AfterFunc(time.Minute, closes).Stop()
			if err := netconn.Check(conn); err != nil {
				t.Error(err)
			}
			if test.vanishes {
				vanish(t, server)
			}
			began := time.Now()
			if test.use != nil {
				err = test.use(conn)
			}
			if test.vanishes {
				if err != nil {
					t.Fatal(err)
				}
				for err = netconn.Check(conn); err == nil; err = netconn.Check(conn) {
					time.Sleep(10 * time.Millisecond)
				}
			}
			took := time.Since(began)
			t.Logf("%v after %v", err, took)
			if !errors.Is(err, syscall.ETIMEDOUT) || took < 3500*time.Millisecond || took > 30*time.Second {
				t.Errorf("%v after %v", err, took)
			}
			if !connector.Broken(conn, nil) {
				t.Error("it is lent again")
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
		})
	}
}
