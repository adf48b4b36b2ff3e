package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/utopia-go/pools/bench/crowd"
	"github.com/utopia-go/pools/bench/rivals"
	"github.com/utopia-go/pools/internal/engine"
)

// A client is a rival with real connections. It is a program of its own, since
// pgxpool cannot be on puddle and on pools in one.
type client struct {
	rivals.Rival
	as      string // -rival of bench/client
	onPools bool   // built with compat/puddle
}

const (
	puddleModule = "github.com/jackc/puddle/v2"
	pgxModule    = "github.com/jackc/pgx/v5"
	oursModule   = "github.com/utopia-go/pools"
)

var (
	pgxpoolOnPuddle = client{as: "pgxpool", Rival: rivals.Rival{
		Name: "pgxpool", Kind: rivals.Client, Module: pgxModule, What: "pgx's pool on puddle: Pool.QueryRow",
	}}
	pgxpoolOnPools = client{as: "pgxpool", onPools: true, Rival: rivals.Rival{
		Name: "pgxpool on pools", Kind: rivals.OurClient, Module: pgxModule, What: "the same, built with compat/puddle in puddle's place",
	}}
	poolsPgxconn = client{as: "pools+pgxconn", Rival: rivals.Rival{
		Name: "pools+pgxconn", Kind: rivals.OurClient, Module: pgxModule, What: "Use with pgxconn, which cleans as much as pgxpool does: Rollback",
	}}
	poolsPgxconnClean = client{as: cleaned, Rival: rivals.Rival{
		Name: "pools+pgxconn, clean", Kind: rivals.OurClient, Module: pgxModule, What: "the same with pgxconn's default, Session: one more round trip after each use leaves nothing of the user",
	}}
	goRedis = client{as: "go-redis", Rival: rivals.Rival{
		Name: "go-redis", Kind: rivals.Client, Module: "github.com/redis/go-redis/v9", What: "Client.Get of redis/go-redis",
	}}
	redigosPool = client{as: "redigo", Rival: rivals.Rival{
		Name: "redigo's pool", Kind: rivals.Client, Module: "github.com/gomodule/redigo", What: "its redis.Pool and connections: GetContext, DoContext and Close",
	}}
	poolsRedisconn = client{as: "pools+redisconn", Rival: rivals.Rival{
		Name: "pools+redisconn", Kind: rivals.OurClient, Module: "github.com/gomodule/redigo", What: "Use with redisconn, whose connections are redigo's: DoContext",
	}}

	clients = []client{poolsPgxconn, pgxpoolOnPools, pgxpoolOnPuddle, poolsPgxconnClean, poolsRedisconn, goRedis, redigosPool}
)

// everybody is whoever may be measured, in the order of the report.
func everybody() []rivals.Rival {
	all := slices.Clone(rivals.All)
	for _, c := range clients {
		all = append(all, c.Rival)
	}
	return append(all, sqlRivals...)
}

// realServers are the scenarios with a server: how many connections are shared
// by how many goroutines, and who takes part.
var realServers = []struct {
	name, title, server, us string
	goroutines              int
	clients                 []client
}{
	{"select 1, 64", "SELECT 1 on PostgreSQL, 64 goroutines on 10", "postgres", poolsPgxconn.Name, 64, clients[:4]},
	{"select 1, 1,000", "SELECT 1 on PostgreSQL, 1,000 goroutines on 10", "postgres", poolsPgxconn.Name, 1000, clients[:4]},
	{"get, 64", "GET on Redis, 64 goroutines on 10", "redis", poolsRedisconn.Name, 64, clients[4:]},
	{"get, 1,000", "GET on Redis, 1,000 goroutines on 10", "redis", poolsRedisconn.Name, 1000, clients[4:]},
}

const (
	clientConnections = 10

	// cleaned asks for more than the others do, so no bar is held against it.
	cleaned = "pools+pgxconn, clean"
)

// servers are what the clients ask, and the clients' programs.
type servers struct {
	folder  string
	engines map[string]*engine.Engine
	program map[bool]string // by onPools
	modules []string        // that the programs are made of
}

// startServers starts the servers that the scenarios need, and builds the
// clients. It returns nil when none is needed.
func startServers(ctx context.Context, scenarioNames *regexp.Regexp) (*servers, error) {
	s := &servers{engines: make(map[string]*engine.Engine), program: make(map[bool]string)}
	for _, r := range realServers {
		if !scenarioNames.MatchString(r.name) || s.engines[r.server] != nil {
			continue
		}
		start := engine.Redis
		if r.server == "postgres" {
			start = engine.Postgres
		}
		e, err := start(ctx, 100)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", r.name, err), s.close())
		}
		s.engines[r.server] = e
	}
	if len(s.engines) == 0 {
		return nil, nil
	}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// build builds the client twice, and checks what it is made of: with puddle,
