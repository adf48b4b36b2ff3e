// Command bench measures pools against other ways to share resources, all in
// one run, and writes BENCHMARKS.md and BENCHMARKS.svg.
//
//	go run ./bench            # all, some ten minutes
//	go run ./bench -quick     # a minute's look, writes no file
//	go run ./bench -only 'crowd|yield' -json figures.json
//
// Rivals are measured in turns, in another order each round, so that whatever
// else the machine does meets all of them; rounds in which others used much
// of it are dropped and repeated.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools/bench/rivals"
)

// tooMuch is the part of the machine's processors that others may use while
// a round is measured; a tenth of one processor, on two.
const tooMuch = 0.05

// Run is everything that was measured.
type Run struct {
	Machine Machine
	Command string
	Date    string
	Results []*Result
}

// Result is what one scenario showed.
type Result struct {
	Scenario Scenario `json:"-"`
	Name     string
	Rounds   []map[string]Sample // by rival
	Dropped  int                 // rounds in which others used too much of the machine
	Noisy    int                 // such rounds among Rounds, because repeating them did not help
}

func main() {
	quick := flag.Bool("quick", false, "a minute's look; writes no report")
	filter := flag.String("only", "", "measure only the scenarios whose name matches this regular `expression`; writes no report")
	who := flag.String("rivals", "", "measure only the rivals whose name matches this regular `expression`; writes no report")
	rounds := flag.Int("rounds", 9, "how often each rival is measured in each scenario")
	target := flag.Duration("time", 200*time.Millisecond, "how long one measurement takes, about")
	report := flag.String("o", "BENCHMARKS.md", "where the report goes, and its picture beside it; a `file` that ends in .md")
	figures := flag.String("json", "", "also write all samples to this `file`")
	flag.Parse()
	if *quick {
		*rounds, *target = 3, 30*time.Millisecond
	}
	pattern, err := regexp.Compile(*filter)
	names, err2 := regexp.Compile(*who)
	switch {
	case err != nil:
		fail(fmt.Errorf("-only: %w", err))
	case err2 != nil:
		fail(fmt.Errorf("-rivals: %w", err2))
	case flag.NArg() > 0:
		fail(fmt.Errorf("unknown argument %q; see -h", flag.Arg(0)))
	case *rounds < 1:
		fail(fmt.Errorf("-rounds is %d; give at least 1", *rounds))
	case *target < time.Millisecond:
		fail(fmt.Errorf("-time is %v; give at least 1ms", *target))
	case !strings.HasSuffix(*report, ".md"):
		fail(fmt.Errorf("-o is %q; give a file that ends in .md", *report))
	}
	run := &Run{
		Machine: thisMachine(),
		Command: strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " "),
		Date:    time.Now().Format(time.DateOnly),
	}
	if run.Machine.Modules, err = modules(rivals.All); err != nil {
		fail(err)
	}
	if err := run.measure(pattern, names, *rounds, *target); err != nil {
		fail(err)
	}
	if err := run.inVirtualTime(pattern); err != nil {
		fail(err)
	}
	if len(run.Results) == 0 {
		fail(fmt.Errorf("-only %q matches no scenario", *filter))
	}
	if *figures != "" {
		text, err := json.MarshalIndent(run, "", "  ")
		if err != nil {
			fail(err)
		}
		if err := os.WriteFile(*figures, text, 0o644); err != nil {
			fail(err)
		}
	}
	text := run.markdown(strings.TrimSuffix(*report, ".md") + ".svg")
	if *quick || *filter != "" || *who != "" {
		fmt.Print(text)
		return
	}
	if err := run.draw(strings.TrimSuffix(*report, ".md") + ".svg"); err != nil {
		fail(err)
	}
	if err := os.WriteFile(*report, []byte(text), 0o644); err != nil {
		fail(err)
	}
	fmt.Println("wrote", *report)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measure runs the rounds of all scenarios that match.
func (run *Run) measure(pattern, names *regexp.Regexp, rounds int, target time.Duration) error {
	cpus, err := newClock()
	if err != nil {
		return fmt.Errorf("cannot tell how much of the machine others use: %w", err)
	}
	// Collections are part of what allocating costs; only their number is
	// kept from depending on how little else this program has in memory.
	debug.SetGCPercent(400)
	for _, s := range scenarios(spinner(time.Microsecond)) {
		all := s.Who
		s.Who = func(r rivals.Rival) bool { return names.MatchString(r.Name) && all(r) }
		if pattern.MatchString(s.Name) {
			run.Results = append(run.Results, &Result{Scenario: s, Name: s.Name})
		}
	}
	for round := range rounds {
		for _, r := range run.Results {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, r.Name)
			if err := r.round(cpus, target, rounds); err != nil {
				return err
			}
		}
	}
	return nil
}

// round measures each rival once, and all again if others used too much of
// the machine meanwhile, as long as that happens no more often than limit.
func (r *Result) round(cpus *clock, target time.Duration, limit int) error {
	for {
		before, err := cpus.read()
		if err != nil {
			return err
		}
		samples := make(map[string]Sample)
		for _, i := range rand.Perm(len(rivals.All)) {
			rival := rivals.All[i]
			if !r.Scenario.Who(rival) {
				continue
			}
			if samples[rival.Name], err = r.Scenario.one(rival, target); err != nil {
				return fmt.Errorf("%s, %s: %w", r.Name, rival.Name, err)
			}
		}
		after, err := cpus.read()
		if err != nil {
			return err
		}
		if others(before, after) > tooMuch {
			if r.Dropped < limit {
				r.Dropped++
				continue
			}
			r.Noisy++
		}
		r.Rounds = append(r.Rounds, samples)
		return nil
	}
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

// names returns who took part, in the order of rivals.All.
func (r *Result) names() []string {
	took := make(map[string]bool)
	for _, samples := range r.Rounds {
		for name := range maps.Keys(samples) {
			took[name] = true
		}
	}
	var all []string
	for _, rival := range rivals.All {
		if took[rival.Name] {
			all = append(all, rival.Name)
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
