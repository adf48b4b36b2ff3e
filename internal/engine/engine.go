// Package engine starts real servers for tests and for the soak: a
// redis-server, a PostgreSQL, a MariaDB or a RabbitMQ of its own, and a
// PgBouncer, HAProxy or stunnel before it, from the installed binaries, on a free
// port of the loopback address, in a folder that goes with it. They can be
// killed, started again, stopped and let go on.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// patience is how long a server may take to start, or to go.
const patience = time.Minute

// Engine is a server. Its methods are not safe for concurrent use with each
// other, but for Connections and Terminate.
type Engine struct {
	Name    string
	Address string // host:port, the same after a restart

	folder  string
	command func() *exec.Cmd
	admin   admin
	cleanUp func() error // after the server has gone; nil: nothing

	running *exec.Cmd
	output  *output
	gone    chan struct{}
}

// admin asks the server itself, by a connection beside all others. It dials
// again by itself.
type admin interface {
	ping(ctx context.Context) error
	connections(ctx context.Context) (int, error)
	terminate(ctx context.Context, n int) error
	close()
}

// Need ends a test whose engine is missing: it fails under CI=true and is
// skipped elsewhere. Any other error fails it.
func Need(t testing.TB, e *Engine, err error) *Engine {
	t.Helper()
	needs(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Path returns where a program is, or ends a test as Need does.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	needs(t, err)
	return path
}

func needs(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Start starts the server, again after a Kill, and waits until it answers.
func (e *Engine) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := e.command()
	cmd.Stdout, cmd.Stderr = e.output, e.output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithUs(cmd.SysProcAttr)
	began, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // what dies with us dies with this thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		began <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-began; err != nil {
		return fmt.Errorf("engine: %s: %w", e.Name, err)
	}
	e.running, e.gone = cmd, gone
	return Eventually(ctx, func() error {
		select {
		case <-gone:
			return fmt.Errorf("engine: %s has ended: %w\n%s", e.Name, errEnded, e.output)
		default:
			return e.admin.ping(ctx)
		}
	})
}

// Kill ends the server as a crash does, and waits until it has gone.
//
// The first process is stopped before, so that it cannot start one meanwhile that is
// overlooked. PostgreSQL does so at each new connection, and such a process may wait
// for good for a lock that a killed one had.
func (e *Engine) Kill() error {
	return errors.Join(e.stopFirst(), e.signal(syscall.SIGKILL, true))
}

func (e *Engine) stopFirst() error {
	if e.running == nil {
		return nil
	}
	first := &process.Process{Pid: int32(e.running.Process.Pid)}
	if err := syscall.Kill(int(first.Pid), syscall.SIGSTOP); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return fmt.Errorf("engine: %s: %w", e.Name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Eventually(ctx, func() error { return stopped(first.Pid, first.Pid) })
}

// Stop lets the server hang: it keeps its connections, and does not answer any
// more. Continue ends that.
func (e *Engine) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Eventually(ctx, func() error { // again, since it may just be starting a process
		return errors.Join(e.signal(syscall.SIGSTOP, false), e.hangs())
	})
}

func (e *Engine) Continue() error { return e.signal(syscall.SIGCONT, false) }

// hangs returns nil once every thread of the server has stopped. A signal
// reaches one that is running a moment later, and until then it answers.
func (e *Engine) hangs() error {
	for _, p := range e.family() {
		ids := []int32{p.Pid}
		if threads, err := p.Threads(); err == nil { // not everywhere
			ids = slices.AppendSeq(ids, maps.Keys(threads))
		}
		for _, id := range ids {
			if err := stopped(p.Pid, id); err != nil {
				return fmt.Errorf("engine: %s: %w", e.Name, err)
			}
		}
	}
	return nil
}

// stopped returns nil if a thread has stopped, or is no more.
func stopped(pid, thread int32) error {
	status, err := (&process.Process{Pid: thread}).Status()
	if err == nil && !slices.Contains(status, process.Stop) && !slices.Contains(status, process.Zombie) {
		return fmt.Errorf("thread %d of process %d is not stopped: %v", thread, pid, status)
	}
	return nil
}

// Connections asks the server how many clients it has, the one that asks
// aside.
func (e *Engine) Connections(ctx context.Context) (int, error) { return e.admin.connections(ctx) }

// Totals are what a server has counted since it started, the questions asked
// here included.
type Totals struct {
	Sessions int // connections that were opened
	Served   int // commands, or transactions
}

// Totals asks the server for them: a Redis or a PostgreSQL. PostgreSQL counts
// what a connection did by the time that it has ended.
func (e *Engine) Totals(ctx context.Context) (Totals, error) {
	a, ok := e.admin.(interface {
		totals(ctx context.Context) (Totals, error)
	})
	if !ok {
		return Totals{}, fmt.Errorf("engine: %s does not count: %w", e.Name, errors.ErrUnsupported)
	}
	return a.totals(ctx)
}

// Terminate has the server end n of its connections, chosen at random.
func (e *Engine) Terminate(ctx context.Context, n int) error { return e.admin.terminate(ctx, n) }

// Close ends the server for good, and removes its folder.
func (e *Engine) Close() error {
	e.admin.close()
	err := e.Kill()
	if e.cleanUp != nil {
		err = errors.Join(err, e.cleanUp())
	}
	return errors.Join(err, os.RemoveAll(e.folder))
}

// family is the server with all its children: PostgreSQL has a process a
// connection, each in a group of its own.
func (e *Engine) family() []*process.Process {
	if e.running == nil {
		return nil
	}
	p := &process.Process{Pid: int32(e.running.Process.Pid)}
	children, _ := p.Children() // none is an error too
	return append([]*process.Process{p}, children...)
}

// signal signals the family.
func (e *Engine) signal(sig syscall.Signal, wait bool) error {
	for _, p := range e.family() {
		if err := syscall.Kill(int(p.Pid), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("engine: %s: %w", e.Name, err)
		}
	}
	if e.running == nil || !wait {
		return nil
	}
	select {
	case <-e.gone:
		e.running = nil
		return nil
	case <-time.After(patience):
		return fmt.Errorf("engine: %s does not go", e.Name)
	}
}

var errEnded = errors.New("it ended")

// Eventually calls try again and again until it returns nil. When ctx ends
// before, it returns try's last error. For what a server does in its own time.
func Eventually(ctx context.Context, try func() error) error {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// freeAddress returns an address on which nobody listens.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// launch starts a server for the first time. Somebody else may take its port
// before it does; then it gets another. set is given a folder of the server's own, and
// its address, whole and in parts.
func launch(ctx context.Context, set func(folder, address, host, port string) (*Engine, error)) (*Engine, error) {
	var last error
	for range 3 {
		folder, err := os.MkdirTemp("", "pools-engine-")
		if err != nil {
			return nil, err
		}
		address, err := freeAddress()
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(folder))
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(folder))
		}
		e, err := set(folder, address, host, port)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(folder))
		}
		e.Address, e.folder = address, folder
		if e.output == nil {
			e.output = new(output)
		}
		if last = e.Start(ctx); last == nil {
			return e, nil
		}
		last = errors.Join(last, e.Close())
		if !errors.Is(last, errEnded) {
			break
		}
	}
	return nil, last
}

// output keeps the last of what a server says.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	const most = 8 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if len(o.text) > 2*most {
		o.text = append(o.text[:0], o.text[len(o.text)-most:]...)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.text))
}
