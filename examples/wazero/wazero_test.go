package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

func start(t *testing.T, config wazero.RuntimeConfig, code []byte) *engine {
	t.Helper()
	e, err := newEngine(t.Context(), config, code)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func open(t *testing.T, e *engine) *instance {
	t.Helper()
	i, err := e.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// total returns what the guest has counted so far, also of a closed instance.
func (i *instance) total() uint64 { return i.module.ExportedGlobal("total").Get() }

func wantExit(t *testing.T, err error, code uint32) {
	t.Helper()
	if e, ok := errors.AsType[*sys.ExitError](err); !ok || e.ExitCode() != code {
		t.Errorf("the error is %v, want the exit code %d", err, code)
	}
}

// newPool returns a pool whose every user gets a usable instance.
func newPool(t *testing.T, connector pools.Connector[*instance], settings pools.Settings) *pools.Pool[*instance] {
	t.Helper()
	pool, err := pools.New("guests", connector, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return pool
}

func wantCounts(t *testing.T, pool *pools.Pool[*instance]) {
	t.Helper()
	n, err := pools.UseResult(t.Context(), pool, func(i *instance) (int, error) { return i.words(t.Context(), " one\ttwo  three") })
	if n != 3 || err != nil {
		t.Errorf("%d words, error %v; want 3", n, err)
	}
}

func wantClosedBy(t *testing.T, pool *pools.Pool[*instance], why pools.Reason, n uint64) {
	t.Helper()
	if st := pool.Stats(); st.ClosedBy[why] != n {
		t.Errorf("%d instances were closed by %v, want %d: %+v", st.ClosedBy[why], why, n, st)
	}
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^reset +[1-4]  \d+µs$`).MatchString(out.String()) || !regexp.MustCompile(`(?m)^new each time +200\d  \d+µs$`).MatchString(out.String()) {
		t.Error("not the instances that it should take:\n", out.String())
	}
	for _, want := range []string{
		"counts       no error; Breaks says false; instance kept;",
		"exit(0)      module closed with exit_code(0); Breaks says false; instance closed: broken;",
		"traps        wasm error: unreachable; Breaks says false; instance closed: broken;",
		"grows        no error; Breaks says false; instance closed: reset;",
		"loops        module closed with context deadline exceeded; Breaks says true; instance closed: broken;",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// The binaries are what wat2wasm makes of the sources beside them.
func TestBinaries(t *testing.T) {
	compiler, err := exec.LookPath("wat2wasm")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("wat2wasm (Debian: wabt) is not installed, and CI must not pass without it: ", err)
		}
		t.Skip("wat2wasm (Debian: wabt) is not installed: ", err)
	}
	for _, source := range []string{"guest.wat", "testdata/private.wat", "testdata/command.wat"} {
		made := filepath.Join(t.TempDir(), "made.wasm")
		if text, err := exec.CommandContext(t.Context(), compiler, "--debug-names", source, "-o", made).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		want, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(strings.TrimSuffix(source, ".wat") + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the binary of %s is not up to date: go generate", source)
		}
	}
}

func TestConnector(t *testing.T) {
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*instance] {
		e := start(t, config(), guest)
		connector := e.connector()
		var living atomic.Int64
		died := experimental.CloseNotifyFunc(func(context.Context, uint32) { living.Add(-1) })
		open := connector.Open
		connector.Open = func(ctx context.Context) (*instance, error) {
			living.Add(1)
			i, err := open(experimental.WithCloseNotifier(ctx, died))
			if err != nil {
				living.Add(-1)
			}
			return i, err
		}
		return poolstest.Subject[*instance]{
			Connector: connector,
			Use: func(ctx context.Context, i *instance) error {
				_, err := i.words(ctx, "one")
				return err
			},
			Kill:   func(i *instance) { i.module.Close(context.Background()) },
			IsOpen: func() int { return int(living.Load()) },
			Dirty: func(ctx context.Context, i *instance) error {
				_, err := i.words(ctx, "a secret")
				return err
			},
			Clean: func(_ context.Context, i *instance) error {
				memory, _ := i.module.Memory().Read(0, i.module.Memory().Size())
				if bytes.Contains(memory, []byte("secret")) {
					return errors.New("the last user's text is there")
				}
				return nil
			},
			Block: func(i *instance) error {
				_, err := i.call(context.Background(), "spin")
				return err
			},
			Limit: 15 * time.Second,
		}
	})
}

// A module that is closed still runs: the function that is under way goes on to its
// end, and only then is its result an error. So does one that is called later.
func TestClosedModuleRunsOn(t *testing.T) {
	e := start(t, wazero.NewRuntimeConfig(), guest)
	e.paused = func(m api.Module) {
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	i := open(t, e)
	_, err := i.call(t.Context(), "count", 1_000_000)
	wantExit(t, err, 0)
	if i.total() != 1_000_000 {
		t.Errorf("the closed guest counted to %d, want to its end", i.total())
	}
	_, err = i.call(t.Context(), "count", 1000)
	wantExit(t, err, 0)
	if i.total() != 1_001_000 {
		t.Errorf("called when it was closed, the guest counted to %d, want 1001000", i.total())
	}
	if !i.broken() {
		t.Error("it is not broken")
	}
}

// With WithCloseOnContextDone it stops at the next turn of a loop, by a Close and by
// the end of the ctx alike.
func TestCloseStopsALoop(t *testing.T) {
	for what, stop := range map[string]func(m api.Module, cancel func()){
		"close":  func(m api.Module, _ func()) { m.Close(t.Context()) },
		"cancel": func(_ api.Module, cancel func()) { cancel() },
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			e := start(t, config(), guest)
			e.paused = func(m api.Module) {
				stop(m, cancel)
				for end := time.Now().Add(30 * time.Second); !m.IsClosed() && time.Now().Before(end); {
					time.Sleep(time.Millisecond) // wazero's goroutine has yet to see that ctx has ended
				}
			}
			i := open(t, e)
			_, err := i.call(ctx, "count", math.MaxUint32)
			if _, ok := errors.AsType[*sys.ExitError](err); !ok {
				t.Errorf("the error is %v", err)
			}
			if i.total() > 1 {
				t.Errorf("it counted to %d after it was closed", i.total())
			}
			if !i.module.IsClosed() || !i.broken() {
				t.Error("the instance may be used again")
			}
		})
	}
}

// A ctx that has ended before a call ends the instance too, in wazero; our call
// does not come to that.
func TestCtxThatHasEnded(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	i := open(t, start(t, config(), guest))
	if _, err := i.words(ended, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if i.broken() {
		t.Error("the instance is broken, although nothing was called")
	}
	_, err := i.module.ExportedFunction("alloc").Call(ended, 1)
	wantExit(t, err, sys.ExitCodeContextCanceled)
	if !i.broken() {
		t.Error("wazero has not closed it")
	}
}

// exit(0) closes the instance, and no rule about errors finds out.
func TestExitZero(t *testing.T) {
	quits := func(i *instance) error {
		_, err := i.call(t.Context(), "quit", 0)
		wantExit(t, err, 0)
		if pools.Breaks(err) {
			t.Error("Breaks knows: then the comments of this example are out of date")
		}
		return err
	}
	e := start(t, config(), guest)

	without := e.connector()
	without.Broken, without.Reset = nil, nil
	pool := newPool(t, without, pools.Settings{Size: 1})
	_ = pool.Use(t.Context(), quits)
	err := pool.Use(t.Context(), func(i *instance) error {
		_, err := i.words(t.Context(), "one")
		return err
	})
	wantExit(t, err, 0) // a connector without Broken lends the closed one

	pool = newPool(t, e.connector(), pools.Settings{Size: 1})
	_ = pool.Use(t.Context(), quits)
	wantCounts(t, pool)
	_ = pool.Use(t.Context(), func(i *instance) error {
		_ = quits(i)
		i.failed = false // as if the user had called the module itself
		return nil       // "it ended well"
	})
	wantCounts(t, pool)
	wantClosedBy(t, pool, pools.ReasonBroken, 2)
}

// A trap closes nothing, and leaves things half done.
func TestTrap(t *testing.T) {
	e := start(t, config(), guest)
	i := open(t, e)
	if _, err := i.call(t.Context(), "trap"); err == nil || !strings.Contains(err.Error(), "unreachable") || pools.Breaks(err) {
		t.Errorf("error %v", err)
	}
	if i.module.IsClosed() || i.total() != math.MaxUint32 {
		t.Errorf("closed: %v, total %d", i.module.IsClosed(), i.total())
	}
	if !i.broken() {
		t.Error("the instance may be used again")
	}
}

func TestMemoryNeverShrinks(t *testing.T) {
	e := start(t, config(), guest)
	i := open(t, e)
	grow := func(bytes int) {
		t.Helper()
		if _, err := i.words(t.Context(), strings.Repeat("w", bytes)); err != nil {
			t.Fatal(err)
		}
	}
	wantPages := func(pages uint32) {
		t.Helper()
		if got := i.module.Memory().Size() / page; got != pages {
			t.Errorf("%d pages, want %d", got, pages)
		}
	}
	wantPages(1)
	grow(100_000)
	wantPages(3)
	if err := i.reset(); err != nil {
		t.Error(err)
	}
	wantPages(3)
	memory, _ := i.module.Memory().Read(0, 3*page)
	if n := len(bytes.Trim(memory, "\x00")); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	if top := i.module.ExportedGlobal("top").Get(); top != 16 || i.total() != 0 {
		t.Errorf("top is %d and total %d, want 16 and 0", top, i.total())
	}
	grow(2_000_000)
	if err := i.reset(); err == nil {
		t.Error("an instance with this much memory is kept")
	}
	// There is a limit, and what it refuses is the guest's to handle: this one traps.
	if _, err := i.words(t.Context(), strings.Repeat("w", mostPages*page)); err == nil || !i.broken() {
		t.Errorf("error %v, broken %v", err, i.broken())
	}

	pool := newPool(t, e.connector(), pools.Settings{Size: 1})
	err := pool.Use(t.Context(), func(i *instance) error {
		_, err := i.words(t.Context(), strings.Repeat("w", 2_000_000))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, pool)
	wantClosedBy(t, pool, pools.ReasonReset, 1)
}

// A snapshot knows only what is exported. Then MaxUses helps.
func TestPrivateGlobals(t *testing.T) {
	code, err := os.ReadFile("testdata/private.wasm")
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, config(), code)
	for uses, want := range map[int]uint64{pools.NoLimit: 2, 1: 1} {
		pool := newPool(t, e.connector(), pools.Settings{Size: 1, MaxUses: uses})
		var last uint64
		for range 2 {
			last, err = pools.UseResult(t.Context(), pool, func(i *instance) (uint64, error) { return i.call(t.Context(), "next") })
			if err != nil {
				t.Fatal(err)
			}
		}
		if last != want {
			t.Errorf("with MaxUses %d the second user gets %d, want %d", uses, last, want)
		}
	}
}

// The default name of an instance is the code's, and it can be taken once.
func TestNames(t *testing.T) {
	e := start(t, config(), guest)
	for n, config := range []wazero.ModuleConfig{
		wazero.NewModuleConfig(), wazero.NewModuleConfig(),
		wazero.NewModuleConfig().WithName(""), wazero.NewModuleConfig().WithName(""),
	} {
		if _, err := e.runtime.InstantiateModule(t.Context(), e.code, config); (err != nil) != (n == 1) {
			t.Errorf("instance %d: error %v", n, err)
		}
	}
	open(t, e)
	open(t, e)
}

// wazero starts a program that exits with 0, closes it, and returns it without an error.
func TestProgram(t *testing.T) {
	code, err := os.ReadFile("testdata/command.wasm")
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, config(), code)
	m, err := e.runtime.InstantiateModule(t.Context(), e.code, wazero.NewModuleConfig())
	if err != nil || !m.IsClosed() {
		t.Errorf("error %v, closed %v", err, m != nil && m.IsClosed())
	}
	if _, err := e.open(t.Context()); err == nil || !strings.Contains(err.Error(), "build it as a library") {
		t.Errorf("error %v", err)
	}
}

// RevokeAll stops a guest that loops for a user without a deadline.
func TestRevoke(t *testing.T) {
	e := start(t, config(), guest)
	pool := newPool(t, e.connector(), pools.Settings{Size: 1})
	running := make(chan struct{})
	e.paused = func(api.Module) { close(running) }
	ended := make(chan error, 1)
	go func() {
		ended <- pool.Use(t.Context(), func(i *instance) error {
			if _, err := i.call(t.Context(), "count", 1); err != nil {
				return err
			}
			_, err := i.call(t.Context(), "spin")
			return err
		})
	}()
	<-running
	pool.RevokeAll()
	select {
	case err := <-ended:
		wantExit(t, err, sys.ExitCodeContextCanceled)
	case <-time.After(30 * time.Second):
		t.Fatal("the guest still loops")
	}
	wantCounts(t, pool)
	wantClosedBy(t, pool, pools.ReasonRevoked, 1)
}

func BenchmarkReset(b *testing.B) {
	e, err := newEngine(b.Context(), config(), guest)
	if err != nil {
		b.Fatal(err)
	}
	defer e.close(context.Background())
	b.Run("snapshot", func(b *testing.B) {
		i, err := e.open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := i.reset(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("instance", func(b *testing.B) {
		for b.Loop() {
			i, err := e.open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			i.module.Close(b.Context())
		}
	})
}
