package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/utopia-go/pools"
)

// session is a login on a server. It has state that must not leak to the next
// user, and it can break.
type session struct {
	user   string
	broken bool
}

var errCut = errors.New("the line was cut")

// Besides Open and Close, a Connector can check idle connections, reset used
// ones, and decide which errors mean that a connection is broken.
func ExampleConnector() {
	ctx := context.Background()
	pool, err := pools.New("sessions", pools.Connector[*session]{
		Open:  func(context.Context) (*session, error) { return new(session), nil },
		Close: func(_ context.Context, s *session) error { return nil },
		Check: func(_ context.Context, s *session) error { // after 5 s idle, by default
			if s.broken {
				return errCut
			}
			return nil
		},
		Reset:  func(_ context.Context, s *session) error { s.user = ""; return nil },
		Broken: func(s *session, err error) bool { return s.broken || errors.Is(err, errCut) },
	}, pools.Settings{Size: 1, ResetTimeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}

	for _, user := range []string{"ann", "bob"} {
		err := pool.Use(ctx, func(s *session) error {
			fmt.Printf("%q logs in after %q\n", user, s.user)
			s.user = user
			if user == "bob" {
				return errCut
			}
			return nil
		})
		fmt.Println(err)
	}
	fmt.Println(pool.Close(ctx))
	fmt.Println("closed what was opened:", pool.Stats().Closed == pool.Stats().Opened)
	// Output:
	// "ann" logs in after ""
	// <nil>
	// "bob" logs in after ""
	// the line was cut
	// <nil>
	// closed what was opened: true
}
