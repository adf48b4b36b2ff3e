// Command bench measures pools against other ways to share resources, all in
// one run, and writes docs/BENCHMARKS.md and its pictures.
//
//	go run ./bench                # all, some half an hour
//	go run ./bench -quick         # some minutes' look, writes no file
//	go run ./bench -only events   # what one event costs in a large pool
//	go run ./bench -only sql      # database/sql with its own pool and on ours
//	go run ./bench -only 'crowd|yield' -json figures.json
//
// Rivals are measured in turns, in another order each round, so that whatever
// else the machine does meets all of them; rounds in which others used much
// of it are dropped and repeated.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
	"github.com/utopia-go/pools/internal/engine"
)

const (
	// tooMuch is the part of the machine's processors that others may use
	// while a round is measured; a tenth of one processor, on two.
	tooMuch = 0.05
	// quietWait is how long all of the run may wait for others to be done; a
	// run of -quick, a twentieth of that.
	quietWait = 3 * time.Minute
	// gcPercent keeps the number of collections from depending on how little
	// else this program has in memory; they remain part of what allocating costs.
	gcPercent = 400
)

// Run is everything that was measured.
type Run struct {
	Machine Machine
	Command string
	Commit  string
	Date    string
	Rounds  int
	Target  time.Duration
	Results []*Result
	Missing string // why there are no real servers, if there are none

	MissingSQL []string // why there are no rows for a database

	patience time.Duration // left to wait for others
}

// Result is what one scenario showed.
type Result struct {
	Scenario Scenario `json:"-"`
	Name     string
	Rounds   []map[string]Sample // by rival
	Dropped  int                 // rounds in which others used too much of the machine
	Noisy    int                 // such rounds among Rounds, because repeating them did not help

	// Series is how a scenario went over time, by rival: a figure a second.
	Series map[string][]float64 `json:",omitempty"`
}

