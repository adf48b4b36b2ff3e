package pools_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/utopia-go/pools"
)

// Settings change while the pool runs, all or none of them. They may come from
// a file: examples/reload reads one at each SIGHUP.
func ExamplePool_Configure() {
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{Size: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	var fromFile error
	err = pool.Configure(func(s *pools.Settings) {
		fromFile = json.Unmarshal([]byte(`{"Size": 20, "IdleTimeout": "90s", "MaxLifetime": "Never"}`), s)
	})
	s := pool.Settings()
	fmt.Println(err, fromFile, s.Size, s.IdleTimeout, s.MaxLifetime == pools.Never)

	err = pool.Configure(func(s *pools.Settings) {
		s.Size = 1
		s.MinIdle = 5
		s.MaxUses = -7
	})
	fmt.Println(err)
	fmt.Println(pool.Size())
	// Output:
	// <nil> <nil> 20 1m30s true
	// pools: Configure("files"):
	// Settings.MinIdle: is 5; give a number from 0 to Size (1)
	// Settings.MaxUses: is -7; give a positive number, 0 for the default, or pools.NoLimit
	// 20
}
