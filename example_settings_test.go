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

// Three settings limit how long a connection lives. Whichever limit is reached,
// a connection in use is closed only when it is returned.
func ExampleSettings_lifetimes() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{
		Size:        10,
		MaxLifetime: time.Hour,       // each closes at a different age, 54 to 60 minutes
		IdleTimeout: 5 * time.Minute, // without a use
		MaxUses:     3,               // no connection is lent a fourth time
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for range 6 {
		conn, err := pool.Pop(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("use", conn.Uses())
		_ = conn.Push()
	}
	if err := pool.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("used up:", pool.Stats().ClosedBy[pools.ReasonUses])
	// Output:
	// use 1
	// use 2
	// use 3
	// use 1
	// use 2
	// use 3
	// used up: 2
}

// MinIdle keeps one idle connection ready. KeepAlive checks it regularly, so that
// NATs and firewalls keep it alive. A connection that fails its check is
// replaced.
func ExampleSettings_keepAlive() {
	checked := make(chan bool, 1)
	pool, err := pools.New("files", pools.Connector[*os.File]{
		Open: func(context.Context) (*os.File, error) { return os.Open(os.DevNull) },
		Check: func(ctx context.Context, file *os.File) error {
			select {
			case checked <- true:
			default:
			}
			_, err := file.Stat()
			return err
		},
	}, pools.Settings{
		Size:      2,
		MinIdle:   1,
		KeepAlive: 10 * time.Millisecond, // in production, 30 seconds or more
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	fmt.Println(<-checked)
	// Output:
	// true
}

// With MaxWaiting, an overloaded server refuses surplus requests at once,
// instead of letting all of them wait until their clients have given up.
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
		fmt.Println(errors.Is(<-served, pools.ErrTooManyWaiting)) // two wait, the third is refused
		return nil
	})
	fmt.Println(err, <-served, <-served) // the two that waited
	// Output:
	// true
	// <nil> <nil> <nil>
}
