package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/utopia-go/pools"
)

// remote is a connection to a server that forgets it after a while.
type remote struct{ forgotten bool }

func (*remote) Close() error { return nil }
func (s *remote) ping() error {
	if s.forgotten {
		return errors.New("unknown session")
	}
	return nil
}

// A serverless platform freezes the process when a handler has returned, and
// thaws it for the next request: a second later, or an hour. Suspect at the
// beginning of a handler has the connections checked that were idle meanwhile.
func ExamplePool_Suspect() {
	opened := 0
	var latest *remote
	connector := pools.OpenFunc(func(context.Context) (*remote, error) {
		opened++
		latest = new(remote)
		return latest, nil
	})
	connector.Check = func(_ context.Context, s *remote) error { return s.ping() }
	pool, err := pools.New("sessions", connector, pools.Settings{Size: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	handler := func(ctx context.Context) error {
		pool.Suspect()
		return pool.Use(ctx, (*remote).ping)
	}
	fmt.Println(handler(context.Background()), opened)
	latest.forgotten = true // an hour passes, in which the process is frozen
	fmt.Println(handler(context.Background()), opened)
	// Output:
	// <nil> 1
	// <nil> 2
}
