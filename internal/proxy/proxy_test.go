package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/utopia-go/pools/internal/proxy"
)

// echo answers each line with the same, and tells what it got.
func echo(t *testing.T) (address string, got <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines <- line
					if _, err := io.WriteString(conn, line); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), lines
}

func start(t *testing.T) (*proxy.Proxy, <-chan string) {
	address, got := echo(t)
	p, err := proxy.Start(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, got
}

type client struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, p *proxy.Proxy) *client {
	conn, err := net.Dial("tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) says(line string) {
	if _, err := io.WriteString(c, line); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hears(line string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := c.answers.ReadString('\n'); err != nil || got != line {
		c.t.Fatalf("%q, %v; want %q", got, err, line)
	}
}

// silence: nothing comes within d.
func (c *client) silence(d time.Duration) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if got, err := c.answers.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%q, %v; want silence", got, err)
	}
}

func TestPasses(t *testing.T) {
	p, _ := start(t)
	a, b := dial(t, p), dial(t, p)
	a.says("a\n")
	b.says("b\n")
	b.hears("b\n")
	a.hears("a\n")
}

func TestStall(t *testing.T) {
	p, _ := start(t)
	a := dial(t, p)
	a.says("a\n")
	a.hears("a\n")
	p.Stall()
	a.says("b\n")
	a.silence(20 * time.Millisecond)
	p.Resume()
	a.hears("b\n")
}

func TestDelay(t *testing.T) {
	p, _ := start(t)
	a := dial(t, p)
	p.Delay(10 * time.Millisecond)
	began := time.Now()
	a.says("a\n")
	a.hears("a\n")
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
}

func TestCut(t *testing.T) {
	p, _ := start(t)
	a := dial(t, p)
	a.says("a\n")
	a.hears("a\n")
	p.Cut()
	if _, err := a.answers.ReadString('\n'); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("cut, and got %v", err)
	}
	b := dial(t, p)
	b.says("b\n")
	b.hears("b\n")
}

func TestHalfClose(t *testing.T) {
	p, got := start(t)
	a := dial(t, p)
	a.says("a\n")
	a.hears("a\n")
	<-got
	p.HalfClose()
	if _, err := a.answers.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("half-closed, and got %v", err)
	}
	a.says("b\n")
	select {
	case line := <-got:
		if line != "b\n" {
			t.Errorf("got %q", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("the other half is closed too")
	}
}

func TestRefuse(t *testing.T) {
	p, _ := start(t)
	a := dial(t, p)
	a.says("a\n")
	a.hears("a\n")
	p.Refuse()
	if b, err := net.Dial("tcp", p.Address); err == nil { // the reset may come after the dial
		defer b.Close()
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Error("accepted")
		}
	}
	a.says("b\n") // who is there stays
	a.hears("b\n")
	p.Accept()
	c := dial(t, p)
	c.says("c\n")
	c.hears("c\n")
}
