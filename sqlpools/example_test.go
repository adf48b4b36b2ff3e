package sqlpools_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// shop is some driver's connector, such as mysql.NewConnector or stdlib.GetConnector
// return.
func shop() driver.Connector {
	for _, s := range shapes() {
		if s.name == "conn with all, stmt with nothing" {
			return &fake{shape: s}
		}
	}
	return nil
}

func ExampleOpenDB() {
	db, pool, err := sqlpools.OpenDB("shop", shop(), pools.Settings{Size: 1, WaitTimeout: 50 * time.Millisecond}, sqlpools.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close() // and the pool

	// The *sql.DB is used as ever.
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.ExecContext(ctx, "update accounts set balance = 0")
	fmt.Println(errors.Is(err, pools.ErrWaitTimeout))
	if err := conn.Close(); err != nil {
		log.Fatal(err)
	}
	_, err = db.ExecContext(ctx, "update accounts set balance = 0")
	fmt.Println(err, pool.Stats().Opened, pool.Stats().TimedOut)
	// Output:
	// true
	// <nil> 1 1
}

func ExampleRaw() {
	db, _, err := sqlpools.OpenDB("shop", shop(), pools.Settings{Size: 10}, sqlpools.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = sqlpools.Raw(conn, func(conn driver.Conn) error {
		_, pings := conn.(driver.Pinger) // or a type of the driver's, with its own methods
		fmt.Println(pings)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// true
}
