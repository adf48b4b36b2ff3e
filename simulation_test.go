package pools_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
)

// The simulation: a random program over the whole public API, on two pools
// whose servers fail, stall and panic, under settings that change. All rules
// are checked after each step.
//
// One seed gives one history, whatever the number of processors, with and
// without -race. The program takes one step at a time and lets everything
// come to rest. All that is random is drawn by the program before a step, or
// in an order that virtual time gives: no two things happen at one instant,
// since every time has its own odd nanoseconds and calls that begin at one
// instant are held up for one nanosecond each more than the one before.
var (
	simulationSeed = flag.Uint64("seed", 0, "TestSimulation: the seed of one run; 0: fresh ones")
	simulationOps  = flag.Int("ops", 1000, "TestSimulation: steps of a run")
	simulationRuns = flag.Int("runs", 100, "TestSimulation: runs with fresh seeds")
	simulationFor  = flag.Duration("for", 0, "TestSimulation: run for so long, instead of -runs")

	// A change of the core's inside that keeps its behaviour keeps these.
	simulationSums = flag.String("sums", "", "TestSimulation: write a checksum of the history of each of the seeds 1 to -runs to this file")
)

func TestSimulation(t *testing.T) {
	runs, steps, began := *simulationRuns, 0, time.Now()
	if testing.Short() {
		runs = min(runs, 10)
	}
	if *simulationSums != "" {
		writeSums(t, *simulationSums, runs)
		return
	}
	if *simulationSeed != 0 {
		runs = 1
	}
	more := func(run int) bool {
		if *simulationFor > 0 {
			return time.Since(began) < *simulationFor
		}
		return run < runs
	}
	for run := 0; more(run); run++ {
		seed := *simulationSeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		simulate(t, seed, *simulationOps)
		steps += *simulationOps
		if t.Failed() {
			return
		}
	}
	t.Logf("%d steps, all rules checked after each", steps)
}

// writeSums writes a line for each seed: it and the checksum of its history,
// which holds public values only.
func writeSums(t *testing.T, file string, seeds int) {
	var sums bytes.Buffer
	for seed := 1; seed <= seeds && !t.Failed(); seed++ {
		fmt.Fprintf(&sums, "%d %x\n", seed, sha256.Sum256(simulate(t, uint64(seed), *simulationOps)))
	}
	if err := os.WriteFile(file, sums.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The same seed gives the same history on one processor and on eight.
func TestSimulationRepeats(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	runs := 20
	if testing.Short() {
		runs = 3
	}
	for range runs {
		seed := rand.Uint64()
		runtime.GOMAXPROCS(1)
		want := simulate(t, seed, 500)
		runtime.GOMAXPROCS(8)
		got := simulate(t, seed, 500)
		if t.Failed() {
			return
		}
		if !bytes.Equal(want, got) {
			t.Fatalf("seed %d has two histories: %s", seed, firstDifference(want, got))
		}
	}
}

func firstDifference(a, b []byte) string {
	as, bs := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("\n"+as[0]+"\n%s\n%s\n%s", strings.Join(as[max(i-3, 0):i], "\n"), as[i], bs[i])
		}
	}
	return "one is longer"
}

// simulate runs one seed and returns its history. If that fails it says how
// to see it again, and where the history is.
func simulate(t *testing.T, seed uint64, ops int) []byte {
	t.Helper()
	again := fmt.Sprintf("go test -run '^TestSimulation$' . -seed %d -ops %d", seed, ops)
	stuck := time.AfterFunc(time.Minute, func() { fmt.Fprintln(os.Stderr, "a run takes longer than a minute:", again) })
	defer stuck.Stop()
	s := &simulation{r: rand.New(rand.NewPCG(seed, 0)), ops: ops}
	over := false
	defer func() {
		if over && !t.Failed() {
			return
		}
		file := filepath.Join(os.TempDir(), fmt.Sprintf("pools-simulation-%d.txt", seed))
		if err := os.WriteFile(file, s.history.Bytes(), 0o600); err != nil {
			t.Error(err)
		}
		t.Errorf("again: %s\nits history: %s", again, file)
	}()
	synctest.Test(t, s.run)
	over = true
	return s.history.Bytes()
}

// simulation is one run.
type simulation struct {
	t       *testing.T
	r       *rand.Rand // the program's alone
	ops     int
	history bytes.Buffer
	began   time.Time
	unit    time.Duration
	jobs    int // started so far
	sides   []*side
	group   *pools.Group

	// Between the protocol's steps goroutines are held up for up to longest,
	// if that is not 0; then only the server's rules and the bounds hold
	// after each step.
	longest time.Duration

	salt uint64

	mu     sync.Mutex
	paused time.Duration     // since began: when somebody was last held up
	before map[string]uint64 // and how many at that instant, by the step they take
	said   []string          // what came of this step
}

