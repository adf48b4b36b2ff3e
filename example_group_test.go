package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/utopia-go/pools"
)

type (
	upper struct{ strings.Builder }
	count struct{ n int }
)

func (*upper) Close() {}
func (*count) Close() {}

// A Group holds pools by name. Use takes one connection from each named pool;
// goroutines that name the same pools in different orders cannot deadlock.
func ExampleGroup() {
	ctx := context.Background()
	words, err := pools.New("words", pools.OpenFunc(func(context.Context) (*upper, error) {
		return new(upper), nil
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	counts, err := pools.New("counts", pools.OpenFunc(func(context.Context) (*count, error) {
		return new(count), nil
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	var group pools.Group
	if err := group.Add(words, counts); err != nil {
		log.Fatal(err)
	}
	defer group.Close(ctx)

	err = group.Use(ctx, []string{"counts", "words"}, func(r pools.Resources) error {
		w, c := pools.Of[*upper](r, "words"), pools.Of[*count](r, "counts")
		w.WriteString(strings.ToUpper("pools"))
		c.n = w.Len()
		fmt.Println(w.String(), c.n)
		return nil
	})
	fmt.Println(err)

	// With direct access to the pools, Use2 does the same.
	err = pools.Use2(ctx, words, counts, func(w *upper, c *count) error {
		fmt.Println(w.String(), c.n)
		return nil
	})
	fmt.Println(err)

	// The type must match: "words" is not a pool of *count.
	_, err = pools.Get[*count](&group, "words")
	fmt.Println(errors.Is(err, pools.ErrUnknown))
	// Output:
	// POOLS 5
	// <nil>
	// POOLS 5
	// <nil>
	// true
}
