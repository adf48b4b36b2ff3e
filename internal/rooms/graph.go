package main

import (
	"cmp"
	"maps"
	"slices"
)

type set[K comparable] map[K]bool

// graph holds for each node the nodes that it points to.
type graph[N comparable] map[N]set[N]

func (g graph[N]) add(from, to N) {
	if g[from] == nil {
		g[from] = set[N]{}
	}
	g[from][to] = true
}

// reach returns start and every node that a walk from it reaches. The walk
// does not enter nodes for which omit returns true; a nil omit omits nothing.
func (g graph[N]) reach(start N, omit func(N) bool) set[N] {
	seen := set[N]{start: true}
	for todo := []N{start}; len(todo) > 0; {
		node := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for next := range g[node] {
			if !seen[next] && (omit == nil || !omit(next)) {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return seen
}

// largestKnot returns the largest strongly connected component of g, sorted.
// A single node is not a knot.
func largestKnot[N cmp.Ordered](g graph[N]) []N {
	reached := map[N]set[N]{}
	for node := range g {
		reached[node] = g.reach(node, nil)
	}
	var largest []N
	for _, a := range slices.Sorted(maps.Keys(reached)) {
		var knot []N
		for b := range reached[a] {
			if reached[b][a] {
				knot = append(knot, b)
			}
		}
		if len(knot) > max(1, len(largest)) {
			largest = knot
		}
	}
	slices.Sort(largest)
	return largest
}
