package pools_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/utopia-go/pools"
)

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
