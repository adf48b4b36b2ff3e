package pools_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/utopia-go/pools"
)

// UseResult is Use for a function that returns a value. If the function returns
// an error wrapped by Discard, the resource is closed and the caller gets the
// error as it was.
func ExampleUseResult() {
	pool, err := pools.New("dice", pools.Connector[*rand.Rand]{
		Open:  func(context.Context) (*rand.Rand, error) { return rand.New(rand.NewPCG(1, 2)), nil },
		Close: func(context.Context, *rand.Rand) error { return nil }, // nothing to close
	}, pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)

	n, err := pools.UseResult(ctx, pool, func(dice *rand.Rand) (int, error) { return 1 + dice.IntN(6), nil })
	fmt.Println(1 <= n && n <= 6, err)

	jammed := errors.New("jammed")
	_, err = pools.UseResult(ctx, pool, func(*rand.Rand) (int, error) { return 0, pools.Discard(jammed) })
	fmt.Println(errors.Is(err, jammed))

	if err := pool.Fill(ctx, 1); err != nil { // opens the replacement
		log.Fatal(err)
	}
	fmt.Println("opened:", pool.Stats().Opened)
	// Output:
	// true <nil>
	// true
	// opened: 2
}

// Discard(nil) closes the connection, here a log file that has grown too
// large, without making Use fail.
func ExampleDiscard() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "pools")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	pool, err := pools.New("logs", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.CreateTemp(folder, "log")
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	const maxSize = 10 // bytes
	write := func(line string) error {
		return pool.Use(ctx, func(file *os.File) error {
			if _, err := fmt.Fprintln(file, line); err != nil {
				return err
			}
			info, err := file.Stat()
			if err != nil {
				return err
			}
			if info.Size() > maxSize {
				return pools.Discard(nil) // closes the file; Use returns nil
			}
			return nil
		})
	}
	for _, line := range []string{"short", "much longer", "short again"} {
		if err := write(line); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("files:", pool.Stats().Opened)

	// Given an error, Discard closes the connection and Use returns that error.
	full := errors.New("the disk is full")
	err = pool.Use(ctx, func(*os.File) error { return pools.Discard(full) })
	fmt.Println(err == full)
	// Output:
	// files: 2
	// true
}

// When a read times out, its answer may still arrive, and the next user of the
// connection would take it for their own. PushErr passes the error to the pool,
// which closes the connection instead of lending it again.
func ExampleConn_PushErr() {
	ctx := context.Background()
	server := make(chan net.Conn, 2)
	pool, err := pools.New("slow", pools.OpenFunc(func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		server <- theirs
		return ours, nil
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	conn, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	conn.Resource().SetReadDeadline(time.Now()) // times out at once
	_, err = conn.Resource().Read(make([]byte, 8))
	fmt.Println("first:", err)
	if err := conn.PushErr(err); err != nil {
		log.Fatal(err)
	}

	// The server sees the connection close.
	_, err = (<-server).Read(make([]byte, 8))
	fmt.Println("server:", err == io.EOF)

	next, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer next.Push()
	fmt.Println("another connection:", next.ID() != conn.ID())
	// Output:
	// first: read pipe: i/o timeout
	// server: true
	// another connection: true
}

// Detach takes a connection out of the pool, for example to hand it to code
// that keeps it for hours. Its slot is free at once, and the caller must close
// the connection.
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

	// The pool no longer owns the connection: closing the pool leaves it open.
	fmt.Println(pool.Close(ctx))
	_, err = fmt.Fprintln(subscription, "still here")
	fmt.Println(err)
	// Output:
	// available: 0
	// available: 1
	// <nil>
	// <nil>
}
