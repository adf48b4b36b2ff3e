package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/process"

	"github.com/utopia-go/pools/bench/rivals"
)

// Machine is where a run was made.
type Machine struct {
	Processor string
	Cores     int
	System    string
	Go        string
	Clock     float64  // nanoseconds to read it
	Modules   []string // path and version of those that are measured
}

func thisMachine() Machine {
	m := Machine{Processor: "unknown", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if info, err := cpu.Info(); err == nil && len(info) > 0 {
		m.Processor = info[0].ModelName
	}
	began := time.Now()
	for range 10_000 {
		time.Since(began)
	}
	m.Clock = float64(time.Since(began)) / 10_000
	return m
}

// modules checks that each rival is the real one, and returns what was linked:
// the rival's type comes from the package that it should, and every module in
// this program has a version and a checksum and is replaced by nothing, but
// our own.
func modules(all []rivals.Rival) ([]string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this program does not know what it was built from; use go run or go build")
	}
	return checkModules(info, all)
}

func checkModules(info *debug.BuildInfo, all []rivals.Rival) ([]string, error) {
	for _, s := range info.Settings {
		switch s.Key {
		case "-race", "-msan", "-asan", "-cover", "-gcflags", "-ldflags":
			return nil, fmt.Errorf("built with %s=%s; measure a plain build", s.Key, s.Value)
		}
	}
	var ours string
	from := make(map[string]bool) // the modules of the rivals
	for _, r := range all {
		if r.Kind == rivals.Ours {
			ours = r.Module
		}
		from[r.Module] = true
		if r.Real == nil {
			continue
		}
		if pkg := r.Real.PkgPath(); r.Package != pkg {
			return nil, fmt.Errorf("%s: its pool is of package %q and not of %q", r.Name, pkg, r.Package)
		}
	}
	var found []string
	for _, d := range info.Deps {
		switch {
		case d.Path == ours:
			delete(from, d.Path)
			found = append(found, d.Path+" (this checkout)")
			continue
		case ours != "" && strings.HasPrefix(d.Path, ours+"/"):
			continue // of this checkout, too
		case d.Replace != nil:
			return nil, fmt.Errorf("module %s is replaced by %s; measure the real one", d.Path, d.Replace.Path)
		case d.Sum == "":
			return nil, fmt.Errorf("module %s has no checksum, so it comes from a workspace; measure the real one", d.Path)
		}
		if from[d.Path] || d.Path == "golang.org/x/sync" { // whose semaphore is half of puddle
			found = append(found, d.Path+" "+d.Version)
		}
		delete(from, d.Path)
	}
	delete(from, "")
	for path := range from {
		return nil, fmt.Errorf("module %s is not in this program", path)
	}
	return found, nil
}

// clock reads how much processor time all have used and how much of that we
// have, in seconds.
type clock struct {
	self *process.Process
}

type usage struct{ all, busy, own float64 }

func newClock() (*clock, error) {
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return nil, err
	}
	c := &clock{self}
	_, err = c.read()
	return c, err
}

func (c *clock) read() (usage, error) {
	total, err := cpu.Times(false)
	if err != nil {
		return usage{}, err
	}
	own, err := c.self.Times()
	if err != nil {
		return usage{}, err
	}
	t := total[0]
	// Guest time is in user time already.
	busy := t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal
	return usage{busy + t.Idle + t.Iowait, busy, own.User + own.System}, nil
}

// others returns which part of the machine others used between two readings,
// the host's other guests (steal) included as far as it tells.
func others(a, b usage) float64 {
	if b.all <= a.all {
		return 0
	}
	return max(0, (b.busy-a.busy)-(b.own-a.own)) / (b.all - a.all)
}
