// Package linear checks that what a pool does at once looks like one thing
// after the other: goroutines that run in parallel use a real pool, and the
// history of their calls and returns is held against a small model.
package linear

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/utopia-go/pools"
)

var histories = flag.Int("histories", 5000, "TestLinear: how many")

const (
	goroutines = 5
	steps      = 8 // of each
)

func TestLinear(t *testing.T) {
	operations := 0
	for range *histories {
		seed := rand.Uint64()
		h := record(t, seed)
		operations += len(h.operations)
		result, info := porcupine.CheckOperationsVerbose(model(h.size), h.operations, time.Minute)
		if result == porcupine.Ok {
			continue
		}
		picture := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model(h.size), info, picture); err != nil {
			t.Error(err)
		}
		t.Fatalf("%s, of size %d, seed %d; drawn in %s (kept with -artifacts):\n%s", result, h.size, seed, picture, h)
	}
	t.Logf("%d histories of %d operations in all have an order", *histories, operations)
}

// history is what was called and what returned, on a clock that counts both.
type history struct {
	size  int
	pool  *pools.Pool[int]
	clock atomic.Int64
	open  atomic.Int64

	mu         sync.Mutex
	operations []porcupine.Operation
	leases     []lease // all that there were
}

type lease struct {
	number int
	conn   pools.Conn[int]
	of     int // the connection
}

// record lets goroutines use a pool in any way and returns their history.
func record(t *testing.T, seed uint64) *history {
	r := rand.New(rand.NewPCG(seed, 0))
	h := &history{size: 1 + r.IntN(3)}
	var opened atomic.Int64
	most := int64(max(h.size, biggest))
	pool, err := pools.New("linear", pools.Connector[int]{
		Open: func(context.Context) (int, error) {
			runtime.Gosched()
			if n := h.open.Add(1); n > most {
				t.Errorf("%d are open", n)
			}
			return int(opened.Add(1)), nil
		},
		Close: func(context.Context, int) error {
			runtime.Gosched()
			h.open.Add(-1)
			return nil
		},
	}, pools.Settings{Size: h.size, WaitTimeout: pools.Never})
	if err != nil {
		t.Fatal(err)
	}
	h.pool = pool
	var all sync.WaitGroup
	var ready atomic.Int64
	closes := r.IntN(3) == 0
	for i := range goroutines {
		g := &goroutine{history: h, number: i, r: rand.New(rand.NewPCG(seed, uint64(i+1))), closes: closes}
		all.Go(func() {
			ready.Add(1)
			for ready.Load() < goroutines { // all at once
				runtime.Gosched()
			}
			g.run()
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("seed %d: somebody waits for ever: %+v\n%s", seed, pool.Stats(), h)
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Errorf("seed %d: close: %v", seed, err)
	}
	if n := h.open.Load(); n != 0 {
		t.Errorf("seed %d: %d are open after Close", seed, n)
	}
	circumstances(h.operations)
	return h
}

// circumstances finds out what went on beside each operation.
func circumstances(operations []porcupine.Operation) {
	beside := func(op porcupine.Operation, is func(porcupine.Operation) bool) bool {
		return slices.ContainsFunc(operations, func(o porcupine.Operation) bool {
			return o.Call < op.Return && op.Call < o.Return && is(o)
		})
	}
	kind := func(op porcupine.Operation) string { return op.Input.(input).kind }
	for i, op := range operations {
		in, out := op.Input.(input), op.Output.(output)
		if in.kind != "pop" && in.kind != "trypop" {
			in.beside = beside(op, func(o porcupine.Operation) bool { return o != op && kind(o) == "destroy" })
			operations[i].Input = in
			continue
		}
		in.crowded = beside(op, func(o porcupine.Operation) bool {
			return o != op && (kind(o) != "trypop" || o.Output.(output).conn != 0)
		})
		in.late = beside(op, func(push porcupine.Operation) bool {
			return kind(push) == "push" && push.Input.(input).conn == out.conn &&
				beside(push, func(o porcupine.Operation) bool { return kind(o) == "configure" })
		})
		operations[i].Input = in
	}
}

func (h *history) String() string {
	slices.SortFunc(h.operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range h.operations {
		fmt.Fprintf(&b, "%3d to %3d, goroutine %d: %s\n", op.Call, op.Return, op.ClientId, model(h.size).DescribeOperation(op.Input, op.Output))
	}
	return b.String()
}

const biggest = 4 // that configure makes it

type goroutine struct {
	*history
	number int
	r      *rand.Rand
	closes bool
	mine   []lease
}

// do calls an operation and notes it.
func (g *goroutine) do(in input, call func() output) output {
	before := g.clock.Add(1)
	out := call()
	after := g.clock.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.operations = append(g.operations, porcupine.Operation{ClientId: g.number, Input: in, Call: before, Output: out, Return: after})
	return out
}

func (g *goroutine) run() {
	for step := range steps {
		for range g.r.IntN(4) {
			runtime.Gosched()
		}
		number := g.number*steps + step + 1
		switch n := g.r.IntN(20); {
		case n < 6 && len(g.mine) == 0: // who holds one does not wait: all could
			g.pop("pop", number, func() (pools.Conn[int], error) { return g.pool.Pop(context.Background()) })
		case n < 10:
			g.pop("trypop", number, func() (pools.Conn[int], error) { c, _ := g.pool.TryPop(); return c, nil })
		case n < 15:
			g.end()
		case n < 17:
			g.endAny()
		case n < 19:
			size := 1 + g.r.IntN(biggest)
			g.do(input{kind: "configure", size: size}, func() output {
				return output{err: g.pool.Configure(func(s *pools.Settings) { s.Size = size })}
			})
		case g.closes:
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // without waiting for holders, of which this may be one
			g.do(input{kind: "close"}, func() output { return output{err: g.pool.Close(ctx)} })
		}
	}
	for len(g.mine) > 0 {
		g.end()
	}
}

func (g *goroutine) pop(kind string, number int, pop func() (pools.Conn[int], error)) {
	var conn pools.Conn[int]
	out := g.do(input{kind: kind, lease: number}, func() (out output) {
		conn, out.err = pop()
		if conn != (pools.Conn[int]{}) {
			out.conn = conn.Resource()
		}
		return out
	})
	if out.conn == 0 {
		return
	}
	l := lease{number, conn, out.conn}
	g.mine = append(g.mine, l)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leases = append(g.leases, l)
}

// end gives back the latest of this goroutine's leases.
func (g *goroutine) end() {
	if n := len(g.mine); n > 0 {
		l := g.mine[n-1]
		g.mine = g.mine[:n-1]
		g.giveBack(l)
	}
}

// endAny gives back any lease there ever was: a mistake, which may race with
// its holder.
func (g *goroutine) endAny() {
	g.mu.Lock()
	if len(g.leases) == 0 {
		g.mu.Unlock()
		return
	}
	l := g.leases[g.r.IntN(len(g.leases))]
	g.mu.Unlock()
	g.giveBack(l)
}

func (g *goroutine) giveBack(l lease) {
	kind, end := "push", l.conn.Push
	if g.r.IntN(4) == 0 {
		kind, end = "destroy", l.conn.Destroy
	}
	g.do(input{kind: kind, lease: l.number, conn: l.of}, func() output { return output{err: end()} })
}
