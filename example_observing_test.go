package pools_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// An Observer is told what happens; Stats has the sum of it.
func ExampleObserver() {
	observer := &pools.Observer{
		Event: func(e pools.Event) {
			switch e.Kind {
			case pools.EventOpened:
				fmt.Println("opened")
			case pools.EventClosed:
				fmt.Println("closed:", e.Reason)
			case pools.EventDown:
				fmt.Println("nothing can be opened:", e.Err)
			}
		},
	}
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 2, Observer: observer})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for range 100 {
		if err := pool.Use(ctx, func(*os.File) error { return nil }); err != nil {
			log.Fatal(err)
		}
	}
	if err := pool.Close(ctx); err != nil { // when it returns, all has been told
		log.Fatal(err)
	}
	st := pool.Stats()
	fmt.Println(st.Leases, "uses;", st.ClosedBy[pools.ReasonClose], "closed with the pool")
	fmt.Println("99 in 100 opens took less than a second:", st.Open.Quantile(0.99) < time.Second)
	// Unordered output:
	// opened
	// closed: close
	// 100 uses; 1 closed with the pool
	// 99 in 100 opens took less than a second: true
}

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
