package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/utopia-go/pools"
)

// A goroutine hangs in a read with a connection in its hands. RevokeAll ends
// its lease; Abort makes the read fail, so that the connection comes back and
// is closed.
func ExamplePool_RevokeAll() {
	pool, err := pools.New("pipes", pools.Connector[net.Conn]{
		Open: func(context.Context) (net.Conn, error) {
			here, _ := net.Pipe() // the other end never says anything
			return here, nil
		},
		Abort: func(conn net.Conn) { conn.Close() }, // a net.Conn may be closed while it is read
	}, pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)

	conn, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := conn.Resource().Read(make([]byte, 1))
		read <- err
	}()

	fmt.Println("revoked:", pool.RevokeAll())
	fmt.Println("read:", <-read)
	fmt.Println("push:", errors.Is(conn.Push(), pools.ErrRevoked))

	next, err := pool.Pop(ctx) // a new connection
	fmt.Println(err, next.ID() != conn.ID(), next.Push())
	// Output:
	// revoked: 1
	// read: io: read/write on closed pipe
	// push: true
	// <nil> true <nil>
}
