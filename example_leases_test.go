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

// A result of the function; and an error after which the resource must go.
func ExampleUseResult() {
	pool, err := pools.New("dice", pools.Connector[*rand.Rand]{
		Open:  func(context.Context) (*rand.Rand, error) { return rand.New(rand.NewPCG(1, 2)), nil },
		Close: func(context.Context, *rand.Rand) error { return nil }, // there is nothing to close
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

	if err := pool.Fill(ctx, 1); err != nil { // a new one is in its place
		log.Fatal(err)
	}
	fmt.Println("opened:", pool.Stats().Opened)
	// Output:
	// true <nil>
	// true
	// opened: 2
}

// Discard closes the connection, here a log file that has grown too large,
// without failing the use.
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

	const most = 10
	write := func(line string) error {
		return pool.Use(ctx, func(file *os.File) error {
			if _, err := fmt.Fprintln(file, line); err != nil {
				return err
			}
			info, err := file.Stat()
			if err != nil {
				return err
			}
			if info.Size() > most {
				return pools.Discard(nil) // Use returns nil, and the file is closed
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

	// With an error in it, Use returns that error as it was.
	full := errors.New("the disk is full")
	err = pool.Use(ctx, func(*os.File) error { return pools.Discard(full) })
	fmt.Println(err == full)
	// Output:
	// files: 2
	// true
}

// A read that ran into its deadline leaves the answer on its way: whoever
// used the connection next would read it as his own. PushErr tells the pool,
// and the connection goes.
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
	conn.Resource().SetReadDeadline(time.Now()) // nobody answers in no time
	_, err = conn.Resource().Read(make([]byte, 8))
	fmt.Println("first:", err)
	if err := conn.PushErr(err); err != nil {
		log.Fatal(err)
	}

	// The server sees its end of the connection close.
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
