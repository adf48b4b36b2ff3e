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

// How long connections live. Whatever ends a lifetime, a connection in use is
// closed only when it comes back.
func ExampleSettings_lifetimes() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{
		Size:        10,
		MaxLifetime: time.Hour,       // from 54 minutes on, each at another time
		IdleTimeout: 5 * time.Minute, // unless it is used
		MaxUses:     3,               // and nobody gets a connection for its fourth use
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

// One connection is always ready. While nobody uses it, it is checked now and
// then, so that no firewall on the way forgets it; if it does not answer it is
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
		KeepAlive: 10 * time.Millisecond, // a real program gives half a minute or more
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	fmt.Println(<-checked)
	// Output:
	// true
}

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
