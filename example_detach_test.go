package pools_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/utopia-go/pools"
)

// Detach takes a connection out of the pool, for example to hand it to code
// that keeps it for hours. Its slot is free at once, and the caller closes it.
func ExampleConn_Detach() {
	ctx := context.Background()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	pool, err := pools.New("events", pools.OpenFunc(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}

	conn, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("available:", pool.Available())
	subscription, err := conn.Detach()
	if err != nil {
		log.Fatal(err)
	}
	defer subscription.Close()
	fmt.Println("available:", pool.Available())

	// The pool knows nothing of it any more: closing the pool leaves it open.
	fmt.Println(pool.Close(ctx))
	_, err = fmt.Fprintln(subscription, "still here")
	fmt.Println(err)
	// Output:
	// available: 0
	// available: 1
	// <nil>
	// <nil>
}
