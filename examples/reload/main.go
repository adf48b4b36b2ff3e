// Reload reads the settings of its pool from a JSON file, and reads them again
// at each SIGHUP, while goroutines use the pool.
//
//	go run ./examples/reload pool.json
//	kill -HUP <its pid>
//
// The file names what differs from the defaults:
//
//	{"Size": 20, "IdleTimeout": "90s", "MaxLifetime": "1h", "MaxWaiting": "NoLimit"}
//
// A file with faults changes nothing: all of them are printed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/utopia-go/pools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "reload: give the file with the settings, like pool.json")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string, out io.Writer) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything else: by default it ends a program
	defer signal.Stop(hup)

	var settings pools.Settings
	if err := read(path, &settings); err != nil {
		return err
	}
	pool, err := pools.New("workers", pools.OpenFunc(newWorker), settings)
	if err != nil {
		return err
	}
	defer pool.Close(context.WithoutCancel(ctx))
	fmt.Fprintf(out, "process %d, size %d\n", os.Getpid(), pool.Settings().Size)

	var users sync.WaitGroup
	defer users.Wait()
	for range 50 {
		users.Go(func() {
			for ctx.Err() == nil {
				_ = pool.Use(ctx, func(w *worker) error { return w.work(ctx) })
			}
		})
	}
	for {
		select {
		case <-hup:
			if err := reload(pool, path); err != nil {
				fmt.Fprintln(out, "nothing changed:", err)
				continue
			}
			s := pool.Settings()
			fmt.Fprintf(out, "size %d, idle timeout %v\n", s.Size, s.IdleTimeout)
		case <-ctx.Done():
			return nil
		}
	}
}

// reload gives the pool, or any other, the settings that the file has now.
func reload(pool pools.AnyPool, path string) error {
	var next pools.Settings // what the file does not name any more is at its default again
	if err := read(path, &next); err != nil {
		return err
	}
	return pool.Configure(func(s *pools.Settings) {
		next.Logger, next.Observer = s.Logger, s.Observer // the program's, not the file's
		*s = next
	})
}

func read(path string, s *pools.Settings) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := decode(data, s); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// worker stands for something expensive.
type worker struct{}

func newWorker(context.Context) (*worker, error) { return &worker{}, nil }

func (*worker) Close() {}

func (*worker) work(ctx context.Context) error {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}
