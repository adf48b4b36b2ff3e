package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// Bare is a connection to a Redis without a driver. A driver closes what was
// given up in the middle of an answer; here only the pool's rules keep that
// answer from the next user.
type Bare struct {
	net.Conn
	answers *bufio.Reader
}

// Redis is a Redis asked by bare connections.
var Redis = Kind[*Bare]{
	Connector: func(address string) pools.Connector[*Bare] {
		return pools.Connector[*Bare]{
			Open: func(ctx context.Context) (*Bare, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				b := &Bare{conn, bufio.NewReader(conn)}
				if err := b.ping(ctx); err != nil { // it may be one client too many, or a proxy without a server
					conn.Close()
					return nil, err
				}
				return b, nil
			},
			// Close takes leave and waits until the server has closed, so
			// that the server does not count a connection that the pool has
			// forgotten.
			Close: func(ctx context.Context, b *Bare) error {
				defer b.Conn.Close()
				stop := b.until(ctx)
				defer stop()
				if _, err := io.WriteString(b, "QUIT\r\n"); err != nil {
					return err
				}
				_, err := io.Copy(io.Discard, b.Conn)
				return err
			},
			Check: func(ctx context.Context, b *Bare) error { return b.ping(ctx) },
			Abort: func(b *Bare) { b.Conn.Close() },
		}
	},
	Ask: func(ctx context.Context, b *Bare, number int64) (int64, error) {
		size, err := b.do(ctx, fmt.Sprintf("ECHO %d", number)) // "$" and how long it is
		if err != nil {
			return 0, err
		}
		return b.number(size)
	},
	// A wait for a list that nobody fills, and then the question. Redis looks
	// for waits that are over hz times a second.
	Work: func(ctx context.Context, b *Bare, number int64, takes time.Duration) (int64, error) {
		stop := b.until(ctx)
		defer stop()
		if _, err := fmt.Fprintf(b, "BLPOP nothing %.3f\r\nECHO %d\r\n", takes.Seconds(), number); err != nil {
			return 0, err
		}
		if line, err := b.answers.ReadString('\n'); err != nil || strings.TrimSpace(line) != "*-1" {
			return 0, errors.Join(err, fmt.Errorf("BLPOP: %q", line))
		}
		size, err := b.answers.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return b.number(size)
	},
}

// number reads the rest of an answer that began with size.
func (b *Bare) number(size string) (int64, error) {
	if !strings.HasPrefix(size, "$") {
		return 0, errors.New(strings.TrimSpace(size))
	}
	answer, err := b.answers.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(answer), 10, 64)
}

// do sends a command and returns the first line of its answer. When ctx ends
// it leaves the rest where it is.
func (b *Bare) do(ctx context.Context, command string) (string, error) {
	stop := b.until(ctx)
	defer stop()
	if _, err := io.WriteString(b, command+"\r\n"); err != nil {
		return "", err
	}
	line, err := b.answers.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (b *Bare) ping(ctx context.Context) error {
	if answer, err := b.do(ctx, "PING"); err != nil || answer != "+PONG" {
		return errors.Join(err, fmt.Errorf("PING: %q", answer))
	}
	return nil
}

// until interrupts reads and writes when ctx ends, before stop. After stop it
// does so no more: the connection may have another user then.
func (b *Bare) until(ctx context.Context) (stop func()) {
	end, _ := ctx.Deadline()
	_ = b.SetDeadline(end)
	interrupted := make(chan struct{})
	cancelled := context.AfterFunc(ctx, func() {
		_ = b.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	return func() {
		if !cancelled() {
			<-interrupted
		}
	}
}
