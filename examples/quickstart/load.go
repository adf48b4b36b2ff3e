package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
)

// load is goroutines that share a pool: worker is one of them.
type load struct {
	pool    *pools.Pool[redis.Conn]
	keys    int
	workers []worker

	touched      atomic.Int64 // keys whose write was begun
	done, failed atomic.Int64 // operations
	firstErr     atomic.Pointer[error]
}

// worker is what one goroutine keeps for itself.
type worker struct {
	pool  *pools.Pool[redis.Conn]
	waits []time.Duration // of each Pop
}

func newLoad(pool *pools.Pool[redis.Conn], keys, goroutines int) *load {
	l := &load{pool: pool, keys: keys, workers: make([]worker, goroutines)}
	for i := range l.workers {
		l.workers[i].pool = pool
	}
	return l
}

// do sends one command over a connection of the pool. Pool.Use does the same;
// here Pop and Push are apart, to see how long the Pop takes.
func (w *worker) do(ctx context.Context, command string, args ...any) (reply any, err error) {
	began := time.Now()
	conn, err := w.pool.Pop(ctx)
	w.waits = append(w.waits, time.Since(began))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.PushErr(err) }()
	return redis.DoContext(conn.Resource(), ctx, command, args...)
}

func (l *load) write(ctx context.Context, w *worker, i int) error {
	l.touched.Add(1)
	_, err := w.do(ctx, "SET", key(i), value(i))
	return err
}

func (l *load) read(ctx context.Context, w *worker, i int) error {
	got, err := redis.String(w.do(ctx, "GET", key(i)))
	if err == nil && got != value(i) {
		err = fmt.Errorf("%s is %q, not %q", key(i), got, value(i))
	}
	return err
}

func key(i int) string   { return fmt.Sprintf("key-%d", i) }
func value(i int) string { return fmt.Sprintf("value-%d", i) }

// each has the workers do something for every key, and returns when they are
// finished or ctx has ended.
func (l *load) each(ctx context.Context, do func(ctx context.Context, w *worker, i int) error) {
	var next atomic.Int64
	var all sync.WaitGroup
	for n := range l.workers {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= l.keys {
					return
				}
				err := do(ctx, &l.workers[n], i)
				switch {
				case err == nil:
					l.done.Add(1)
				case ctx.Err() == nil: // else it was cut off, which is no failure
					l.failed.Add(1)
					l.firstErr.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
}

// delete removes the keys that were written, a thousand at a time.
func (l *load) delete(ctx context.Context) error {
	var keys []any
	for i := range int(l.touched.Load()) {
		keys = append(keys, key(i))
	}
	for some := range slices.Chunk(keys, 1000) {
		err := l.pool.Use(ctx, func(conn redis.Conn) error {
			_, err := redis.DoContext(conn, ctx, "DEL", some...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// received asks the server how many connections it has received since it was
// started; 0 if it does not say.
func received(ctx context.Context, pool *pools.Pool[redis.Conn]) int {
	info, err := pools.UseResult(ctx, pool, func(conn redis.Conn) (string, error) {
		return redis.String(redis.DoContext(conn, ctx, "INFO", "stats"))
	})
	if err != nil {
		return 0
	}
	for line := range strings.Lines(info) {
		if count, ok := strings.CutPrefix(line, "total_connections_received:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}

func (l *load) progress(w io.Writer, took time.Duration) {
	stats := l.pool.Stats()
	fmt.Fprintf(w, "%5.1f s: %d of %d operations, %d errors, %d connections open, %d goroutines waiting\n",
		took.Seconds(), l.done.Load(), 2*l.keys, l.failed.Load(), stats.Opened-stats.Closed-stats.Detached, stats.Waiting)
}

// sortedWaits returns how long each Pop took, shortest first.
func (l *load) sortedWaits() []time.Duration {
	var all []time.Duration
	for _, w := range l.workers {
		all = append(all, w.waits...)
	}
	slices.Sort(all)
	return all
}

// quantile returns the wait that the share q of all waits did not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Microsecond)
}
