// Mutants shows that the test suite catches small breakages that matter. It
// copies the root module and sqlpools, breaks one thing at a time there, runs the
// tests of its module, and fails if one breakage survives them all.
//
//	go run ./internal/mutants                     all, about an hour
//	go run ./internal/mutants -only 'hand.go|ctx' those whose file or name match
//	go run ./internal/mutants -first              with the quickest stage alone
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutant is one breakage: in file, old becomes new. Why says what a user
// would see of it.
type mutant struct{ name, file, old, new, why string }

// quickly has the compiler leave out what makes it slow: each mutant is compiled
// anew, with all tests, and that would take longer than to run them.
const quickly = "-gcflags=-N -l"

// stage is a run of tests.
type stage struct {
	name string
	args []string
}

// nested is the module beside the root that has mutants, by tests of its own.
const nested = "sqlpools"

// nestedStages are what one of these has to survive.
var nestedStages = []stage{
	{"tests", []string{"test", "-vet=off", quickly, "-failfast", "-timeout", "3m", "./" + nested}},
	{"race", []string{"test", "-vet=off", "-failfast", "-race", "-count", "5", "-timeout", "5m", "./" + nested}},
}

// stages are what a mutant of the root has to survive, the quickest first.
var stages = []stage{
	{"short tests", []string{"test", "-vet=off", quickly, "-failfast", "-short", "-timeout", "3m", "-skip", "^TestSimulation", "."}},
	{"tests", []string{"test", "-vet=off", quickly, "-failfast", "-timeout", "10m", "-skip", "^TestSimulation", "."}},
	{"simulation", []string{"test", "-vet=off", quickly, "-failfast", "-timeout", "3m", "-run", "^TestSimulation$", ".", "-for", "30s"}},
	{"processors", []string{"test", "-vet=off", "-failfast", "-timeout", "15m", "-cpu", "1,2,8", "-skip", "^TestSimulation", "."}},
	{"race", []string{"test", "-vet=off", "-failfast", "-race", "-timeout", "15m", "."}},
}

func main() {
	only := flag.String("only", "", "a regular expression: mutants whose file or name match")
	list := flag.Bool("list", false, "only list them")
	first := flag.Bool("first", false, "only the first stage; what survives it may be caught by another")
	flag.Parse()
	if *first {
		stages, nestedStages = stages[:1], nestedStages[:1]
	}
	log.SetFlags(0)
	wanted, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}", "github.com/utopia-go/pools")
	if err != nil {
		log.Fatal(err)
	}
	copied, err := os.MkdirTemp("", "pools-mutants-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(copied)
	if err := copyModule(strings.TrimSpace(root), copied); err != nil {
		log.Fatal(err)
	}
	whole := map[bool]bool{} // nested or not: the tests pass unbroken
	survivors, tried := 0, 0
	for _, m := range mutants {
		if !wanted.MatchString(m.file + " " + m.name) {
			continue
		}
		tried++
		if key := m.nested(); !*list && !whole[key] {
			for _, stage := range m.stages() {
				if said, err := run(copied, stage.args); err != nil {
					log.Fatalf("unbroken, and the %s fail; nothing can be shown: %v\n%s", stage.name, err, said)
				}
			}
			whole[key] = true
		}
		restore, err := m.apply(copied)
		if err != nil {
			log.Fatal(err)
		}
		if !*list {
			began := time.Now()
			by := caught(copied, m.stages())
			if by == "" {
				survivors++
				by = "SURVIVES"
			}
			fmt.Printf("%-45s %6.1fs  %s\n", m.name, time.Since(began).Seconds(), by)
		} else {
			fmt.Printf("%-45s %s: %s\n", m.name, m.file, m.why)
		}
		if err := restore(); err != nil {
			log.Fatal(err)
		}
	}
	if *list {
		fmt.Printf("%d mutants\n", tried)
		return
	}
	fmt.Printf("%d mutants, %d survive\n", tried, survivors)
	if survivors > 0 {
		os.Exit(1)
	}
}

func (m mutant) nested() bool { return strings.HasPrefix(m.file, nested+"/") }

func (m mutant) stages() []stage {
	if m.nested() {
		return nestedStages
	}
	return stages
}

// apply breaks the copy.
func (m mutant) apply(dir string) (restore func() error, err error) {
	path := filepath.Join(dir, m.file)
	whole, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(whole, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: %s has %d places like %q, and must have one; bring the list up to date", m.name, m.file, n, m.old)
	}
	broken := bytes.Replace(whole, []byte(m.old), []byte(m.new), 1)
	return func() error { return os.WriteFile(path, whole, 0o600) }, os.WriteFile(path, broken, 0o600)
}

// failed finds the test that failed, or was running when the time was over.
var failed = regexp.MustCompile(`(?m)--- FAIL: (\S+)|^\t*running tests:\n\t*(\S+)|panic: (.*)|WARNING: (DATA RACE)`)

// caught runs the stages until one fails, and says what failed. What does not
// build shows nothing, so it counts as a survivor.
func caught(dir string, stages []stage) (by string) {
	for _, stage := range stages {
		said, err := run(dir, stage.args)
		if err == nil {
			continue
		}
		if strings.Contains(said, "[build failed]") {
			log.Printf("it does not build; bring the list up to date\n%s", said)
			return ""
		}
		found := failed.FindStringSubmatch(said)
		what := "it does not end in time"
		if found != nil {
			what = strings.Join(found[1:], "")
		}
		return stage.name + ": " + what
	}
	return ""
}

func run(dir string, args []string) (said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"), "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	return string(out), err
}

const workspace = `go 1.26.0

use (
	.
	./` + nested + `
)

replace github.com/utopia-go/pools v0.1.0 => ./
`

// copyModule copies the root module's own files and those of the nested one.
func copyModule(from, to string) error {
	if err := os.WriteFile(filepath.Join(to, "go.work"), []byte(workspace), 0o600); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			if name != "." && name != nested && (other == nil || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if strings.HasPrefix(name, "go.work") {
			return nil
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), whole, 0o600)
	})
}
