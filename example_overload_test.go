package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/utopia-go/pools"
)

// With MaxWaiting a server that is overloaded refuses at once, instead of
// making everybody wait until nobody is interested any more.
func ExampleSettings_maxWaiting() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 1, MaxWaiting: 2})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)

	served := make(chan error)
	err = pool.Use(ctx, func(*os.File) error {
		for range 3 {
			go func() { served <- pool.Use(ctx, func(*os.File) error { return nil }) }()
		}
		fmt.Println(errors.Is(<-served, pools.ErrTooManyWaiting)) // the third, at once
		return nil
	})
	fmt.Println(err, <-served, <-served) // the two who waited
	// Output:
	// true
	// <nil> <nil> <nil>
}
