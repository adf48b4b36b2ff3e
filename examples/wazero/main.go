// Wazero is a pool of interpreters: instances of a WebAssembly guest that counts
// words, and that may loop, grow, trap or exit, like any code of somebody else.
//
// It counts the words of some texts, first with instances that are reset after
// each use and then with a new one for each, and shows what becomes of instances
// whose guest misbehaves. What a connector for interpreters must do, and why, is in
// guest.go.
//
//	go run ./examples/wazero
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/utopia-go/pools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "wazero:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	e, err := newEngine(ctx, config(), guest)
	if err != nil {
		return err
	}
	defer e.close(context.WithoutCancel(ctx))

	fmt.Fprintln(out, "what            instances  time a text")
	if err := count(ctx, out, e, "reset", pools.Settings{Size: 4}); err != nil {
		return err
	}
	if err := count(ctx, out, e, "new each time", pools.Settings{Size: 4, MinIdle: 2, MaxUses: 1}); err != nil {
		return err
	}
	return misbehave(ctx, out, e)
}

const texts, goroutines = 2000, 8

// count counts the words of all texts on a pool of its own.
func count(ctx context.Context, out io.Writer, e *engine, what string, settings pools.Settings) error {
	pool, err := pools.New("guests", e.connector(), settings)
	if err != nil {
		return err
	}
	defer pool.Close(context.WithoutCancel(ctx))
	text := strings.Repeat("so many words ", 100)
	var words atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for range goroutines {
		all.Go(func() {
			for range texts / goroutines {
				n, err := pools.UseResult(ctx, pool, func(i *instance) (int, error) { return i.words(ctx, text) })
				if err != nil {
					failed.Store(&err)
					return
				}
				words.Add(int64(n))
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	if words.Load() != 300*texts {
		return fmt.Errorf("%d words, want %d", words.Load(), 300*texts)
	}
	each := time.Since(began) / texts
	fmt.Fprintf(out, "%-14s %10d  %dµs\n", what, pool.Stats().Opened, each.Microseconds())
	return nil
}

// misbehave has one guest after the other do something that its instance does not
// survive, and looks at why the pool closed it.
func misbehave(ctx context.Context, out io.Writer, e *engine) error {
	pool, err := pools.New("guests", e.connector(), pools.Settings{Size: 1})
	if err != nil {
		return err
	}
	defer pool.Close(context.WithoutCancel(ctx))

	fmt.Fprintln(out)
	show := func(what string, use func(ctx context.Context, i *instance) error) error {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		before := pool.Stats().ClosedBy
		err := pool.Use(limited, func(i *instance) error { return use(limited, i) })
		// The next user gets a good one, whatever happened.
		n, next := pools.UseResult(ctx, pool, func(i *instance) (int, error) { return i.words(ctx, "one two three") })
		if next != nil {
			return next
		}
		after := pool.Stats().ClosedBy
		why := "kept"
		for reason, n := range after {
			if n > before[reason] {
				why = "closed: " + string(reason)
			}
		}
		says := "no error"
		if err != nil {
			says, _, _ = strings.Cut(err.Error(), "\n") // without the guest's stack
		}
		fmt.Fprintf(out, "%-12s %s; Breaks says %v; instance %s; the next one counts %d\n", what, says, pools.Breaks(err), why, n)
		return nil
	}
	for _, step := range []struct {
		what string
		use  func(context.Context, *instance) error
	}{
		{"counts", func(ctx context.Context, i *instance) error {
			_, err := i.words(ctx, "one two")
			return err
		}},
		{"exit(0)", func(ctx context.Context, i *instance) error {
			_, err := i.call(ctx, "quit", 0)
			return err
		}},
		{"traps", func(ctx context.Context, i *instance) error {
			_, err := i.call(ctx, "trap")
			return err
		}},
		{"grows", func(ctx context.Context, i *instance) error {
			_, err := i.words(ctx, strings.Repeat("word ", 1<<16))
			return err
		}},
		{"loops", func(ctx context.Context, i *instance) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			_, err := i.call(ctx, "spin")
			return err
		}},
	} {
		if err := show(step.what, step.use); err != nil {
			return fmt.Errorf("after %s: %w", step.what, err)
		}
	}
	return nil
}
