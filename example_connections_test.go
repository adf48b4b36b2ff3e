package pools_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/utopia-go/pools"
)

// Who holds what? With TrackHolders each connection in use says where it was
// popped, and by which goroutine.
func ExamplePool_Connections() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3, TrackHolders: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)
	if err := pool.Fill(ctx, 2); err != nil {
		log.Fatal(err)
	}

	err = pool.Use(ctx, func(*os.File) error {
		for c := range pool.Connections() {
			fmt.Println(c.State, c.Uses, strings.Contains(c.Stack, "ExamplePool_Connections"))
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// held 1 true
	// idle 0 false
	// <nil>
}
