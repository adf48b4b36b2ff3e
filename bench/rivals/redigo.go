package rivals

import (
	"context"
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

func (o redigos) Hold(ctx context.Context, n int) (func(), error) {
	return held(n, func() (redis.Conn, error) { return o.p.GetContext(ctx) }, func(c redis.Conn) { _ = c.Close() })
}

func (o redigos) Close() { _ = o.p.Close() }

type noRedis struct{ *Resource }

func (noRedis) Close() error                   { return nil }
func (noRedis) Err() error                     { return nil }
func (noRedis) Do(string, ...any) (any, error) { return nil, nil }
func (noRedis) Send(string, ...any) error      { return nil }
func (noRedis) Flush() error                   { return nil }
func (noRedis) Receive() (any, error)          { return nil, nil }
