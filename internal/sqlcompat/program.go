package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/utopia-go/pools/internal/suites"
)

// program is a test binary, and what its tests have come to.
type program struct {
	binary, source, temp string
	env, args            []string

	runs    int
	results suites.Results
	output  map[string]string // of the run that failed, by the name of the test
}

// A test binary may take so long, and a test that is run alone.
const (
	longest      = 10 * time.Minute
	longestAlone = time.Minute
)

// run runs all tests but those of skip. A crash ends a test binary: the tests that had
// not ended then run alone, and those that had not begun run after that.
func (p *program) run(ctx context.Context, skip []string) error {
	p.results, p.output = suites.Results{}, map[string]string{}
	done := quoted(skip)
	for {
		results, out, crashed, err := p.start(ctx, longest, "-test.skip", "^("+strings.Join(done, "|")+")$")
		if err != nil {
			return err
		}
		p.add(results, out)
		before := len(done)
		for name, result := range results {
			if strings.Contains(name, "/") {
				continue
			}
			done = append(done, regexp.QuoteMeta(name))
			if result != suites.Began {
				continue
			}
			log.Printf("  the tests ended while %s ran; it runs alone", name)
			maps.DeleteFunc(p.results, func(test string, _ suites.Result) bool { return strings.HasPrefix(test, name+"/") })
			results, out, _, err := p.start(ctx, longestAlone, "-test.run", "^"+regexp.QuoteMeta(name)+"$")
			if err != nil {
				return err
			}
			p.add(results, out)
		}
		if !crashed {
			return nil
		}
		if len(done) == before {
			return errors.New("the tests crash, and none runs")
		}
	}
}

func (p *program) add(results suites.Results, out string) {
	for name, result := range results {
		p.results[name] = result
		if result == suites.Failed || result == suites.Began {
			p.output[name] = out
		}
	}
}

// start runs the binary once. That tests fail is no error: the results say it, unless
// there are none.
func (p *program) start(ctx context.Context, timeout time.Duration, args ...string) (_ suites.Results, _ string, crashed bool, _ error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+30*time.Second)
	defer cancel()
	args = append([]string{"-test.v=test2json", "-test.timeout", timeout.String()}, args...)
	cmd := exec.CommandContext(ctx, p.binary, append(args, p.args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = p.source, p.env, 10*time.Second
	out := &output{cmd: cmd}
	cmd.Stdout, cmd.Stderr = out, out
	failed := out.run()
	p.runs++
	if err := os.WriteFile(filepath.Join(p.temp, fmt.Sprintf("output-%d.txt", p.runs)), out.buffer.Bytes(), 0o600); err != nil {
		return nil, "", false, err
	}
	results := suites.Parse(out.buffer.Bytes())
	exit, _ := errors.AsType[*exec.ExitError](failed)
	switch {
	case failed == nil:
		return results, out.buffer.String(), false, nil
	case exit == nil || len(results) == 0, exit.ExitCode() == exitRace:
		return nil, "", false, fmt.Errorf("%w\n%s", failed, out.buffer.String())
	}
	return results, out.buffer.String(), exit.ExitCode() != exitFailed, nil
}

// output is what a command prints. One that prints nothing for too long hangs in a
// test, and has to say where.
type output struct {
	buffer bytes.Buffer // not embedded: its ReadFrom would be used instead of Write
	cmd    *exec.Cmd
	hang   *time.Timer
}

const hangs = 150 * time.Second // the pool's own waits take 30 s; a busy machine may be slow

func (o *output) Write(b []byte) (int, error) { // by one goroutine
	o.hang.Reset(hangs)
	return o.buffer.Write(b)
}

func (o *output) run() error {
	o.hang = time.AfterFunc(hangs, func() { _ = o.cmd.Process.Signal(syscall.SIGQUIT) })
	defer o.hang.Stop()
	return o.cmd.Run()
}

// What a test binary exits with if a test has failed, and if there was a data race
// outside of tests. A crash has others.
const (
	exitFailed = 1
	exitRace   = 66
)

func quoted(names []string) (out []string) {
	for _, name := range names {
		out = append(out, regexp.QuoteMeta(name))
	}
	return out
}
