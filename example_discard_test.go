package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/utopia-go/pools"
)

// Discard closes the connection, here a log file that has grown too large,
// without failing the use.
func ExampleDiscard() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "pools")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	pool, err := pools.New("logs", pools.OpenFunc(func(context.Context) (*os.File, error) {
		return os.CreateTemp(folder, "log")
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	const most = 10
	write := func(line string) error {
		return pool.Use(ctx, func(file *os.File) error {
			if _, err := fmt.Fprintln(file, line); err != nil {
				return err
			}
			info, err := file.Stat()
			if err != nil {
				return err
			}
			if info.Size() > most {
				return pools.Discard(nil) // Use returns nil, and the file is closed
			}
			return nil
		})
	}
	for _, line := range []string{"short", "much longer", "short again"} {
		if err := write(line); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("files:", pool.Stats().Opened)

	// With an error in it, Use returns that error as it was.
	full := errors.New("the disk is full")
	err = pool.Use(ctx, func(*os.File) error { return pools.Discard(full) })
	fmt.Println(err == full)
	// Output:
	// files: 2
	// true
}
