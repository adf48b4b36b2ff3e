package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/utopia-go/pools"
)

// Fill opens connections before the first request arrives. If the server is not
// there, it fails at once.
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

// Configure changes settings while the pool runs: all of them, or none if any
// is invalid. The program examples/reload reads them from a JSON file, on each
// SIGHUP.
func ExamplePool_Configure() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	err = pool.Configure(func(s *pools.Settings) {
		s.Size = 20
		s.IdleTimeout = 90 * time.Second
		s.MaxLifetime = pools.Never
	})
	s := pool.Settings()
	fmt.Println(err, s.Size, s.IdleTimeout, s.MaxLifetime == pools.Never)

	err = pool.Configure(func(s *pools.Settings) {
		s.Size = 1
		s.MinIdle = 5
		s.MaxUses = -7
	})
	fmt.Println(err)
	fmt.Println(pool.Settings().Size)
	// Output:
	// <nil> 20 1m30s true
	// pools: Configure("files"):
	// Settings.MinIdle: is 5; give a number from 0 to Size (1)
	// Settings.MaxUses: is -7; give a positive number, 0 for the default, or pools.NoLimit
	// 20
}

// While a server fails over, Pause makes Pops wait instead of fail. Refresh
// closes the old connections of a paused pool. After Resume, the pool opens new
// ones on demand.
func ExamplePool_Pause() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3, WaitTimeout: time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)
	if err := pool.Fill(ctx, 2); err != nil {
		log.Fatal(err)
	}

	pool.Pause()
	_, err = pool.Pop(ctx)
	fmt.Println(errors.Is(err, pools.ErrPaused))
	fmt.Println(pool.Refresh(ctx, 0), pool.Stats().Idle)

	pool.Resume()
	conn, err := pool.Pop(ctx)
	fmt.Println(err, conn.Push())
	// Output:
	// true
	// <nil> 0
	// <nil> <nil>
}

// A goroutine that holds a connection hangs in a read. RevokeAll ends its lease,
// and Abort makes the read fail, so that the goroutine returns the connection
// and the pool closes it.
func ExamplePool_RevokeAll() {
	pool, err := pools.New("pipes", pools.Connector[net.Conn]{
		Open: func(context.Context) (net.Conn, error) {
			here, _ := net.Pipe() // the other end never writes
			return here, nil
		},
		Abort: func(conn net.Conn) { conn.Close() }, // safe while another goroutine reads
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

	next, err := pool.Pop(ctx) // opens a new connection
	fmt.Println(err, next.ID() != conn.ID(), next.Push())
	// Output:
	// revoked: 1
	// read: io: read/write on closed pipe
	// push: true
	// <nil> true <nil>
}

// Close waits for connections in use until its ctx ends, then returns an error
// that names them. With TrackHolders, the error also says where each was popped.
func ExamplePool_Close() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3, TrackHolders: true, TrackGoroutines: true})
	if err != nil {
		log.Fatal(err)
	}
	file, err := pool.Pop(context.Background())
	if err != nil {
		log.Fatal(err)
	}

	// In production, allow a few seconds here.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = pool.Close(ctx)

	_, thisFile, _, _ := runtime.Caller(0)
	if left, ok := errors.AsType[*pools.CloseError](err); ok {
		for _, holder := range left.Held {
			fmt.Println("held:", holder.ID == file.ID())
			fmt.Println("popped here:", strings.Contains(holder.Stack, thisFile))
		}
	}

	// The late Push closes the file, and a second Close waits for that.
	fmt.Println(file.Push())
	fmt.Println(pool.Close(context.Background()))
	// Output:
	// held: true
	// popped here: true
	// <nil>
	// <nil>
}
