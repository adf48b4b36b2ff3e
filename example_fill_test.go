package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"syscall"

	"github.com/utopia-go/pools"
)

// Fill opens connections before the first request comes, and says at once
// when the server is not there.
func ExamplePool_Fill() {
	ctx := context.Background()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	connect := pools.OpenFunc(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	})

	warm, err := pools.New("warm", connect, pools.Settings{Size: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer warm.Close(ctx)
	fmt.Println(warm.Fill(ctx, 8), warm.Stats().Idle)

	listener.Close()
	cold, err := pools.New("cold", connect, pools.Settings{Size: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer cold.Close(ctx)
	err = cold.Fill(ctx, 8)
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED), cold.Stats().Idle)
	// Output:
	// <nil> 8
	// true 0
}
