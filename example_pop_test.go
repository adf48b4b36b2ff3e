package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/utopia-go/pools"
)

// interpreter is expensive to create and not safe for concurrent use.
type interpreter struct{ variables map[string]int }

func newInterpreter(context.Context) (*interpreter, error) {
	return &interpreter{variables: map[string]int{}}, nil
}

func (i *interpreter) Close() { i.variables = nil }

// When a callback does not fit, use Pop and Push. A lease ends only once: a
// second Push does nothing and returns ErrNotHeld.
func ExamplePool_Pop() {
	ctx := context.Background()
	pool, err := pools.New("interpreters", pools.OpenFunc(newInterpreter), pools.Settings{Size: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	conn, err := pool.Pop(ctx)
	if err != nil {
		log.Fatal(err)
	}
	conn.Resource().variables["x"] = 1
	fmt.Println("available:", pool.Available())
	fmt.Println("pushed:", conn.Push())
	fmt.Println("pushed again:", errors.Is(conn.Push(), pools.ErrNotHeld))
	fmt.Println("available:", pool.Available())
	// Output:
	// available: 1
	// pushed: <nil>
	// pushed again: true
	// available: 2
}
