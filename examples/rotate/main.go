// Rotate changes the password of a pool's connections while 20 goroutines use
// them, and none of them sees an error.
//
// The server knows two users with the same rights, and each rotation passes
// from one to the other, so that old and new passwords are valid for a while:
//
//  1. the server gets the next user, with a new password;
//  2. the program opens new connections with it from now on;
//  3. Refresh replaces all connections, spread over some time;
//  4. Refresh has returned: the server forgets the last user.
//
// Run it with
//
//	go run ./examples/rotate
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "rotate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	server, err := miniredis.Run() // a Redis in this process
	if err != nil {
		return err
	}
	defer server.Close()
	secrets := &secrets{server: embedded{server}}
	if err := secrets.next(ctx); err != nil {
		return err
	}
	pool, err := newPool(server.Addr(), secrets)
	if err != nil {
		return err
	}
	defer pool.Close(context.WithoutCancel(ctx))

	if err := pool.Fill(ctx, pool.Settings().Size); err != nil {
		return err
	}
	load := startLoad(ctx, pool)
	for range 3 {
		began := time.Now()
		if err := rotate(ctx, pool, secrets, time.Second); err != nil {
			return err
		}
		fmt.Printf("all connections are of user %s, after %v\n", secrets.user(), time.Since(began).Round(time.Millisecond))
	}
	load.stop()
	fmt.Printf("requests %d, errors %d, connections opened %d\n", load.done.Load(), load.failed.Load(), pool.Stats().Opened)
	if first := load.first.Load(); first != nil {
		return fmt.Errorf("the first error: %w", *first)
	}
	return nil
}

func newPool(address string, s *secrets) (*pools.Pool[redis.Conn], error) {
	return pools.New("redis", pools.Connector[redis.Conn]{
		Open: func(ctx context.Context) (redis.Conn, error) {
			login := s.login.Load() // the latest: each open asks again
			return redis.DialContext(ctx, "tcp", address, redis.DialUsername(login.user), redis.DialPassword(login.password))
		},
		Broken: func(conn redis.Conn, _ error) bool { return conn.Err() != nil },
	}, pools.Settings{Size: 10})
}

// rotate is what this example is about.
func rotate(ctx context.Context, pool *pools.Pool[redis.Conn], s *secrets, over time.Duration) error {
	last := s.login.Load()
	if err := s.next(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, over+time.Minute)
	defer cancel()
	if err := pool.Refresh(ctx, over); err != nil {
		// Some connections are still the last user's: it stays.
		return err
	}
	return s.server.forget(ctx, last.user)
}

// secrets are where this program has its passwords from.
type secrets struct {
	server server
	turn   int
	login  atomic.Pointer[login]
}

type login struct{ user, password string }

// server is what a rotation needs of an administrator.
type server interface {
	admit(ctx context.Context, user, password string) error
	forget(ctx context.Context, user string) error
}

func (s *secrets) user() string { return s.login.Load().user }

// next lets the other user in and uses it from now on.
func (s *secrets) next(ctx context.Context) error {
	l := &login{user: [2]string{"app-a", "app-b"}[s.turn%2], password: rand.Text()}
	if err := s.server.admit(ctx, l.user, l.password); err != nil {
		return err
	}
	s.turn++
	s.login.Store(l)
	return nil
}

// embedded is the Redis in this process.
type embedded struct{ *miniredis.Miniredis }

func (e embedded) admit(_ context.Context, user, password string) error {
	e.RequireUserAuth(user, password)
	return nil
}

func (e embedded) forget(_ context.Context, user string) error {
	e.RequireUserAuth(user, "")
	return nil
}

// load is 20 goroutines that never rest.
type load struct {
	done, failed atomic.Int64
	first        atomic.Pointer[error]
	stop         func()
}

func startLoad(ctx context.Context, pool *pools.Pool[redis.Conn]) *load {
	l := &load{}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for ctx.Err() == nil {
				// The request under way when the load stops is finished.
				err := pool.Use(context.WithoutCancel(ctx), func(conn redis.Conn) error {
					_, err := conn.Do("INCR", "requests")
					return err
				})
				if err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &err)
				}
				l.done.Add(1)
			}
		})
	}
	l.stop = func() {
		cancel()
		all.Wait()
	}
	return l
}
