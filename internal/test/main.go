// Test runs the tests of all modules. It first says which servers and programs
// are missing on this machine, whose tests are then skipped; go test itself does
// not show why a test that passes was skipped. While it runs it prints each
// package's result at once, and every quarter of a minute what is running.
//
//	go run ./internal/test               all tests but the long ones
//	go run ./internal/test -long         the long ones, too: simulation, chaos, measurements
//	go run ./internal/test -long -race   other flags are go test's, with "=" before their values
//	go run ./internal/test -packages     print the Debian packages that are missing
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/utopia-go/pools/internal/engine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit status.
func run(ctx context.Context, args []string) int {
	missing := engine.Missing()
	if slices.Contains(args, "-packages") {
		for _, m := range missing {
			fmt.Println(m.Package)
		}
		return 0
	}
	for _, m := range missing {
		fmt.Printf("test: no %s (Debian's package %s): tests of %s are skipped\n", m.Name, m.Package, m.Tests)
	}
	if len(missing) == 0 {
		fmt.Println("test: all servers and programs are here; no test is skipped for the lack of one")
	}
	long := slices.Contains(args, "-long")
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-long" })
	command := append([]string{"test", "-json", "-count=1", "-timeout=30m"}, args...) // what tests read of other modules is not seen by go test's cache
	if !long {
		command = append(command, "-short")
	}
	if err := test(ctx, append(command, "work"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		return 1
	}
	return 0
}

// test runs a go test with -json, and shows what a plain one prints.
func test(ctx context.Context, args []string, stdout io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends its tests, too
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	events, read := make(chan event), make(chan error, 1)
	go func() {
		defer close(events)
		read <- decode(out, events)
	}()
	show(stdout, events, 15*time.Second)
	return errors.Join(<-read, cmd.Wait())
}

// event is one of go test's, see go doc test2json. What is no event, as an error
// of the go command, is one that has only an output.
type event struct {
	Action, Package, Test, Output string
}

func decode(r io.Reader, events chan<- event) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				e = event{Output: line}
			}
			events <- e
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// show prints what go test prints without -v: the results of packages, and what
// the tests that failed have said. When nothing was printed for so long, it
// prints what is running.
func show(w io.Writer, events <-chan event, quiet time.Duration) {
	type test struct{ pkg, name string }
	began := time.Now()
	said := map[test]string{} // of the tests that run
	running, done := map[string]bool{}, 0
	ticker := time.NewTicker(quiet)
	defer ticker.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			at := test{e.Package, e.Test}
			switch {
			case e.Test != "" && e.Action == "output":
				if !frame(e.Output) {
					said[at] += e.Output
				}
			case e.Test != "" && (e.Action == "pass" || e.Action == "skip"):
				delete(said, at)
			case e.Test != "" && e.Action == "fail":
				fmt.Fprint(w, said[at])
				delete(said, at)
			case e.Output != "" && e.Output != "PASS\n":
				fmt.Fprint(w, e.Output)
				ticker.Reset(quiet)
			case e.Action == "start":
				running[e.Package] = true
			case e.Action == "fail" || e.Action == "pass" || e.Action == "skip":
				for t, output := range said { // they were running when it crashed or its time was over
					if t.pkg == e.Package {
						fmt.Fprint(w, output)
						delete(said, t)
					}
				}
				delete(running, e.Package)
				done++
			}
		case <-ticker.C:
			var now []string
			for pkg := range running {
				now = append(now, strings.TrimPrefix(pkg, "github.com/utopia-go/"))
			}
			slices.Sort(now)
			if now == nil {
				now = []string{"downloading and building"}
			}
			fmt.Fprintf(w, "test: %.0f s, %d packages are done; now: %s\n", time.Since(began).Seconds(), done, strings.Join(now, ", "))
		}
	}
}

// frame reports whether a line only says that a test begins, waits or goes on.
func frame(line string) bool {
	return strings.HasPrefix(line, "=== ")
}