func main() {
	quick := flag.Bool("quick", false, "some minutes' look; writes no report")
	only := flag.String("only", "", "measure only the scenarios whose name matches this regular `expression`; writes no report")
	who := flag.String("rivals", "", "measure only the rivals whose name matches this regular `expression`; writes no report")
	rounds := flag.Int("rounds", 7, "how often each rival is measured in each scenario (with -quick: 3)")
	target := flag.Duration("time", 200*time.Millisecond, "how long one measurement takes, about (with -quick: 30ms)")
	report := flag.String("o", "docs/BENCHMARKS.md", "where the report goes, and its picture beside it; a `file` that ends in .md")
	overTime := flag.String("overload", "", "draw the overload over time to this `file`; a report has its own")
	figures := flag.String("json", "", "also write all samples to this `file`")
	flag.Parse()
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *quick && !given["rounds"] {
		*rounds = 3
	}
	if *quick && !given["time"] {
		*target = 30 * time.Millisecond
	}
	toFile := !*quick && !given["only"] && !given["rivals"]
	scenarioNames, err := regexp.Compile(*only)
	if err != nil {
		fail(fmt.Errorf("-only: %w", err))
	}
	rivalNames, err := regexp.Compile(*who)
	switch {
	case err != nil:
		fail(fmt.Errorf("-rivals: %w", err))
	case !slices.ContainsFunc(everybody(), func(r rivals.Rival) bool { return rivalNames.MatchString(r.Name) }):
		fail(fmt.Errorf("-rivals %q matches no rival", *who))
	case flag.NArg() > 0:
		fail(fmt.Errorf("unknown argument %q; see -h", flag.Arg(0)))
	case *rounds < 1:
		fail(fmt.Errorf("-rounds is %d; give at least 1", *rounds))
	case *target < time.Millisecond || *target > time.Minute:
		fail(fmt.Errorf("-time is %v; give 1ms to 1m", *target))
	case !strings.HasSuffix(*report, ".md"):
		fail(fmt.Errorf("-o is %q; give a file that ends in .md", *report))
	case given["overload"] && !scenarioNames.MatchString(overloadScenario):
		fail(errors.New("-overload draws a scenario that -only leaves out"))
	case given["overload"] && toFile:
		fail(errors.New("-overload goes with -only or -quick: a report has its own"))
	case given["o"] && !toFile:
		fail(errors.New("-o goes with neither -quick nor -only nor -rivals: a report tells all"))
	}
	run := &Run{Machine: thisMachine(), Command: command(), Commit: commit(), Date: time.Now().Format(time.DateOnly), Rounds: *rounds, Target: *target, patience: quietWait}
	if *quick {
		run.patience /= 20
	}
	if run.Machine.Modules, err = modules(slices.Concat(rivals.All, sqlDrivers)); err != nil {
		fail(err)
	}

	// What can fail comes before what takes long.
	picture := ""
	var outputs []*os.File
	create := func(name string) *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			fail(err)
		}
		outputs = append(outputs, f)
		return f
	}
	text, drawing, drawingOverTime, samples := os.Stdout, (*os.File)(nil), (*os.File)(nil), (*os.File)(nil)
	if toFile {
		picture = strings.TrimSuffix(*report, ".md") + ".svg"
		text, drawing = create(*report), create(picture)
		*overTime = overloadPicture(picture)
	}
	if *overTime != "" {
		drawingOverTime = create(*overTime)
	}
	if *figures != "" {
		samples = create(*figures)
	}
	inTime, err := inVirtualTime(scenarioNames, rivalNames)
	if err != nil {
		fail(err)
	}
	if err := run.measure(scenarioNames, rivalNames); err != nil {
		fail(err)
	}
	run.Results = append(run.Results, inTime...)
	if len(run.Results) == 0 && run.MissingSQL == nil {
		fail(fmt.Errorf("-only %q matches no scenario", *only))
	}
	for _, f := range outputs {
		if err := f.Truncate(0); err != nil {
			fail(err)
		}
	}
	if samples != nil {
		e := json.NewEncoder(samples)
		e.SetIndent("", "  ")
		if err := e.Encode(run); err != nil {
			fail(err)
		}
	}
	if drawing != nil {
		if err := run.draw(drawing); err != nil {
			fail(err)
		}
	}
	if drawingOverTime != nil {
		if err := run.result(overloadScenario).drawOverTime(drawingOverTime); err != nil {
			fail(err)
		}
	}
	if _, err := text.WriteString(run.markdown(picture)); err != nil {
		fail(err)
	}
	for _, f := range outputs {
		if err := f.Close(); err != nil {
			fail(err)
		}
		fmt.Fprintln(os.Stderr, "wrote", f.Name())
	}
}

// command is how to have this run again.
func command() string {
	var text strings.Builder
	text.WriteString("go run ./bench")
	for _, arg := range os.Args[1:] {
		if strings.ContainsAny(arg, " |()^$*\\'\"") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		text.WriteString(" " + arg)
	}
	return text.String()
}

// commit is what was measured, if git knows.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "an unknown commit"
	}
	return "commit " + strings.TrimSpace(string(out))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measure runs the rounds of all scenarios that match.
func (run *Run) measure(scenarioNames, rivalNames *regexp.Regexp) (err error) {
	cpus, err := newClock()
	if err != nil {
		return fmt.Errorf("cannot tell how much of the machine others use: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	real, err := startServers(context.Background(), scenarioNames)
	switch {
	case errors.Is(err, engine.ErrMissing) && os.Getenv("CI") != "true":
		run.Missing = err.Error()
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, real.close()) }()
		run.Machine.Modules = append(run.Machine.Modules, real.newModules(run.Machine.Modules)...)
	}
	bases, err := startDatabases(context.Background(), scenarioNames)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bases.close()) }()
	run.MissingSQL = bases.missing
	for _, s := range slices.Concat(scenarios(spinner(time.Microsecond)), real.scenarios(), bases.scenarios(), eventScenarios()) {
		if scenarioNames.MatchString(s.Name) {
			all := s.Who
			s.Who = func(r rivals.Rival) bool { return rivalNames.MatchString(r.Name) && all(r) }
			run.Results = append(run.Results, &Result{Scenario: s, Name: s.Name})
		}
	}
	for round := range run.Rounds {
		for _, r := range run.Results {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, run.Rounds, r.Name)
			if err := run.round(r, cpus); err != nil {
				return err
			}
		}
	}
	return nil
}