func (s *simulation) run(t *testing.T) {
	s.t, s.began = t, time.Now()
	s.unit = []time.Duration{time.Millisecond, 20 * time.Microsecond}[s.r.IntN(2)]
	s.salt, s.before = s.r.Uint64(), map[string]uint64{}
	defer pools.SetRandom(func(below time.Duration) time.Duration {
		return time.Duration(s.chance(0).Int64N(int64(below)))
	})()
	defer pools.Sample(s.r.IntN(3) == 0)()
	if s.r.IntN(3) == 0 {
		s.longest = s.ticks(s.r, 4) + s.unit
	}
	fmt.Fprintf(&s.history, "unit %v, held up for up to %v\n", s.unit, s.longest)
	defer pools.SetPauses(s.holdUp)()
	if s.r.IntN(3) == 0 {
		defer pools.SetBatch(1 + s.r.IntN(8))()
	}
	s.group = new(pools.Group)
	for _, name := range []string{"a", "b"} {
		side := &side{simulation: s, name: name}
		side.begin()
		s.sides = append(s.sides, side)
	}
	for step := range s.ops {
		side := s.sides[s.r.IntN(len(s.sides))]
		op := draw(s.r, side.ops())
		what := op.do()
		s.rules(false)
		if s.r.IntN(3) > 0 {
			time.Sleep(s.aWhile())
			s.rules(true)
		}
		s.write(step, side.name, op.name+what)
		if s.t.Failed() {
			break
		}
	}
	for _, side := range s.sides {
		side.finish()
		s.write(s.ops, side.name, "the end")
	}
	synctest.Wait()
}

// chance draws what is drawn while a step runs. It comes of the time, so that it
// does not matter who draws first of those who draw at one instant.
func (s *simulation) chance(what uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.salt+what, uint64(time.Since(s.began))))
}

// Time goes in rounds, and in each of them every call of a connector has one
// instant for itself, after its number, where it begins and ends, and one
// where it may be abandoned. So no two of them do something at once. The last
// four of each eight are for those who are held up elsewhere.
const (
	round    = 8 * 499
	callsOfB = 1 << 32 // where the second pool's numbers begin
)

// sleepUntil sleeps until the next instant of a round that is this one.
func (s *simulation) sleepUntil(instant time.Duration) {
	time.Sleep(round - (time.Since(s.began)-instant)%round)
}

// rounds draws a time of up to n units, in whole rounds.
func (s *simulation) rounds(r *rand.Rand, n int) time.Duration {
	return round * (s.ticks(r, n)/round + 1)
}

// holdUp is called before the protocol's steps and the connector's calls.
func (s *simulation) holdUp(step string, call uint64) {
	if call > 0 {
		instant := call%callsOfB*8 + call/callsOfB*2
		if step == "abandon" {
			instant++
		}
		s.sleepUntil(time.Duration(instant % round))
		return
	}
	if s.longest == 0 {
		return
	}
	s.mu.Lock()
	if now := time.Since(s.began); s.paused != now {
		s.paused = now
		clear(s.before)
	}
	s.before[step]++
	of := fnv.New64a()
	fmt.Fprint(of, step, s.before[step])
	d := time.Duration(s.chance(of.Sum64()).Int64N(int64(s.longest)))
	d += 12 + d%4 - (s.paused+d)%8
	s.mu.Unlock()
	time.Sleep(d)
}

// ticks draws a time of up to n units, with odd nanoseconds.
func (s *simulation) ticks(r *rand.Rand, n int) time.Duration {
	return time.Duration(r.Int64N(int64(n)*int64(s.unit))) + 1
}

// aWhile draws how long nothing is done: mostly short, sometimes so long that
// everything is over.
func (s *simulation) aWhile() time.Duration {
	return s.ticks(s.r, []int{1, 1, 5, 5, 20, 20, 100, 1000}[s.r.IntN(8)])
}

// say notes what came of something. Under mu.
func (s *simulation) say(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

// write ends a step. What its goroutines said has no order.
func (s *simulation) write(step int, side, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.said)
	fmt.Fprintf(&s.history, "%4d %10v %s %s |", step, time.Since(s.began), side, what)
	for i, n := 0, 0; i < len(s.said); i += n {
		for n = 1; i+n < len(s.said) && s.said[i+n] == s.said[i]; n++ {
		}
		fmt.Fprintf(&s.history, " %s", s.said[i])
		if n > 1 {
			fmt.Fprintf(&s.history, " ×%d", n)
		}
		s.history.WriteByte(';')
	}
	s.history.WriteString(" |")
	for _, side := range s.sides {
		st := &side.before
		fmt.Fprintf(&s.history, " %s: size %d opening %d idle %d stale %d held %d busy %d hung %d waiting %d opened %d", side.name,
			st.Size, st.Opening, st.Idle, st.Stale, st.Held+st.Revoked, st.Checking+st.Resetting+st.Closing, st.Hung+st.Abandoned, st.Waiting, st.Opened)
	}
	s.history.WriteByte('\n')
	s.said = s.said[:0]
}

// operation is something the program can do. do starts it and returns what
// was drawn for it.
type operation struct {
	weight int
	name   string
	do     func() string
}

func draw(r *rand.Rand, all []operation) operation {
	sum := 0
	for _, op := range all {
		sum += op.weight
	}
	n := r.IntN(sum)
	for _, op := range all {
		if n -= op.weight; n < 0 {
			return op
		}
	}
	panic("unreachable")
}
