package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// A connector for a TCP protocol of one-line commands and numbered replies,
// such as SMTP. With CheckAfter Always, every connection is checked before it is
// lent, unless it was just opened or reset.
func ExampleConnector_tcp() {
	ctx := context.Background()
	address, stop := commandServer()
	defer stop()

	pool, err := pools.New("commands", pools.Connector[*client]{
		Open: func(ctx context.Context) (*client, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return &client{conn, textproto.NewConn(conn)}, nil
		},
		Check: func(ctx context.Context, c *client) error { return c.command(ctx, "NOOP") },
		Reset: func(ctx context.Context, c *client) error { return c.command(ctx, "RESET") },
		Close: func(ctx context.Context, c *client) error {
			return errors.Join(c.command(ctx, "QUIT"), c.lines.Close())
		},
		// After a reply that refuses a command, the connection is still in
		// sync. After any other error it may not be.
		Broken: func(_ *client, err error) bool {
			_, refused := errors.AsType[*textproto.Error](err)
			return err != nil && !refused
		},
		// A net.Conn may be closed while another goroutine is using it: that
		// goroutine's read or write then fails.
		Abort: func(c *client) { c.conn.Close() },
	}, pools.Settings{Size: 4, CheckAfter: pools.Always})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	for _, command := range []string{"HELLO", "NONSENSE", "HELLO"} {
		err := pool.Use(ctx, func(c *client) error { return c.command(ctx, command) })
		if refused, ok := errors.AsType[*textproto.Error](err); ok {
			fmt.Println(command, "refused:", refused.Code)
			continue
		}
		fmt.Println(command, err)
	}
	// Output:
	// HELLO <nil>
	// NONSENSE refused: 500
	// HELLO <nil>
}

// client is one connection to the server.
type client struct {
	conn  net.Conn
	lines *textproto.Conn
}

// command sends a command and reads the reply. It fails when ctx ends.
func (c *client) command(ctx context.Context, command string) error {
	deadline, _ := ctx.Deadline()
	c.conn.SetDeadline(deadline) // the zero time means no deadline
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.lines.PrintfLine("%s", command); err != nil {
		return err
	}
	_, _, err := c.lines.ReadResponse(2)
	return err
}

// commandServer starts a server for the protocol on a free port.
func commandServer() (address string, stop func() error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	serve := func(conn net.Conn) {
		defer conn.Close()
		lines := textproto.NewConn(conn)
		for {
			command, err := lines.ReadLine()
			if err != nil {
				return
			}
			reply := "500 unknown command"
			if strings.Contains(" HELLO NOOP RESET QUIT ", " "+command+" ") {
				reply = "200 done"
			}
			if lines.PrintfLine("%s", reply) != nil || command == "QUIT" {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String(), listener.Close
}
