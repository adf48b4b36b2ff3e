package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// An Observer receives events as they happen; Stats has the totals.
func ExampleObserver() {
	observer := &pools.Observer{
		Event: func(e pools.Event) {
			switch e.Kind {
			case pools.EventOpened:
				fmt.Println("opened")
			case pools.EventClosed:
				fmt.Println("closed:", e.Reason)
			case pools.EventDown:
				fmt.Println("the server is down:", e.Err)
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
	if err := pool.Close(ctx); err != nil { // returns after the last event has been delivered
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

// Connections lists every open connection. With TrackHolders, each one in use
// also says where it was popped, and by which goroutine.
func ExamplePool_Connections() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3, TrackHolders: true, TrackGoroutines: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)
	if err := pool.Fill(ctx, 2); err != nil {
		log.Fatal(err)
	}

	_, thisFile, _, _ := runtime.Caller(0)
	err = pool.Use(ctx, func(*os.File) error {
		for c := range pool.Connections() {
			fmt.Println(c.State, c.Uses, strings.Contains(c.Stack, thisFile))
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// held 1 true
	// idle 0 false
	// <nil>
}

// A Pop that gets no connection returns a PopError, which describes the pool at
// that moment. A Close that runs out of time returns a CloseError, which names
// the connections still in use.
func ExamplePopError() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 1, WaitTimeout: time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	// WaitTimeout, here unusually short, also limits the wait for an open, so
	// the example opens its only file beforehand.
	if err := pool.Fill(ctx, 1); err != nil {
		log.Fatal(err)
	}
	conn, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}

	_, err = pool.Pop(ctx)
	e, _ := errors.AsType[*pools.PopError](err)
	fmt.Println(errors.Is(err, pools.ErrWaitTimeout), errors.Is(err, context.DeadlineExceeded))
	fmt.Printf("%d of %d are held\n", e.Held, e.Size)

	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	err = pool.Close(soon)
	c, _ := errors.AsType[*pools.CloseError](err)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), c.Held[0].ID == conn.ID())

	// Close has nothing left to wait for once the file is detached.
	file, err := conn.Detach()
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	fmt.Println(pool.Close(ctx))
	// Output:
	// true false
	// 1 of 1 are held
	// true true
	// <nil>
}
