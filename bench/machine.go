package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

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
	Modules   []string // path and version of those that are measured
}

func thisMachine() Machine {
	m := Machine{Processor: "unknown", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if info, err := cpu.Info(); err == nil && len(info) > 0 {
		m.Processor = info[0].ModelName
	}
	return m
}

// modules checks that each rival is the real one: its type comes from the
// package that it should, and its module was linked in a version, with a
// checksum, not replaced by something that is here. It returns the modules.
func modules(all []rivals.Rival) ([]string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, fmt.Errorf("this program does not know what it was built from; use go run or go build")
	}
	return checkModules(info, all)
}

func checkModules(info *debug.BuildInfo, all []rivals.Rival) ([]string, error) {
	deps := make(map[string]*debug.Module)
	for _, d := range info.Deps {
		deps[d.Path] = d
	}
	var found []string
	seen := make(map[string]bool)
	for _, r := range all {
		if r.Module == "" || r.Kind == rivals.Variant || seen[r.Module] {
			continue
		}
		seen[r.Module] = true
		if pkg := r.Real.PkgPath(); pkg != r.Module && !strings.HasPrefix(pkg, r.Module+"/") {
			return nil, fmt.Errorf("%s: its pool is of package %q and not of module %s", r.Name, pkg, r.Module)
		}
		d := deps[r.Module]
		switch {
		case d == nil:
			return nil, fmt.Errorf("%s: module %s is not in this program", r.Name, r.Module)
		case r.Kind == rivals.Ours:
			found = append(found, d.Path+" (this checkout)")
		case d.Replace != nil:
			return nil, fmt.Errorf("%s: module %s is replaced by %s; measure the real one", r.Name, r.Module, d.Replace.Path)
		case d.Sum == "":
			return nil, fmt.Errorf("%s: module %s has no checksum, so it comes from a workspace; measure the real one", r.Name, r.Module)
		default:
			found = append(found, d.Path+" "+d.Version)
		}
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
