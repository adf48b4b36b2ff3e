package pools_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

// login remembers the password it was opened with.
type login struct{ password string }

func (*login) Close() {}

// After a password change, Refresh replaces every connection with one that was
// opened with the new password. Connections in use are replaced when they are
// returned. The program examples/rotate does this under load without an error.
func ExamplePool_Refresh() {
	var password atomic.Value
	password.Store("old")
	pool, err := pools.New("logins", pools.OpenFunc(func(context.Context) (*login, error) {
		return &login{password.Load().(string)}, nil
	}), pools.Settings{Size: 4})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer pool.Close(ctx)
	if err := pool.Fill(ctx, 4); err != nil {
		log.Fatal(err)
	}

	password.Store("new")
	fmt.Println(pool.Refresh(ctx, 0)) // in production, spread this over a minute or so

	for range 4 { // hold all four at once, to see each of them
		conn, err := pool.Pop(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(conn.Resource().password)
		defer conn.Push()
	}
	// Output:
	// <nil>
	// new
	// new
	// new
	// new
}
