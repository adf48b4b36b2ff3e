package poolstest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools/poolstest"
)

// halves is what connections have beside net.Conn.
type halves interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// pair dials, and accepts.
func pair(t *testing.T, n *poolstest.Network) (client, server halves) {
	t.Helper()
	l, err := n.Listen("server:1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := n.DialContext(t.Context(), "tcp", "server:1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(halves), s.(halves)
}

func says(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d, %v", n, err)
	}
}

// hears reads a text that must arrive after that time.
func hears(t *testing.T, c net.Conn, text string, after time.Duration) {
	t.Helper()
	began, b := time.Now(), make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text || time.Since(began) != after {
		t.Fatalf("%q after %v, %v; want %q after %v", b, time.Since(began), err, text, after)
	}
}

// ends reads or writes until there is an error, which must be that one.
func ends(t *testing.T, f func([]byte) (int, error), want error) {
	t.Helper()
	var err error
	for range 100 {
		if _, err = f(make([]byte, 4096)); err != nil {
			break
		}
	}
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
	_, is := errors.AsType[*net.OpError](err)
	if want != io.EOF && !is {
		t.Fatalf("%v is no OpError", err)
	}
}

func inNetwork(t *testing.T, f func(t *testing.T, n *poolstest.Network, a, b halves)) {
	synctest.Test(t, func(t *testing.T) {
		n := poolstest.NewNetwork()
		a, b := pair(t, n)
		f(t, n, a, b)
		a.Close()
		b.Close()
	})
}

func TestNetworkCarries(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		says(t, a, "ab")
		says(t, a, "c")
		hears(t, b, "abc", 0)
		says(t, b, "d")
		hears(t, a, "d", 0)
		if a.RemoteAddr().String() != "server:1" || b.LocalAddr().String() != "server:1" || a.LocalAddr().Network() != "memory" {
			t.Error(a.RemoteAddr(), b.LocalAddr(), a.LocalAddr().Network())
		}
		says(t, a, "last")
		a.Close()
		hears(t, b, "last", 0)
		ends(t, b.Read, io.EOF)
		ends(t, b.Write, syscall.EPIPE)
		ends(t, a.Read, net.ErrClosed)
		ends(t, a.Write, net.ErrClosed)
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestNetworkHalfClose(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		says(t, a, "question")
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		hears(t, b, "question", 0)
		ends(t, b.Read, io.EOF)
		says(t, b, "answer")
		hears(t, a, "answer", 0)
		ends(t, a.Write, syscall.EPIPE)
		if err := a.CloseRead(); err != nil {
			t.Fatal(err)
		}
		says(t, b, "who cares")
		ends(t, a.Read, io.EOF)
	})
}

func TestNetworkDelays(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		n.Delay(time.Second)
		says(t, a, "slow")
		n.Delay(0)
		says(t, a, " and quick") // does not overtake
		hears(t, b, "slow and quick", time.Second)
		n.Delay(time.Minute)
		a.Close()
		began := time.Now()
		ends(t, b.Read, io.EOF)
		if time.Since(began) != time.Minute {
			t.Errorf("closed after %v", time.Since(began))
		}
	})
}

func TestNetworkDeadlines(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		began := time.Now()
		_ = a.SetReadDeadline(began.Add(time.Second))
		_, err := a.Read(make([]byte, 1))
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		says(t, a, "not the writes")
		_ = a.SetDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _ = a.SetDeadline(time.Unix(1, 0)) }) // while it waits
		ends(t, a.Read, os.ErrDeadlineExceeded)
		ends(t, a.Write, os.ErrDeadlineExceeded)
	})
}

// A Write waits while the other end does not read.
func TestNetworkIsBounded(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := a.Write(make([]byte, 1<<20))
		if sent != 64<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d sent, %v", sent, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		go func() { _, _ = io.Copy(io.Discard, b) }()
		says(t, a, strings.Repeat("x", 1<<20))
	})
}

// A Write is one piece, however many there are at once.
func TestNetworkWritesTogether(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		const long = 200 << 10 // longer than what may be on its way
		for _, letter := range "xyz" {
			go func() {
				if _, err := io.WriteString(a, strings.Repeat(string(letter), long)); err != nil {
					t.Error(err)
				}
			}()
		}
		all := make([]byte, 3*long)
		if _, err := io.ReadFull(b, all); err != nil {
			t.Fatal(err)
		}
		for part := range 3 {
			if strings.Count(string(all[part*long:(part+1)*long]), string(all[part*long])) != long {
				t.Error("writes are mixed")
			}
		}
	})
}

// Nothing is read at once, and nobody knows of a Close before it arrives.
func TestNetworkAtOnce(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		if c, err := a.Read(nil); c != 0 || err != nil {
			t.Errorf("%d, %v", c, err)
		}
		n.Delay(time.Second)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		says(t, a, "into the void")
		time.Sleep(time.Second)
		ends(t, a.Write, syscall.EPIPE)
	})
}

func TestNetworkStalls(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		says(t, a, "before")
		n.Stall()
		says(t, a, " and while")
		time.AfterFunc(time.Hour, n.Resume)
		hears(t, b, "before and while", time.Hour)
		n.Stall()
		a.Close()
		says(t, b, "nobody knows yet")
		n.Resume()
		ends(t, b.Read, io.EOF)
		ends(t, b.Write, syscall.EPIPE)
	})
}

func TestNetworkCut(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *poolstest.Network, a, b halves) {
		says(t, a, "lost")
		time.AfterFunc(time.Second, n.Cut)
		ends(t, a.Read, syscall.ECONNRESET) // while it waits
		ends(t, a.Write, syscall.ECONNRESET)
		ends(t, b.Read, syscall.ECONNRESET)
		c, d := pair(t, n)
		says(t, c, "goes on")
		hears(t, d, "goes on", 0)
		c.Close()
		d.Close()
	})
}

func TestNetworkDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := poolstest.NewNetwork()
		dial := func(wait time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			c, err := n.DialContext(ctx, "tcp", "a")
			if err == nil {
				c.Close()
			}
			return err
		}
		want := func(err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		want(dial(time.Second), syscall.ECONNREFUSED)
		l, err := n.Listen("a")
		want(err, nil)
		_, err = n.Listen("a")
		want(err, syscall.EADDRINUSE)
		want(dial(time.Second), nil)
		n.Refuse()
		want(dial(time.Second), syscall.ECONNREFUSED)
		n.Accept()
		n.Delay(time.Second)
		want(dial(500*time.Millisecond), context.DeadlineExceeded)
		want(dial(2*time.Second), nil)
		n.Delay(0)
		n.Stall()
		began := time.Now()
		want(dial(time.Second), context.DeadlineExceeded)
		if time.Since(began) != time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		time.AfterFunc(time.Second, n.Resume)
		want(dial(time.Minute), nil)

		c, err := n.DialContext(t.Context(), "tcp", "a")
		want(err, nil)
		time.AfterFunc(time.Second, func() { l.Close() })
		for err == nil {
			_, err = l.Accept()
		}
		want(err, net.ErrClosed)
		want(l.Close(), net.ErrClosed)
		c.Close()
		want(dial(time.Second), syscall.ECONNREFUSED)
	})
}