// round measures each rival once, and all again if others used too much of
// the machine meanwhile, unless that has happened too often.
func (run *Run) round(r *Result, cpus *clock) error {
	for {
		if r.Scenario.Apart { // what the servers use looks like others' doing
			if err := run.waitForQuiet(cpus); err != nil {
				return err
			}
		}
		before, err := cpus.read()
		if err != nil {
			return err
		}
		samples := make(map[string]Sample)
		all := everybody()
		for _, i := range rand.Perm(len(all)) {
			rival := all[i]
			if !r.Scenario.Who(rival) {
				continue
			}
			if samples[rival.Name], err = r.Scenario.one(rival, run.Target); err != nil {
				return fmt.Errorf("%s, %s: %w", r.Name, rival.Name, err)
			}
		}
		after, err := cpus.read()
		if err != nil {
			return err
		}
		noisy := !r.Scenario.Apart && others(before, after) > tooMuch
		if noisy && r.Dropped < run.Rounds && run.patience > 0 {
			r.Dropped++
			if err := run.waitForQuiet(cpus); err != nil {
				return err
			}
			continue
		}
		if noisy {
			r.Noisy++
		}
		r.Rounds = append(r.Rounds, samples)
		return nil
	}
}

// waitForQuiet waits for a second in which others leave the machine alone.
func (run *Run) waitForQuiet(cpus *clock) error {
	for run.patience > 0 {
		before, err := cpus.read()
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		run.patience -= time.Second
		after, err := cpus.read()
		if err != nil || others(before, after) <= tooMuch {
			return err
		}
	}
	return nil
}

// one measures one rival.
func (s Scenario) one(rival rivals.Rival, target time.Duration) (Sample, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(s.Procs))
	runtime.GC()
	return s.Measure(context.Background(), rival, target)
}

// figures returns a rival's metric in every round.
func (r *Result) figures(rival string, m Metric) []float64 {
	var all []float64
	for _, samples := range r.Rounds {
		if s, ok := samples[rival]; ok {
			if v, ok := s[m]; ok {
				all = append(all, v)
			}
		}
	}
	return all
}

// times returns how many times worse than ours a rival's metric is, in every
// round.
func (r *Result) times(rival string, m Metric) []float64 {
	us := r.Scenario.us()
	if m.more() {
		return r.ratios(us, rival, m)
	}
	return r.ratios(rival, us, m)
}

// ratios returns rival a's metric by rival b's, in every round.
func (r *Result) ratios(a, b string, m Metric) []float64 {
	var all []float64
	for _, samples := range r.Rounds {
		if x, ok := samples[a][m]; ok {
			if y := samples[b][m]; y != 0 {
				all = append(all, x/y)
			}
		}
	}
	return all
}

// rivals returns who took part, in the order of everybody.
func (r *Result) rivals() []rivals.Rival {
	took := make(map[string]bool)
	for _, samples := range r.Rounds {
		for name := range maps.Keys(samples) {
			took[name] = true
		}
	}
	var all []rivals.Rival
	for _, rival := range everybody() {
		if took[rival.Name] {
			all = append(all, rival)
		}
	}
	return all
}

// median and the quartiles around it.
func quartiles(of []float64) (low, median, high float64) {
	if len(of) == 0 {
		return 0, 0, 0
	}
	s := slices.Sorted(slices.Values(of))
	at := func(q float64) float64 {
		x := q * float64(len(s)-1)
		i := int(x)
		if i+1 == len(s) {
			return s[i]
		}
		return s[i] + (x-float64(i))*(s[i+1]-s[i])
	}
	return at(0.25), at(0.5), at(0.75)
}

func median(of []float64) float64 {
	_, m, _ := quartiles(of)
	return m
}
