package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/utopia-go/pools"
)

// Close waits for those who still use something until its ctx ends, and then
// names them. With TrackHolders it also says where they popped.
func ExamplePool_Close() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3, TrackHolders: true})
	if err != nil {
		log.Fatal(err)
	}
	forgetful := func() pools.Conn[*os.File] {
		file, err := pool.Pop(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		return file
	}
	file := forgetful()

	// A real program gives some seconds here.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = pool.Close(ctx)

	if left, ok := errors.AsType[*pools.CloseError](err); ok {
		for _, holder := range left.Held {
			fmt.Println("held:", holder.ID == file.ID())
			fmt.Println("popped here:", strings.Contains(holder.Stack, "ExamplePool_Close"))
		}
	}

	// The late push closes it, and a further Close waits for that.
	fmt.Println(file.Push())
	fmt.Println(pool.Close(context.Background()))
	// Output:
	// held: true
	// popped here: true
	// <nil>
	// <nil>
}
