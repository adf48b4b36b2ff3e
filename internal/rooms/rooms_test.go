package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small breaks one limit: pool.go writes fields of part. pool.go, part.go and
// use.go form a knot through generic methods and a method value. named.go and
// implements.go are not in it, because calling an interface method does not
// use its implementations.
var small = map[string]string{
	"pool.go": `package pools

type Pool[T any] struct {
	part[T]
	other int
}

type box struct{ inner part[int] }

func New[T any]() *Pool[T] { return &Pool[T]{part: part[T]{count: 1}} } // a write

func (p *Pool[T]) Pop() { p.slow(); p.ask(nil) }

func (p *Pool[T]) ask(n named) { n.Name() }

func (p *Pool[T]) write(b *box, q *part[int]) {
	p.other = p.read
	p.start = 1
	p.list[0]++
	b.inner.sum += 2
	q.deep.x = 3
	take(&p.addressed)
	p.pointer.x = 4    // not in part
	_ = &p.elements[0] // not in part
}

func take(*int) {}
`,
	"part.go": `package pools

type deep struct{ x int }

// part counts. Only this
// file writes its fields.
type part[T any] struct {
	count, start, addressed, read int
	sum                           T
	list                          [2]int
	deep                          deep
	pointer                       *deep
	elements                      []int
}

func (p *part[T]) step() { p.read++; again(&Pool[string]{}) }
`,
	"use.go": `package pools

func (p *Pool[T]) slow() { f := p.step; f() }

func again(p *Pool[string]) { p.Pop() }
`,
	"named.go": `package pools

type named interface{ Name() string }
`,
	"implements.go": `package pools

func (p *Pool[T]) Name() string { p.Pop(); return "" }
`,
	"pool_test.go": "package pools\n\nfunc (p *Pool[T]) testOnly() {}\n",
}

func loaded(t *testing.T, files map[string]string) *pkg {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMeasures(t *testing.T) {
	p := loaded(t, small)
	var out strings.Builder
	broken := p.report(&out)
	want := `files: 5, 54 lines
longest: pool.go 27 (limit 350)
functions: 9
methods on Pool: 5 (limit 120)
largest knot: 3 files (limit 9): part.go pool.go use.go
structs with an owner: 1
files besides part.go that write fields of part: 1 (limit 0: BROKEN) pool.go (addressed, count, deep, list, start, sum)
`
	if out.String() != want || broken != 1 {
		t.Errorf("%d broken limits, want 1; got\n%s\nwant\n%s", broken, &out, want)
	}
}

func TestWalk(t *testing.T) {
	p := loaded(t, small)
	var out strings.Builder
	if err := p.reportWalk(&out, "Pool.Pop", []string{"slow"}); err != nil {
		t.Fatal(err)
	}
	if err := p.reportWalk(&out, "part.step", []string{"Pool.ask", "Pool.slow"}); err != nil {
		t.Fatal(err)
	}
	want := `from Pool.Pop: 2 files, 3 functions
  named.go: named.Name
  pool.go: Pool.Pop Pool.ask
from part.step: 3 files, 3 functions
  part.go: part.step
  pool.go: Pool.Pop
  use.go: again
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if p.reportWalk(&out, "Pool.Gone", nil) == nil || p.reportWalk(&out, "Pool.Pop", []string{"gone"}) == nil {
		t.Error("an unknown name was accepted")
	}
}

// TestLimits: each limit allows its own value and no more.
func TestLimits(t *testing.T) {
	for _, over := range []int{0, 1} {
		files := map[string]string{
			"a.go": "package pools\n\ntype Pool[T any] struct{}\n" + strings.Repeat("\n", maxLines-3+over),
		}
		for i := range maxKnot + over {
			files[fmt.Sprintf("knot%d.go", i)] = fmt.Sprintf("package pools\n\nfunc f%d() { f%d() }\n", i, (i+1)%(maxKnot+over))
		}
		var methods strings.Builder
		fmt.Fprintln(&methods, "package pools")
		for i := range maxMethods + over {
			fmt.Fprintf(&methods, "func (*Pool[T]) m%d() {}\n", i)
		}
		files["methods.go"] = methods.String()
		var out strings.Builder
		if broken := loaded(t, files).report(&out); broken != 3*over {
			t.Errorf("%d over the limits: %d are broken, want %d\n%s", over, broken, 3*over, &out)
		}
	}
}
