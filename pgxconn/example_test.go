package pgxconn_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/pgxconn"
)

func Example() {
	config, err := pgx.ParseConfig("postgres://app@127.0.0.1/shop")
	if err != nil {
		log.Fatal(err)
	}
	config.RuntimeParams["statement_timeout"] = "10s" // for every user
	pool, err := pools.New("db", pgxconn.New(pgxconn.Options{
		Config: config,
		BeforeConnect: func(_ context.Context, config *pgx.ConnConfig) error {
			config.Password = os.Getenv("PASSWORD") // the one of now
			return nil
		},
	}), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	now, err := pools.UseResult(ctx, pool, func(conn *pgx.Conn) (now time.Time, err error) {
		err = conn.QueryRow(ctx, "select now()").Scan(&now)
		return now, err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the database's time is", now)
}
