package pools_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/utopia-go/pools"
)

// dice is a generator of random numbers that one goroutine may use at a time.
type dice struct{ *rand.Rand }

func (dice) Close() error { return nil }

var errJammed = errors.New("jammed")

// A result of the function; and an error after which the resource must go.
func ExampleUseResult() {
	ctx := context.Background()
	pool, err := pools.New("dice", pools.OpenFunc(func(context.Context) (dice, error) {
		return dice{rand.New(rand.NewPCG(1, 2))}, nil
	}), pools.Settings{Size: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close(ctx)

	n, err := pools.UseResult(ctx, pool, func(d dice) (int, error) { return 1 + d.IntN(6), nil })
	fmt.Println(1 <= n && n <= 6, err)

	_, err = pools.UseResult(ctx, pool, func(dice) (int, error) { return 0, pools.Discard(errJammed) })
	fmt.Println(errors.Is(err, errJammed))

	if err := pool.Fill(ctx, 1); err != nil { // a new one is in its place
		fmt.Println(err)
	}
	fmt.Println("opened:", pool.Stats().Opened)
	// Output:
	// true <nil>
	// true
	// opened: 2
}