// and with compat/puddle in its place.
func (s *servers) build(ctx context.Context) (err error) {
	if s.folder, err = os.MkdirTemp("", "pools-bench-"); err != nil {
		return err
	}
	// Our modules require released versions of each other: here the folders of the
	// workspace take their place. Outside of it the rivals keep their checksums.
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}={{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	here, edit := "", []string{"mod", "edit"}
	for folder := range strings.Lines(string(out)) {
		folder = strings.TrimSpace(folder)
		edit = append(edit, "-replace", folder)
		if dir, found := strings.CutPrefix(folder, oursModule+"/bench="); found {
			here = dir
		}
	}
	if here == "" {
		return fmt.Errorf("%s/bench is not in the workspace", oursModule)
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = here
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	for onPools, name := range map[bool]string{false: "on-puddle", true: "on-pools"} {
		s.program[onPools] = filepath.Join(s.folder, name)
		modFile := s.program[onPools] + ".mod" // and .sum beside it
		replace := slices.Clone(edit)
		if onPools {
			replace = append(replace, "-replace", puddleModule+"=../compat/puddle")
		}
		err := errors.Join(
			copyFile(filepath.Join(here, "go.mod"), modFile),
			copyFile(filepath.Join(here, "go.sum"), s.program[onPools]+".sum"))
		if err == nil {
			err = run(append(replace, modFile)...)
		}
		if err == nil {
			err = run("build", "-mod=mod", "-modfile", modFile, "-o", s.program[onPools], "./client")
		}
		if err != nil {
			return err
		}
	}
	return s.check()
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// check does for the programs what modules does for this one.
func (s *servers) check() error {
	members := []rivals.Rival{{Kind: rivals.Ours, Module: oursModule}, {Module: puddleModule}}
	for _, c := range clients {
		members = append(members, c.Rival)
	}
	for _, onPools := range []bool{true, false} {
		info, err := buildinfo.ReadFile(s.program[onPools])
		if err != nil {
			return err
		}
		if onPools {
			if err := acceptCompat(info); err != nil {
				return err
			}
		}
		if s.modules, err = checkModules(info, members); err != nil {
			return fmt.Errorf("bench/client: %w", err)
		}
	}
	return nil
}

// acceptCompat checks that a program's puddle is ours, and has that pass for
// the real one.
func acceptCompat(info *buildinfo.BuildInfo) error {
	for _, d := range info.Deps {
		if d.Path == puddleModule && d.Replace != nil && d.Replace.Path == "../compat/puddle" {
			d.Replace, d.Sum = nil, "of this checkout"
			return nil
		}
	}
	return errors.New("bench/client: pgxpool on pools is not on pools")
}

// newModules are those of the clients that are not among the known ones.
func (s *servers) newModules(known []string) []string {
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.modules), func(m string) bool { return slices.Contains(known, m) })
}

// scenarios are the rows of real servers.
func (s *servers) scenarios() []Scenario {
	if s == nil {
		return nil
	}
	var all []Scenario
	for _, r := range realServers {
		e := s.engines[r.server]
		if e == nil {
			continue
		}
		byName := make(map[string]client)
		for _, c := range r.clients {
			byName[c.Name] = c
		}
		all = append(all, Scenario{
			Name: r.name, Title: r.title, Procs: 2, Us: r.us, Apart: true,
			Metrics: []Metric{Rate, P50, P99, Worst, Share, Sessions, Served},
			Who:     func(rival rivals.Rival) bool { return byName[rival.Name].as != "" },
			Measure: func(ctx context.Context, rival rivals.Rival, target time.Duration) (Sample, error) {
				return s.measure(ctx, e, byName[rival.Name], r.goroutines, serverTime(target))
			},
		})
	}
	return all
}

// serverTime is for how long a client is measured.
func serverTime(target time.Duration) time.Duration { return 5 * target }

// measure has a client ask a server for a while, and the server count.
func (s *servers) measure(ctx context.Context, e *engine.Engine, c client, goroutines int, during time.Duration) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, during+time.Minute)
	defer cancel()
	before, err := e.Totals(ctx)
	if err != nil {
		return nil, err
	}
	url := "redis://" + e.Address
	if e.Name == "postgres" {
		url = engine.PostgresURL(engine.PostgresUser, e.Address)
	}
	cmd := exec.CommandContext(ctx, s.program[c.onPools], "-rival", c.as, "-url", url,
		"-size", strconv.Itoa(clientConnections), "-goroutines", strconv.Itoa(goroutines), "-time", during.String(), "-warm", (during / 5).String())
	cmd.Env = append(os.Environ(), "GOGC="+strconv.Itoa(gcPercent), "GOMAXPROCS=2")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, complaint.String())
	}
	var report struct {
		Seen crowd.Seen
		Warm int
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	// The server may still be at the ends of its connections.
	if err := engine.Eventually(ctx, func() error {
		if n, err := e.Connections(ctx); err != nil || n > 0 {
			return fmt.Errorf("%d connections are left: %w", n, err)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	after, err := e.Totals(ctx)
	if err != nil {
		return nil, err
	}
	sample := sampleOf(report.Seen)
	sample[Sessions] = float64(after.Sessions - before.Sessions)
	sample[Served] = float64(after.Served-before.Served) / float64(report.Seen.Uses+report.Warm)
	return sample, nil
}

func (s *servers) close() error {
	if s == nil {
		return nil
	}
	var faults []error
	for _, e := range s.engines {
		faults = append(faults, e.Close())
	}
	if s.folder != "" {
		faults = append(faults, os.RemoveAll(s.folder))
	}
	return errors.Join(faults...)
}
