// Rooms measures the structure of the root package: the length of its files,
// the number of methods on Pool, and the largest group of files that all depend
// on each other.
// It type-checks the package without its tests, prints one line for each
// measure, and fails if a limit is broken.
//
//	go run ./internal/rooms           print, and fail if a limit is broken
//	go run ./internal/rooms -report   print only
//
// File A depends on file B if a function in A calls a function or method that
// B declares, or mentions it as a value. A call through an interface counts
// for the file that declares the interface, not for the implementations.
package main

import (
	"cmp"
	"flag"
	"fmt"
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
)

func main() {
	log.SetFlags(0)
	reportOnly := flag.Bool("report", false, "print, and do not fail")
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
	return broken
}
