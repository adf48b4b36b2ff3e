package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/examples/internal/redistest"
)

// start runs the program.
func start(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err strings.Builder
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

// figure returns the number behind a label of the summary.
func figure(t *testing.T, stdout, label string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + label + ` +(\d+)$`).FindStringSubmatch(stdout)
	if found == nil {
		t.Fatalf("no %q in:\n%s", label, stdout)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantFigures(t *testing.T, stdout string, ops, connections int) {
	t.Helper()
	if got := figure(t, stdout, "operations"); got != ops {
		t.Errorf("operations: %d, want %d", got, ops)
	}
	if got := figure(t, stdout, "errors"); got != 0 {
		t.Errorf("errors: %d, want none", got)
	}
	for _, label := range []string{"connections opened", "as the server counted"} {
		if got := figure(t, stdout, label); got < 1 || got > connections {
			t.Errorf("%s: %d, want 1 to %d", label, got, connections)
		}
	}
	if got := figure(t, stdout, "operations per second"); got < 1 {
		t.Errorf("operations per second: %d", got)
	}
	for _, pattern := range []string{
		fmt.Sprintf(`(?m)^ *\d+\.\d s: %d of %d operations, 0 errors, \d+ connections open, 0 goroutines waiting$`, ops, ops),
		`(?m)^wait p50, p99 +\d\S*s, \d\S*s$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(stdout) {
			t.Errorf("no line like %s in:\n%s", pattern, stdout)
		}
	}
}

func wantOneLine(t *testing.T, stderr, part string) {
	t.Helper()
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "quickstart: ") || !strings.Contains(stderr, part) {
		t.Errorf("stderr is %q, want one line with %q", stderr, part)
	}
}

func TestEmbedded(t *testing.T) {
	for _, test := range []struct {
		args             []string
		ops, connections int
	}{
		{[]string{"-ops", "4000"}, 4000, 10},
		{[]string{"-ops", "2", "-size", "1", "-goroutines", "1"}, 2, 1},
		{[]string{"-ops", "2001", "-size", "3", "-goroutines", "50"}, 2000, 3},
		{[]string{"-ops", "400", "-size", "50", "-goroutines", "3"}, 400, 10},
		// The last: far from all 50. Exactly, it is one for each that waits, and the first; but this is real time, and for each
		// open that takes longer than 20 ms on a busy machine the pool begins another. Virtual time has the exact tests.
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			status, stdout, stderr := start(t, t.Context(), test.args...)
			if status != 0 || stderr != "" {
				t.Fatalf("status %d, stderr %q", status, stderr)
			}
			wantFigures(t, stdout, test.ops, test.connections)
		})
	}
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := start(t, t.Context(), "-h")
	if status != 0 || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, name := range []string{"-redis address", "-goroutines", "-size", "-ops", "-timeout"} {
		if !strings.Contains(stdout, name) {
			t.Errorf("the help does not name %s:\n%s", name, stdout)
		}
	}
}

func TestWrongArguments(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"-size 0", "-size is 0"},
		{"-size -1", "-size is -1"},
		{"-size ten", "-size"},
		{"-goroutines 0", "-goroutines is 0"},
		{"-goroutines -7", "-goroutines is -7"},
		{"-ops 0", "-ops is 0"},
		{"-ops 1", "-ops is 1"},
		{"-timeout 0s", "-timeout is 0s"},
		{"-timeout -1s", "-timeout is -1s"},
		{"-timeout soon", "-timeout"},
		{"-redis=", "-redis is neither"},
		{"-redis localhost", "-redis is neither"},
		{"-redis localhost:", "-redis is neither"},
		{"-redis localhost:0", "-redis is neither"},
		{"-redis localhost:redis", "-redis is neither"},
		{"-redis localhost:65536", "-redis is neither"},
		{"-redis http://localhost", `"http"`},
		{"-redis redis://", "without a host"},
		{"-redis redis://localhost/zero", "not a database number"},
		{"-redis redis://localhost:port", "not a URL"},
		{"-redis redis://:secret@%zz", "not a URL"},
		{"-unknown", "-unknown"},
		{"redis://localhost", "unexpected argument"},
	} {
		t.Run(test.args, func(t *testing.T) {
			status, stdout, stderr := start(t, t.Context(), strings.Fields(test.args)...)
			if status != 2 || stdout != "" {
				t.Errorf("status %d, stdout %q", status, stdout)
			}
			wantOneLine(t, stderr, test.says)
			if strings.Contains(stderr, "secret") {
				t.Error("stderr tells the password")
			}
		})
	}
}

// The bound on the time is generous; what counts is that it is not one of the
// long defaults of Redigo (30 s to connect, for ever to wait for a reply).
func wantNoServer(t *testing.T, says string, args ...string) {
	t.Helper()
	began := time.Now()
	status, _, stderr := start(t, t.Context(), args...)
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	wantOneLine(t, stderr, says)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestNobodyListens(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	wantNoServer(t, address, "-redis", address)
}

func TestServerSaysNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // the backlog accepts, nobody answers
	wantNoServer(t, "no connection to", "-redis", listener.Addr().String(), "-timeout", "200ms")
}

func TestPassword(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("secret")
	status, stdout, stderr := start(t, t.Context(), "-ops", "200", "-redis", "redis://:secret@"+server.Addr()+"/3")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	if strings.Contains(stdout, "secret") {
		t.Errorf("stdout tells the password:\n%s", stdout)
	}
	wantNoServer(t, "NOAUTH", "-redis", server.Addr())
	wantNoServer(t, "redis://:xxxxx@", "-redis", "redis://:wrong@"+server.Addr())
}

// A server that breaks off in the middle: the program ends, and says so.
func TestServerGoes(t *testing.T) {
	server := miniredis.RunT(t)
	out := &trigger{after: "to open\n", do: server.Close}
	var stderr strings.Builder
	status := run(t.Context(), []string{"-redis", server.Addr(), "-ops", "20000", "-timeout", "1s"}, out, &stderr)
	if status != 1 {
		t.Errorf("status %d, want 1\n%s", status, out.String())
	}
	wantOneLine(t, stderr.String(), "operations failed, the first with: ")
}

// Ctrl-C ends the context.
func TestInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out := &trigger{after: " s: ", do: interrupt} // the first line of progress
	var stderr strings.Builder
	if status := run(ctx, []string{"-ops", "100000000"}, out, &stderr); status != 0 || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
	if !strings.Contains(out.String(), "interrupted; ") {
		t.Errorf("it does not say that it was interrupted:\n%s", out.String())
	}
	if got := figure(t, out.String(), "operations"); got < 1 {
		t.Errorf("operations: %d", got)
	}
	if got := figure(t, out.String(), "errors"); got != 0 {
		t.Errorf("errors: %d; what was cut off is none", got)
	}
}

// trigger is an output that does something once, when a text was written.
type trigger struct {
	strings.Builder
	after string
	do    func()
	done  atomic.Bool
}

func (w *trigger) Write(text []byte) (int, error) {
	n, err := w.Builder.Write(text)
	if strings.Contains(w.String(), w.after) && w.done.CompareAndSwap(false, true) {
		w.do()
	}
	return n, err
}

func TestRealServer(t *testing.T) {
	address, admin := redistest.Start(t)
	before := redistest.Info(t, admin, "stats", "total_connections_received")
	status, stdout, stderr := start(t, t.Context(), "-ops", "20000", "-redis", address)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	wantFigures(t, stdout, 20000, 10)
	opened := redistest.Info(t, admin, "stats", "total_connections_received") - before
	if opened > 10 {
		t.Errorf("the server has received %d connections, want at most 10", opened)
	}
	if said := figure(t, stdout, "as the server counted"); said != opened {
		t.Errorf("the program says that the server counted %d connections; it is %d", said, opened)
	}
	redistest.WantOthers(t, admin, 0)
	if left, err := redis.Int(redis.DoContext(admin, t.Context(), "DBSIZE")); left != 0 || err != nil {
		t.Errorf("%d keys are left, error %v", left, err)
	}
}

// -debug serves the pool's page while -for keeps it busy.
func TestDebug(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-debug", "127.0.0.1:0", "-for", "1m", "-goroutines", "4"}, in, io.Discard)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	url := ""
	for url == "" && lines.Scan() {
		url, _ = strings.CutPrefix(lines.Text(), "watch it at ")
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			url = ""
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	get := func(path string) string {
		t.Helper()
		answer, err := http.Get(strings.TrimSuffix(url, "debug/pools/") + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v: %s", path, answer.StatusCode, err, text)
		}
		return string(text)
	}
	for end := time.Now().Add(30 * time.Second); !strings.Contains(get("debug/pools/text"), "opened 1 "); {
		if time.Now().After(end) {
			t.Fatalf("nothing is opened: %s", get("debug/pools/text"))
		}
	}
	for path, want := range map[string]string{
		"debug/pprof/pools?debug=1": "pools profile: total",
		"debug/pools/json":          `"name": "redis"`,
	} {
		if text := get(path); !strings.Contains(text, want) {
			t.Errorf("%s lacks %q: %s", path, want, text)
		}
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	for _, args := range [][]string{{"-debug", "6060"}, {"-for", "-1s"}} {
		if status, _, stderr := start(t, t.Context(), args...); status == 0 || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: status %d: %s", args, status, stderr)
		}
	}
}

// The phases of -for cut off no command: a healthy server shows no failure.
func TestPhasesEndWithoutFailures(t *testing.T) {
	server := miniredis.RunT(t)
	u, err := address(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	o := options{redis: u, goroutines: 100, size: 10, timeout: time.Minute, during: 2 * time.Second}
	pool, err := pools.New("redis", connector(u.String(), o.timeout), pools.Settings{Size: o.size, OpenTimeout: o.timeout, WaitTimeout: o.timeout})
	if err != nil {
		t.Fatal(err)
	}
	if err := keepBusy(t.Context(), pool, o, 50*time.Millisecond, io.Discard); err != nil {
		t.Error(err)
	}
	st := pool.Stats()
	if st.Leases == 0 || st.Waits == 0 || st.WaitsFailed != 0 || st.Closed != 0 || st.OpenErrors != 0 {
		t.Errorf("leases %d, waits %d, failed %d, closed %v, opens failed %d", st.Leases, st.Waits, st.WaitsFailed, st.ClosedBy, st.OpenErrors)
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
