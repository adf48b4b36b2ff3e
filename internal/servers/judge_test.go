package servers

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// judge has bars for figures that mean something only on a machine with processors to
// spare: on one that is saturated, the servers and the callers are slow by themselves.
// What must hold on any machine is no matter for it.
type judge struct {
	t         *testing.T
	idle, all float64
}

// leastIdle is the part of the processors' time that nobody used while it was measured.
const leastIdle = 0.1

func newJudge(t *testing.T) judge {
	idle, all := processors()
	return judge{t, idle, all}
}

// missed tells of a figure that misses its bar: it fails the test, unless the machine
// was saturated since newJudge.
func (j judge) missed(format string, args ...any) {
	j.t.Helper()
	idle, all := processors()
	if all > j.all && (idle-j.idle)/(all-j.all) < leastIdle {
		j.t.Logf("not judged, because the machine's processors were busy: "+format, args...)
		return
	}
	j.t.Errorf(format, args...)
}

// processors returns how long they were idle, and how long they have been there, in
// ticks; zeros where no one tells.
func processors() (idle, all float64) {
	text, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(first) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 8 { // the name, and what is in other fields already
			continue
		}
		all += ticks
		if i == 4 || i == 5 { // idle, and idle with input or output under way
			idle += ticks
		}
	}
	return idle, all
}
