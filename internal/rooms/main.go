// Rooms measures the structure of the root package: the length of its files,
// the number of methods on Pool, the largest group of files that all depend on
// each other, and the state that is written outside of the file that owns it.
// It type-checks the package without its tests, prints one line for each
// measure, and fails if a limit is broken.
//
//	go run ./internal/rooms           print, and fail if a limit is broken
//	go run ./internal/rooms -report   print only
//	go run ./internal/rooms -report -from Pool.Pop -without popSlow -from Conn.Push
//
// File A depends on file B if a function in A calls a function or method that
// B declares, or mentions it as a value. A call through an interface counts
// for the file that declares the interface, not for the implementations, so
// the walks of -from end there. An initializer of a package variable counts
// for its file, but no walk passes through it.
//
// A struct type has an owner if its doc comment says "Only this file writes its
// fields.", and then no other file may. Calling a method of a field, such as Store of
// an atomic one, does not count as a write.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/types"
	"io"
	"log"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	maxLines   = 350 // a file is read in one sitting
	maxMethods = 120 // a method on Pool can touch all of the pool's state
	maxKnot    = 9   // files that depend on each other can only be understood together
	maxWriters = 0   // a file can keep an invariant of its state only if no other file writes it
)

func main() {
	log.SetFlags(0)
	reportOnly := flag.Bool("report", false, "print, and do not fail")
	var from, without []string
	flag.Func("from", "print what a walk from `Type.Method` or a function reaches; repeatable", func(name string) error {
		from = append(from, name)
		return nil
	})
	flag.Func("without", "`names` of functions, with or without their type, that walks do not enter, separated by commas", func(names string) error {
		without = append(without, strings.Split(names, ",")...)
		return nil
	})
	flag.Parse()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/utopia-go/pools").Output()
	if err != nil {
		log.Fatalf("go list: %v", err)
	}
	p, err := load(strings.TrimSpace(string(dir)))
	if err != nil {
		log.Fatal(err)
	}
	broken := p.report(os.Stdout)
	for _, name := range from {
		if err := p.reportWalk(os.Stdout, name, without); err != nil {
			log.Fatal(err)
		}
	}
	if broken > 0 && !*reportOnly {
		log.Fatalf("%d limits are broken", broken)
	}
}

// report prints every measure and returns how many limits are broken.
func (p *pkg) report(w io.Writer) (broken int) {
	limit := func(got, most int) string {
		if got <= most {
			return fmt.Sprintf("(limit %d)", most)
		}
		broken++
		return fmt.Sprintf("(limit %d: BROKEN)", most)
	}

	files := slices.SortedFunc(maps.Keys(p.lines), func(a, b string) int {
		return cmp.Or(p.lines[b]-p.lines[a], strings.Compare(a, b))
	})
	total, long := 0, []string{}
	for i, file := range files {
		total += p.lines[file]
		if i == 0 || p.lines[file] > maxLines {
			long = append(long, fmt.Sprintf("%s %d", file, p.lines[file]))
		}
	}
	fmt.Fprintf(w, "files: %d, %d lines\n", len(files), total)
	fmt.Fprintf(w, "longest: %s %s\n", strings.Join(long, ", "), limit(p.lines[files[0]], maxLines))

	methods := 0
	for name := range p.declared {
		if strings.HasPrefix(name, "Pool.") {
			methods++
		}
	}
	fmt.Fprintf(w, "functions: %d\n", len(p.declared))
	fmt.Fprintf(w, "methods on Pool: %d %s\n", methods, limit(methods, maxMethods))

	knot := largestKnot(p.fileUses)
	fmt.Fprintf(w, "largest knot: %d files %s: %s\n", len(knot), limit(len(knot), maxKnot), strings.Join(knot, " "))

	fmt.Fprintf(w, "structs with an owner: %d\n", len(p.owners))
	for _, name := range slices.Sorted(maps.Keys(p.owners)) {
		writers := p.writers[name]
		fmt.Fprintf(w, "files besides %s that write fields of %s: %d %s",
			p.owners[name], name, len(writers), limit(len(writers), maxWriters))
		for _, file := range slices.Sorted(maps.Keys(writers)) {
			fmt.Fprintf(w, " %s (%s)", file, strings.Join(slices.Sorted(maps.Keys(writers[file])), ", "))
		}
		fmt.Fprintln(w)
	}
	return broken
}

// reportWalk prints the files and functions that a walk from the function
// called name reaches.
func (p *pkg) reportWalk(w io.Writer, name string, without []string) error {
	start := p.declared[name]
	if start == nil {
		return fmt.Errorf("-from %s: no such function", name)
	}
	omitted := set[string]{}
	for _, leave := range without {
		found := false
		for full := range p.declared {
			if full == leave || strings.HasSuffix(full, "."+leave) {
				omitted[full], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("-without %s: no such function", leave)
		}
	}
	byFile, functions := map[string][]string{}, 0
	for f := range p.uses.reach(start, func(f *types.Func) bool { return omitted[funcName(f)] }) {
		functions++
		byFile[p.file(f)] = append(byFile[p.file(f)], funcName(f))
	}
	fmt.Fprintf(w, "from %s: %d files, %d functions\n", name, len(byFile), functions)
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		slices.Sort(byFile[file])
		fmt.Fprintf(w, "  %s: %s\n", file, strings.Join(byFile[file], " "))
	}
	return nil
}
