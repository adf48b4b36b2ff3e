package pools_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"sync"
	"sync/atomic"

	"github.com/utopia-go/pools"
)

// echo is a server that sends back each line, and counts its connections.
type echo struct {
	net.Listener
	accepted atomic.Int64
}

func serveEcho() (*echo, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &echo{Listener: listener}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server.accepted.Add(1)
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintln(conn, lines.Text())
				}
			}()
		}
	}()
	return server, nil
}

// A hundred goroutines share three connections.
func ExamplePool_Use() {
	server, err := serveEcho()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	pool, err := pools.New("echo", pools.OpenFunc(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Addr().String())
	}), pools.Settings{Size: 3})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	var right atomic.Int64
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			err := pool.Use(ctx, func(conn net.Conn) error {
				var answer int
				if _, err := fmt.Fprintln(conn, i); err != nil {
					return err
				}
				if _, err := fmt.Fscanln(conn, &answer); err != nil {
					return err
				}
				if answer == i {
					right.Add(1)
				}
				return nil
			})
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	all.Wait()
	fmt.Println("right answers:", right.Load())
	fmt.Println("at most 3 connections:", server.accepted.Load() <= 3)
	fmt.Println(pool.Close(ctx))
	// Output:
	// right answers: 100
	// at most 3 connections: true
	// <nil>
}
