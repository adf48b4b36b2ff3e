package main

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
)

// connector makes connections to the Redis at address. A redis.Conn closes
// itself, so there is no Close to give.
func connector(address string, timeout time.Duration) pools.Connector[redis.Conn] {
	return pools.Connector[redis.Conn]{
		Open: func(ctx context.Context) (redis.Conn, error) {
			conn, err := redis.DialURLContext(ctx, address,
				redis.DialReadTimeout(timeout), redis.DialWriteTimeout(timeout))
			if err != nil {
				return nil, err
			}
			// Something listens; is it a Redis, and does it let us in?
			if err := ping(ctx, conn); err != nil {
				conn.Close()
				return nil, err
			}
			return conn, nil
		},
		// Asked before a connection is lent that was idle for long.
		Check: ping,
		// Asked at every return. Redigo keeps every error after which an
		// answer may still be on its way; an error that the server answered
		// with is not one of these.
		Broken: func(conn redis.Conn, _ error) bool { return conn.Err() != nil },
	}
}

func ping(ctx context.Context, conn redis.Conn) error {
	_, err := redis.DoContext(conn, ctx, "PING")
	return err
}
