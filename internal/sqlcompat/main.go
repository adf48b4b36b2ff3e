// Sqlcompat runs the tests of database/sql, of drivers, and of what is built on
// database/sql, once as they are and once with a pool of sqlpools under each *sql.DB
// that they make. It fetches the modules with the Go client and starts the servers;
// nothing of theirs is part of this repository.
//
//	go run ./internal/sqlcompat [-only NAME] [-v]
//
// What cannot pass with a pool, and why, is in the table of its suite (suites.go). A
// test that passes only without a pool and is not in the table is a fault, and so is
// one in the table that passes with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools/internal/suites"
)

func main() {
	log.SetFlags(log.Ltime)
	only := flag.String("only", "", "run the suite of this `NAME`, or those that begin with it and a dash")
	verbose := flag.Bool("v", false, "write what the tests print to files in the temporary folder, and keep it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if err := run(ctx, *only, *verbose); err != nil {
		log.Fatal("sqlcompat: ", err)
	}
}

func run(ctx context.Context, only string, keep bool) error {
	temp, err := os.MkdirTemp("", "pools-sqlcompat-")
	if err != nil {
		return err
	}
	if keep {
		log.Print("the output is in ", temp)
	} else {
		defer os.RemoveAll(temp)
	}
	b, err := newBuilder(ctx, filepath.Join(temp, "build"))
	if err != nil {
		return err
	}
	var faults []error
	ran := false
	for _, s := range all {
		if only != "" && s.name != only && !strings.HasPrefix(s.name, only+"-") {
			continue
		}
		ran = true
		if err := s.run(ctx, b, filepath.Join(temp, s.name)); err != nil {
			log.Printf("%s: %v", s.name, err)
			faults = append(faults, errors.New(s.name+" failed"))
		}
	}
	if !ran {
		faults = append(faults, fmt.Errorf("there is no suite %q", only))
	}
	return errors.Join(faults...)
}

// run builds the suite's tests, runs them without and with a pool, and compares.
func (s suite) run(ctx context.Context, b *builder, folder string) error {
	log.Printf("%s: building", s.name)
	binary, source, err := b.build(ctx, s, folder)
	if err != nil {
		return err
	}
	var results [2]suites.Results
	var output [2]map[string]string
	dbs := 0
	for i, with := range []bool{false, true} {
		log.Printf("%s: running, with a pool: %t", s.name, with)
		began := time.Now()
		p := &program{binary: binary, source: source, temp: filepath.Join(folder, fmt.Sprint("with-", with)), args: s.args}
		n, err := s.serve(ctx, p, with)
		if err != nil {
			return err
		}
		if with {
			dbs = n
		} else if n != 0 {
			return fmt.Errorf("%d pools were made although there should have been none", n)
		}
		results[i], output[i] = p.results, p.output
		log.Printf("%s: %d passed, %d failed, %d were skipped, %.0f s", s.name,
			p.results.Tests(suites.Passed), p.results.Tests(suites.Failed)+p.results.Tests(suites.Began), p.results.Tests(suites.Skipped), time.Since(began).Seconds())
	}
	v := compare(results[0], results[1], s.cannot)
	v.print(os.Stdout, s, dbs)
	if dbs == 0 {
		return errors.New("no pool was made")
	}
	return v.fault(output[1])
}

// serve starts the suite's server and runs the program; it returns how many pools
// were made.
func (s suite) serve(ctx context.Context, p *program, with bool) (pools int, err error) {
	if err := os.MkdirAll(p.temp, 0o700); err != nil {
		return 0, err
	}
	env := os.Environ()
	if s.server != nil {
		e, err := s.server(ctx, connections+10)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		if s.env != nil {
			more, err := s.env(ctx, e)
			if err != nil {
				return 0, err
			}
			env = append(env, more...)
		}
	} else if s.env != nil {
		more, err := s.env(ctx, nil)
		if err != nil {
			return 0, err
		}
		env = append(env, more...)
	}
	made := filepath.Join(p.temp, "made")
	env = append(env, "TMPDIR="+p.temp, "SQLCOMPAT_COUNT="+made)
	if with {
		env = append(env, fmt.Sprint("SQLCOMPAT_SIZE=", connections))
	}
	p.env = env
	skip := s.skip
	for name, reason := range s.cannot {
		if with && strings.HasPrefix(reason, hanging) {
			skip = append(slices.Clip(skip), name)
		}
	}
	if err := p.run(ctx, skip); err != nil {
		return 0, err
	}
	bytes, err := os.ReadFile(made)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return len(bytes), err
}
