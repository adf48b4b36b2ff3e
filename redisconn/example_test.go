package redisconn_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/redisconn"
)

func Example() {
	pool, err := pools.New("redis", redisconn.New(redisconn.Options{Address: "127.0.0.1:6379", Name: "shop"}), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	visits, err := pools.UseResult(ctx, pool, func(conn *redisconn.Conn) (int, error) {
		return redis.Int(conn.DoContext(ctx, "INCR", "visits"))
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("visit", visits)
}

// A connection that listens is taken out of the pool for good: it serves one
// user, for as long as the program runs.
func Example_subscribe() {
	pool, err := pools.New("redis", redisconn.New(redisconn.Options{}), pools.Settings{Size: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	lease, err := pool.Pop(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := lease.Detach()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	listener := redis.PubSubConn{Conn: conn}
	if err := listener.Subscribe("news"); err != nil {
		log.Fatal(err)
	}
	for {
		switch news := listener.Receive().(type) {
		case redis.Message:
			fmt.Printf("%s\n", news.Data)
		case error:
			log.Fatal(news)
		}
	}
}
