package pools_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// The pool logs every connection that is held for longer than LeakAfter. With
// TrackHolders, the log says where it was popped.
func ExampleSettings_leakAfter() {
	reports, report := pipe()
	pool, err := pools.New("files", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.Open(os.DevNull)
	}), pools.Settings{
		Size:         3,
		LeakAfter:    10 * time.Millisecond, // in production, a minute or more
		TrackHolders: true,
		Logger:       slog.New(slog.NewTextHandler(report, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer pool.Close(ctx)

	_, thisFile, _, _ := runtime.Caller(0)
	err = pool.Use(ctx, func(*os.File) error {
		text := <-reports // holds the file until the leak is reported
		fmt.Println(strings.Contains(text, "held for longer than LeakAfter"), strings.Contains(text, thisFile))
		return nil
	})
	fmt.Println(err, pool.Stats().Leaks)
	// Output:
	// true true
	// <nil> 1
}

// pipe returns a writer and a channel that receives what each Write writes.
func pipe() (<-chan string, writer) {
	texts := make(chan string, 10)
	return texts, func(text string) { texts <- text }
}

type writer func(text string)

func (w writer) Write(text []byte) (int, error) {
	w(string(text))
	return len(text), nil
}
