// Quickstart lets 100 goroutines share 10 connections to a Redis. It writes
// key-0 = value-0, key-1 = value-1 and so on, reads all of them back, compares
// them, deletes them, and prints what it cost.
//
//	go run ./examples/quickstart                          # a Redis of its own, in this process
//	go run ./examples/quickstart -redis localhost:6379    # yours
//	go run ./examples/quickstart -debug :6060 -for 10m    # something to watch, at http://127.0.0.1:6060/debug/pools/
//	go run ./examples/quickstart -h                       # the other flags
//
// Read it in this order: connector.go says how connections are made, load.go
// pops and pushes them, and this file puts the two together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/examples/internal/debugging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status: 0, 1 when something
// failed, 2 when the arguments are wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
		return 2
	}
	if err := quickstart(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
		return 1
	}
	return 0
}

func quickstart(ctx context.Context, o options, stdout io.Writer) (err error) {
	if o.redis == nil {
		server, err := miniredis.Run()
		if err != nil {
			return fmt.Errorf("the embedded Redis: %w", err)
		}
		defer server.Close()
		if o.redis, err = address(server.Addr()); err != nil {
			return err
		}
	}

	pool, err := pools.New("redis", connector(o.redis.String(), o.timeout), pools.Settings{
		Size:        o.size,
		OpenTimeout: o.timeout,
		// Who holds what is for the page and /debug/pprof; it costs some
		// microseconds a use.
		TrackHolders:   o.debug != "",
		ProfileHolders: o.debug != "",
	})
	if err != nil {
		return err
	}
	// Even when ctx has ended: what was opened is closed.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout)
		defer cancel()
		if closeErr := pool.Close(ctx); err == nil {
			err = closeErr
		}
	}()

	if o.debug != "" {
		group := new(pools.Group)
		if err := group.Add(pool); err != nil {
			return err
		}
		url, stop, err := debugging.Serve(o.debug, group, nil)
		if err != nil {
			return fmt.Errorf("-debug: %w", err)
		}
		defer stop()
		fmt.Fprintf(stdout, "watch it at %s\n", url)
	}

	fmt.Fprintf(stdout, "%d goroutines share %d connections to %s\n", o.goroutines, o.size, o.redis.Redacted())
	// One connection now, tried once: a server that is not there is known
	// here and not in 100 goroutines. The others are opened when needed.
	began := time.Now()
	if err := pool.Fill(ctx, 1); err != nil {
		return fmt.Errorf("no connection to %s: %w", o.redis.Redacted(), err)
	}
	fmt.Fprintf(stdout, "the first one took %v to open\n", time.Since(began).Round(time.Microsecond))
	if o.during > 0 {
		return keepBusy(ctx, pool, o, phaseTime, stdout)
	}
	return work(ctx, pool, o, stdout)
}

// work puts the load on the pool and prints what it cost.
func work(ctx context.Context, pool *pools.Pool[redis.Conn], o options, stdout io.Writer) error {
	before := received(ctx, pool)
	began := time.Now()
	l := newLoad(pool, o.ops/2, o.goroutines)
	stop := every(time.Second, func() { l.progress(stdout, time.Since(began)) })
	l.each(ctx, l.write)
	l.each(ctx, l.read)
	stop()
	took := time.Since(began)
	l.progress(stdout, took)

	// Also after Ctrl-C, so not with ctx alone.
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout)
	defer cancel()
	deleteErr := l.delete(later)
	after := received(later, pool)

	if ctx.Err() != nil {
		fmt.Fprintln(stdout, "interrupted; this is what was done so far:")
	}
	done, failed, waits := l.done.Load(), l.failed.Load(), l.sortedWaits()
	fmt.Fprintf(stdout, "operations             %d\n", done)
	fmt.Fprintf(stdout, "errors                 %d\n", failed)
	fmt.Fprintf(stdout, "connections opened     %d\n", pool.Stats().Opened)
	if before > 0 && after > 0 {
		// The first is ours already. Those of other programs count too.
		fmt.Fprintf(stdout, "as the server counted  %d\n", after-before+1)
	}
	fmt.Fprintf(stdout, "wait p50, p99          %v, %v\n", quantile(waits, 0.50), quantile(waits, 0.99))
	fmt.Fprintf(stdout, "operations per second  %.0f\n", float64(done)/took.Seconds())

	if failed > 0 {
		return fmt.Errorf("%d of %d operations failed, the first with: %w", failed, done+failed, *l.firstErr.Load())
	}
	if deleteErr != nil {
		return fmt.Errorf("the keys could not be deleted: %w", deleteErr)
	}
	return nil
}

// every calls do each d until stop is called, which waits for a do under way.
func every(d time.Duration, do func()) (stop func()) {
	ticker := time.NewTicker(d)
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				do()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-over
	}
}
