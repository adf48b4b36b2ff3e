package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/utopia-go/pools"
)

// While a server is failed over, Pops wait instead of failing. Refresh takes
// what was open out of a paused pool; Resume opens new connections.
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
