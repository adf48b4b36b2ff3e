package netconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/netconn"
)

// A protocol that greets has an Open of its own around netconn's.
func Example() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go greetAndEcho(server)

	connector := netconn.Dial("tcp", server.Addr().String())
	dial := connector.Open
	connector.Open = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		if err := greeted(ctx, conn); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	pool, err := pools.New("echo", connector, pools.Settings{Size: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	for _, word := range []string{"one", "two"} {
		err := pool.Use(context.Background(), func(conn net.Conn) error {
			fmt.Fprintln(conn, word)
			answer, err := bufio.NewReader(conn).ReadString('\n')
			fmt.Print(answer)
			return err
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(pool.Stats().Opened, "connection")
	// Output:
	// one
	// two
	// 1 connection
}

// A connection whose server has vanished without a word ends after half a minute,
// and not after minutes; here with TLS.
func ExampleDialer() {
	dialer := &tls.Dialer{NetDialer: netconn.Dialer(30 * time.Second)}
	pool, err := pools.New("mail", netconn.DialTLSWith(dialer, "tcp", "mail.example.com:465"), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())
}

// greeted reads the server's first line. When ctx ends it closes conn.
func greeted(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("greeted with %q", line)
	}
	return err
}

func greetAndEcho(server net.Listener) {
	for {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			fmt.Fprintln(conn, "hello")
			_, _ = io.Copy(conn, conn)
		}()
	}
}
