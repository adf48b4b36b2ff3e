package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/redisconn"
)

// backend is how the chat comes to its connections: by a pool. The others are
// there to be compared with, see README.md.
type backend interface {
	// use runs fn with a connection that is its alone.
	use(ctx context.Context, fn func(conn redis.Conn) error) error

	// own returns a connection that its caller keeps and closes.
	own(ctx context.Context) (redis.Conn, error)

	close() error
}

func connections(o options) (backend, error) {
	switch o.by {
	case "pools":
		return newPooled(o)
	case "redigo":
		return &redigos{redis.Pool{
			MaxActive: o.size, MaxIdle: o.size, Wait: true, IdleTimeout: time.Minute,
			DialContext: func(ctx context.Context) (redis.Conn, error) { return redis.DialContext(ctx, "tcp", o.redis) },
		}}, nil
	case "dial":
		return dialled{o.redis}, nil
	}
	return nil, fmt.Errorf("-by %q: it must be pools, redigo or dial", o.by)
}

// pooled is the chat's own.
type pooled struct{ pool *pools.Pool[*redisconn.Conn] }

func newPooled(o options) (backend, error) {
	pool, err := pools.New("redis", redisconn.New(redisconn.Options{Address: o.redis}), pools.Settings{Size: o.size, TrackHolders: o.debug != ""})
	return pooled{pool}, err
}

func (p pooled) use(ctx context.Context, fn func(conn redis.Conn) error) error {
	return p.pool.Use(ctx, func(conn *redisconn.Conn) error { return fn(conn) })
}

// own detaches: who listens keeps its connection for as long as the program
// runs, and must not take one of the pool's places for that.
func (p pooled) own(ctx context.Context) (redis.Conn, error) {
	conn, err := p.pool.Pop(ctx)
	if err != nil {
		return nil, err
	}
	return conn.Detach()
}

func (p pooled) close() error { return p.pool.Close(context.Background()) }

// redigos is redigo's own pool.
type redigos struct{ pool redis.Pool }

func (r *redigos) use(ctx context.Context, fn func(conn redis.Conn) error) error {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return err
	}
	err = fn(conn)
	return errors.Join(err, conn.Close())
}

func (r *redigos) own(ctx context.Context) (redis.Conn, error) { return r.pool.DialContext(ctx) }
func (r *redigos) close() error                                { return r.pool.Close() }

// dialled is one connection for each message.
type dialled struct{ address string }

func (d dialled) use(ctx context.Context, fn func(conn redis.Conn) error) error {
	conn, err := d.own(ctx)
	if err != nil {
		return err
	}
	err = fn(conn)
	return errors.Join(err, conn.Close())
}

func (d dialled) own(ctx context.Context) (redis.Conn, error) {
	return redis.DialContext(ctx, "tcp", d.address)
}
func (d dialled) close() error { return nil }
