package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/examples/internal/redistest"
)

// The worst that a pool can do is to lend a connection on which the answer to
// somebody else's question is still on its way. Here the server kills all
// connections again and again, and some questions are given up before their
// answer: no answer may ever be another's.
func TestKilledConnections(t *testing.T) {
	const (
		size, goroutines = 10, 100
		rounds           = 200
		kills            = 8
		killEvery        = goroutines * rounds / (kills + 1)
	)
	address, admin := redistest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pool, err := pools.New("redis", connector("redis://"+address, 10*time.Second), pools.Settings{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	for i := range goroutines {
		if _, err := redis.DoContext(admin, ctx, "SET", key(i), value(i)); err != nil {
			t.Fatal(err)
		}
	}

	var asked, killed, failed, givenUp atomic.Int64
	var adminAlone sync.Mutex
	kill := func() {
		adminAlone.Lock()
		defer adminAlone.Unlock()
		n, err := redis.Int64(redis.DoContext(admin, ctx, "CLIENT", "KILL", "TYPE", "normal"))
		if err != nil {
			t.Error("CLIENT KILL: ", err)
		}
		killed.Add(n)
	}
	// ask reads or writes key i. Some questions are given up when the
	// connection is lent already and the answer may be on its way.
	ask := func(i, round int) (err error) {
		conn, err := pool.Pop(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.PushErr(err) }()
		ctx := ctx
		if (i+round)%7 == 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(round)*time.Microsecond)
			defer cancel()
		}
		if round%2 == 0 {
			_, err := redis.DoContext(conn.Resource(), ctx, "SET", key(i), value(i))
			return err
		}
		got, err := redis.String(redis.DoContext(conn.Resource(), ctx, "GET", key(i)))
		if err == nil && got != value(i) {
			t.Errorf("%s is %q, not %q", key(i), got, value(i))
		}
		return err
	}

	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for round := range rounds {
				if asked.Add(1)%killEvery == 0 {
					kill()
				}
				switch err := ask(i, round); {
				case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
					givenUp.Add(1)
				case err != nil:
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		t.Fatal("the goroutines did not finish in time: ", pool.Stats())
	}
	if killed.Load() == 0 || givenUp.Load() == 0 {
		t.Error("nothing was killed or given up: this test tested nothing")
	}
	t.Logf("%d questions, %d given up, %d failed, %d connections killed, %d opened",
		asked.Load(), givenUp.Load(), failed.Load(), killed.Load(), pool.Stats().Opened)

	// All is well again: every connection at once, each with the right answer.
	held := make([]pools.Conn[redis.Conn], 0, size)
	for i := range size {
		conn, err := pool.Pop(ctx)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		got, err := redis.String(redis.DoContext(conn.Resource(), ctx, "GET", key(i)))
		if err != nil || got != value(i) {
			t.Errorf("%s is %q, error %v", key(i), got, err)
		}
	}
	redistest.WantOthers(t, admin, size)
	for _, conn := range held {
		if err := conn.Push(); err != nil {
			t.Error(err)
		}
	}
	if err := pool.Close(ctx); err != nil {
		t.Error(err)
	}
	redistest.WantOthers(t, admin, 0)
}
