package rivals

import (
	"context"
	"errors"
	"reflect"

	"github.com/gomodule/redigo/redis"
)

var redigoPool = Rival{
	Name: "redigo", Kind: Library, Module: "github.com/gomodule/redigo",
	What: "its redis.Pool, over a connection that does nothing: GetContext and Close, with Wait",
	Real: reflect.TypeFor[redis.Pool](), Package: "github.com/gomodule/redigo/redis",
	New: func(size int, open func() *Resource) Pool {
		return redigos{&redis.Pool{
			Dial:      func() (redis.Conn, error) { return noRedis{open()}, nil },
			MaxIdle:   size,
			MaxActive: size,
			Wait:      true,
		}}
	},
}

type redigos struct{ p *redis.Pool }

func (o redigos) Pairs(ctx context.Context, n int) error {
	for range n {
		c, err := o.p.GetContext(ctx)
		if err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (o redigos) Do(ctx context.Context, work func()) error {
	c, err := o.p.GetContext(ctx)
	if err != nil {
		return err
	}
	work()
	return c.Close()
}

func (o redigos) Try(ctx context.Context, use func() error) error {
	c, err := o.p.GetContext(ctx)
	if err != nil {
		return err
	}
	err = ctx.Err() // it does not look at the ctx after a Dial
	if err != nil {
		return errors.Join(err, c.Close())
	}
	if err = use(); err != nil {
		_, _ = c.Do(breaks) // only a connection itself can say that it is broken
	}
	return errors.Join(err, c.Close())
}

func (o redigos) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (redis.Conn, error) { return o.p.GetContext(ctx) }, func(c redis.Conn) { _ = c.Close() })
}

func (o redigos) Close() { _ = o.p.Close() }

type noRedis struct{ *Resource }

// breaks is a command that breaks its connection.
const breaks = "BREAK"

var errBroken = errors.New("broken")

func (noRedis) Close() error { return nil }
func (c noRedis) Err() error {
	if c.broken {
		return errBroken
	}
	return nil
}
func (c noRedis) Do(command string, _ ...any) (any, error) {
	if command == breaks {
		c.broken = true
	}
	return nil, nil
}
func (noRedis) Send(string, ...any) error { return nil }
func (noRedis) Flush() error              { return nil }
func (noRedis) Receive() (any, error)     { return nil, nil }
