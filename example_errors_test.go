package pools_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/utopia-go/pools"
)

type licence struct{}

func (licence) Close() {}

// What a Pop says when there is nothing to be had, and what a Close says when
// somebody keeps a connection. Detach keeps one for good.
func ExamplePopError() {
	ctx := context.Background()
	pool, err := pools.New("licences", pools.OpenFunc(func(context.Context) (licence, error) { return licence{}, nil }),
		pools.Settings{Size: 1, WaitTimeout: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A millisecond is for this example; it bounds the wait for an open too.
	if err := pool.Fill(ctx, 1); err != nil {
		fmt.Println(err)
		return
	}
	conn, err := pool.Pop(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = pool.Pop(ctx)
	e, _ := errors.AsType[*pools.PopError](err)
	fmt.Println(errors.Is(err, pools.ErrWaitTimeout), errors.Is(err, context.DeadlineExceeded))
	fmt.Printf("%d of %d are held\n", e.Held, e.Size)

	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	err = pool.Close(soon)
	c, _ := errors.AsType[*pools.CloseError](err)
	fmt.Println(errors.Is(err, pools.ErrStillOut), c.Held[0].ID == conn.ID())

	_, err = conn.Detach()
	fmt.Println(err, pool.Close(ctx))
	// Output:
	// true false
	// 1 of 1 are held
	// true true
	// <nil> <nil>
}
