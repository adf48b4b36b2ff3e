// Compat runs puddle's public tests and pgxpool's own tests on compat/puddle,
// the latter against a PostgreSQL of its own. It fetches both modules with the
// Go client; nothing of theirs is part of this repository.
//
//	go run ./internal/compat
//
// What cannot pass, and why, is in known; anything else that fails is a fault.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/suites"
)

const (
	puddle = "github.com/jackc/puddle/v2@v2.2.3"
	pgx    = "github.com/jackc/pgx/v5@v5.12.0"
)

// known is what may fail. Those that say "slow" pass when no open takes half as
// long again as the one before.
var known = map[string]string{
	"TestAcquireAllSem":                    "it tests a function that puddle does not export",
	"TestPoolStatResources":                "what comes back goes to who waits for an open, and is not idle beside it",
	"TestPoolInitialConnectionError":       "while opening fails, one prober tries; an Acquire gets its error at once and does not try by itself",
	"TestPoolBackgroundConnectionsContext": "the same: after the failure the prober tries, and not the next health check",
	"TestPoolBeforeClose":                  "slow: another open starts beside one that seems to hang, so that one more connection is made than acquired",
	"TestPoolAfterRelease":                 "slow, the same",
	"TestPoolAcquireChecksIdleConns":       "slow, the same",
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("compat: ", err)
	}
}

func run(ctx context.Context) error {
	root, err := suites.Folder(ctx, "github.com/utopia-go/pools")
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "pools-compat-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	return errors.Join(puddleTests(ctx, root, filepath.Join(temp, "puddle")), pgxpoolTests(ctx, root, filepath.Join(temp, "pgxpool")))
}

// puddleTests puts puddle's tests beside our package of that name.
func puddleTests(ctx context.Context, root, folder string) error {
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "compat", "puddle"))); err != nil {
		return err
	}
	if err := suites.Go(ctx, folder, suites.Alone(), io.Discard, "mod", "edit", "-replace", "github.com/utopia-go/pools="+root); err != nil {
		return err
	}
	theirs, err := suites.Download(ctx, puddle)
	if err != nil {
		return err
	}
	tests, err := os.ReadFile(filepath.Join(theirs, "pool_test.go"))
	if err != nil {
		return err
	}
	// Two names of their package that its tests use and its users cannot.
	private := "package puddle\n\nimport (\n\t\"context\"\n\n\t\"golang.org/x/sync/semaphore\"\n)\n\n" +
		"func (p *Pool[T]) AcquireRaw(ctx context.Context) (*Resource[T], error) { return p.Acquire(ctx) }\n" +
		"func AcquireSemAll(*semaphore.Weighted, int) int { return 0 }\n"
	if err := errors.Join(
		os.WriteFile(filepath.Join(folder, "pool_test.go"), tests, 0o600),
		os.WriteFile(filepath.Join(folder, "private_test.go"), []byte(private), 0o600),
	); err != nil {
		return err
	}
	return test(ctx, "puddle", folder, nil, "-race", ".")
}

// pgxpoolTests runs pgxpool's tests in a module that replaces its puddle.
func pgxpoolTests(ctx context.Context, root, folder string) error {
	e, err := engine.Postgres(ctx, 100)
	if err != nil {
		return err
	}
	defer e.Close()
	mod := "module compat\n\ngo 1.26.0\n\nrequire (\n\t" + strings.ReplaceAll(puddle, "@", " ") + "\n\t" + strings.ReplaceAll(pgx, "@", " ") + "\n)\n\n" +
		"replace github.com/jackc/puddle/v2 => " + filepath.Join(root, "compat", "puddle") + "\n" +
		"replace github.com/utopia-go/pools => " + root + "\n"
	if err := errors.Join(os.Mkdir(folder, 0o700),
		os.WriteFile(filepath.Join(folder, "go.mod"), []byte(mod), 0o600),
		os.WriteFile(filepath.Join(folder, "compat.go"), []byte("package compat\n\nimport _ \"github.com/jackc/pgx/v5/pgxpool\"\n"), 0o600)); err != nil {
		return err
	}
	database := "PGX_TEST_DATABASE=" + engine.PostgresURL("postgres", e.Address)
	return test(ctx, "pgxpool", folder, []string{database}, "github.com/jackc/pgx/v5/pgxpool")
}

// test runs tests and tells what passed and what did not.
func test(ctx context.Context, name, folder string, env []string, args ...string) error {
	env = append(suites.Alone(), env...)
	if err := suites.Go(ctx, folder, env, os.Stderr, "mod", "tidy"); err != nil {
		return err
	}
	var out bytes.Buffer
	failed := suites.Go(ctx, folder, env, &out, append([]string{"test", "-v", "-count", "1"}, args...)...)
	results := suites.Parse(out.Bytes())
	passed := results.Tests(suites.Passed)
	var bad []string
	for name, result := range results {
		if !strings.Contains(name, "/") && (result == suites.Failed || result == suites.Began) {
			bad = append(bad, name)
		}
	}
	slices.Sort(bad)
	fmt.Printf("%s: %d tests pass, %d do not\n", name, passed, len(bad))
	var faults []error
	for _, b := range bad {
		if known[b] == "" {
			faults = append(faults, fmt.Errorf("%s: %s fails", name, b))
		} else {
			fmt.Printf("  %s: %s\n", b, known[b])
		}
	}
	if failed != nil && len(bad) == 0 || passed == 0 {
		faults = append(faults, failed)
	}
	if len(faults) > 0 {
		faults = append(faults, errors.New(out.String()))
	}
	return errors.Join(faults...)
}
