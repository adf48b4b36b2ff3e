package main

import (
	"context"
	"errors"
	"strings"
	"time"

	redigos "github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/redisconn"
)

const key = "pools"

// nothing is there under the key: what the answer is does not matter here.
func nothing(_ any, err error) error {
	if errors.Is(err, redigos.ErrNil) || errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// goRedis is go-redis, which has its pool inside.
func goRedis(_ context.Context, url string, size int) (pool, error) {
	options, err := goredis.ParseURL(url)
	if err != nil {
		return pool{}, err
	}
	options.PoolSize, options.PoolTimeout = size, time.Minute
	client := goredis.NewClient(options)
	return pool{
		ask:   func(ctx context.Context) error { return nothing(client.Get(ctx, key).Result()) },
		close: client.Close,
	}, nil
}

// redigo is redigo with its own pool.
func redigo(_ context.Context, url string, size int) (pool, error) {
	p := &redigos.Pool{
		DialContext: func(ctx context.Context) (redigos.Conn, error) { return redigos.DialURLContext(ctx, url) },
		MaxIdle:     size, MaxActive: size, Wait: true,
	}
	return pool{
		ask: func(ctx context.Context) error {
			conn, err := p.GetContext(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return nothing(redigos.String(redigos.DoContext(conn, ctx, "GET", key)))
		},
		close: p.Close,
	}, nil
}

// redisConn is pools with redisconn, whose connections are redigo's.
func redisConn(_ context.Context, url string, size int) (pool, error) {
	p, err := pools.New("redis", redisconn.New(redisconn.Options{Address: strings.TrimPrefix(url, "redis://")}), pools.Settings{Size: size})
	if err != nil {
		return pool{}, err
	}
	return pool{
		ask: func(ctx context.Context) error {
			return p.Use(ctx, func(conn *redisconn.Conn) error {
				return nothing(redigos.String(conn.DoContext(ctx, "GET", key)))
			})
		},
		close: func() error { return p.Close(context.Background()) },
	}, nil
}
