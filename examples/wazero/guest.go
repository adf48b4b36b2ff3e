package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/utopia-go/pools"
)

//go:generate wat2wasm --debug-names guest.wat
//go:embed guest.wasm
var guest []byte

// globals are the guest's mutable globals. A snapshot can restore only those that
// a guest exports, and its author must name them.
var globals = []string{"top", "total"}

const (
	page      = 64 << 10
	mostPages = 256 // 16 MiB an instance; more is refused by memory.grow
	keptPages = 4   // an instance that has grown beyond these is not used again
)

// engine makes instances of the guest. All of them share the code, which is
// compiled once. An instance of its own for each goroutine is what the pool is
// for: neither an instance nor its functions may be called by two at once.
type engine struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
	paused  func(api.Module) // called when the guest calls env.pause
}

func newEngine(ctx context.Context, config wazero.RuntimeConfig, code []byte) (*engine, error) {
	e := &engine{runtime: wazero.NewRuntimeWithConfig(ctx, config), paused: func(api.Module) {}}
	err := e.compile(ctx, code)
	if err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

func (e *engine) compile(ctx context.Context, code []byte) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.runtime); err != nil {
		return err
	}
	pause := func(_ context.Context, m api.Module) { e.paused(m) }
	_, err := e.runtime.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(pause).Export("pause").Instantiate(ctx)
	if err != nil {
		return err
	}
	e.code, err = e.runtime.CompileModule(ctx, code)
	return err
}

func (e *engine) close(ctx context.Context) error { return e.runtime.Close(ctx) }

// config is the runtime's. Without WithCloseOnContextDone nothing stops a guest
// that loops: not the end of its ctx, and not a Close either. It costs a look at
// each turn of a loop and each call of a function, and a goroutine a Call.
func config() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithMemoryLimitPages(mostPages)
}

// instance is one interpreter with its memory.
type instance struct {
	module api.Module
	start  snapshot

	life  context.Context // ends with abort
	abort context.CancelFunc

	failed bool // a call has failed; only the holder touches it
}

// connector is what this example is about. The tests show each of its reasons, with
// wazero 1.12.0.
func (e *engine) connector() pools.Connector[*instance] {
	return pools.Connector[*instance]{
		Open:   e.open,
		Close:  func(ctx context.Context, i *instance) error { return i.module.Close(ctx) },
		Reset:  func(_ context.Context, i *instance) error { return i.reset() },
		Broken: func(i *instance, _ error) bool { return i.broken() },
		// The end of its ctx, and not module.Close: Close would take the files and
		// other resources of the host away from under the guest that still runs. wazero
		// lets the guest's own goroutine do that after the guest has stopped.
		Abort: func(i *instance) { i.abort() },
		// No Check: an instance lives in this process, and nothing but its own user
		// can have ended it.
	}
}

// open runs the guest's start function, if there is one, within ctx. The instance
// itself does not keep ctx.
func (e *engine) open(ctx context.Context) (*instance, error) {
	if err := ctx.Err(); err != nil { // wazero does not ask it
		return nil, err
	}
	// Without a name: a runtime has at most one instance of each name, and the
	// default is the one that the compiler wrote into the code.
	module, err := e.runtime.InstantiateModule(ctx, e.code, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, err
	}
	// The main function of a program (_start) ends by exit(0), which is no error here
	// either. Guests for a pool are built as libraries: -buildmode=c-shared in Go,
	// -mexec-model=reactor in clang, cdylib in Rust.
	if module.IsClosed() {
		return nil, pools.Permanent(errors.New("the guest exited when it was started; build it as a library (a WASI reactor)"))
	}
	i := &instance{module: module, start: take(module)}
	i.life, i.abort = context.WithCancel(context.Background())
	return i, nil
}

// broken needs no look at the user's error. In particular [pools.Breaks] does not
// tell: a guest that calls exit(0) has closed its instance, and the error of the
// call, a *sys.ExitError with code 0, is no network error and no timeout. A user may
// also take it for a success and return nil. And a trap closes nothing, but the
// guest stopped in the middle: what it was changing is half changed, and a guest made
// from C or Rust has not put its stack pointer back.
func (i *instance) broken() bool { return i.failed || i.module.IsClosed() }

// reset gives the instance the memory and globals of its first moment. That takes
// about a microsecond for the 64 KiB of this guest; a new instance takes 50 to 150.
// It suits guests that keep everything there. It undoes nothing in tables, in globals
// that are not exported, or on the host's side, such as open files. For guests that
// use these set MaxUses to 1, and MinIdle to have new instances ready. Do the same
// between users who must not learn of each other, unless you wrote the guest yourself.
func (i *instance) reset() error {
	if pages := i.module.Memory().Size() / page; pages > keptPages {
		return fmt.Errorf("the guest's memory has grown to %d pages, and never shrinks", pages)
	}
	i.start.restore(i.module)
	return nil
}

// call calls a function of the guest. If ctx ends meanwhile the guest is stopped
// and the instance closed: WebAssembly cannot be interrupted and go on later.
func (i *instance) call(ctx context.Context, function string, args ...uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err // wazero would close the instance before the guest has done anything
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.life, cancel)()
	results, err := i.module.ExportedFunction(function).Call(ctx, args...)
	// If ctx ended just before a call that still succeeded, the goroutine by which
	// wazero watches ctx may be about to close the instance.
	i.failed = i.failed || err != nil || ctx.Err() != nil
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return results[0], nil
}

// words has the guest count the words of a text.
func (i *instance) words(ctx context.Context, text string) (int, error) {
	at, err := i.call(ctx, "alloc", uint64(len(text)))
	if err != nil {
		return 0, err
	}
	if !i.module.Memory().WriteString(uint32(at), text) {
		return 0, pools.Discard(fmt.Errorf("the guest gave %d bytes at %d, outside of its memory", len(text), at))
	}
	n, err := i.call(ctx, "words", at, uint64(len(text)))
	return int(n), err
}

// snapshot is the memory of an instance and its globals. Each instance has its own:
// the start of a guest may have drawn random numbers, say for its hashes. It doubles
// the memory of an instance.
type snapshot struct {
	memory  []byte
	globals []uint64
}

func take(m api.Module) snapshot {
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	s := snapshot{memory: slices.Clone(memory)} // Read gives the memory itself
	for _, name := range globals {
		if g := m.ExportedGlobal(name); g != nil {
			s.globals = append(s.globals, g.Get())
		}
	}
	return s
}

func (s snapshot) restore(m api.Module) {
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	clear(memory[copy(memory, s.memory):])
	for n, value := range s.globals {
		m.ExportedGlobal(globals[n]).(api.MutableGlobal).Set(value)
	}
}
