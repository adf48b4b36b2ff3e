package main

import (
	"context"
	"errors"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools/internal/engine"
)

// Every client asks its server through no more connections than it may have.
func TestRealServers(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	few := regexp.MustCompile(`, 64$`)
	s, err := startServers(ctx, few)
	if errors.Is(err, engine.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	measured := 0
	for _, scenario := range s.scenarios() {
		if !few.MatchString(scenario.Name) {
			continue
		}
		for _, rival := range everybody() {
			if !scenario.Who(rival) {
				continue
			}
			measured++
			sample, err := scenario.Measure(ctx, rival, 20*time.Millisecond)
			switch {
			case err != nil:
				t.Errorf("%s, %s: %v", scenario.Name, rival.Name, err)
			case sample[Rate] < 100 || sample[Worst] < sample[P99] || sample[P99] < sample[P50] || sample[P50] <= 0:
				t.Errorf("%s, %s: %v", scenario.Name, rival.Name, sample)
			// The server counts late: sessions of the client before may be among them.
			case sample[Sessions] < 1 || sample[Sessions] > 2*clientConnections || sample[Served] < 0.99:
				t.Errorf("%s, %s: the server counted %v sessions, and %v for each use", scenario.Name, rival.Name, sample[Sessions], sample[Served])
			}
		}
	}
	if measured != len(clients) {
		t.Errorf("%d clients were measured, of %d", measured, len(clients))
	}
	for _, want := range []string{pgxModule, puddleModule, "github.com/redis/go-redis/v9"} {
		if !strings.Contains(strings.Join(s.modules, "\n"), want+" v") {
			t.Errorf("%s is not among what was measured: %q", want, s.modules)
		}
	}
}

func TestPgxpoolMustBeOnPools(t *testing.T) {
	for name, c := range map[string]struct {
		puddle *debug.Module
		good   bool
	}{
		"on pools":         {&debug.Module{Path: puddleModule, Replace: &debug.Module{Path: "../compat/puddle"}}, true},
		"on puddle":        {&debug.Module{Path: puddleModule, Version: "v2.2.3", Sum: "h1:x"}, false},
		"on another one":   {&debug.Module{Path: puddleModule, Replace: &debug.Module{Path: "../puddle"}}, false},
		"without a puddle": {&debug.Module{Path: pgxModule, Version: "v5.0.0", Sum: "h1:x"}, false},
	} {
		if err := acceptCompat(&debug.BuildInfo{Deps: []*debug.Module{c.puddle}}); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
