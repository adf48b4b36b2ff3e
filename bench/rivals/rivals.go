// Package rivals puts other pools, and ours, behind one small interface so
// that they can be measured in one program. One file a rival.
package rivals

import (
	"context"
	"reflect"
)

// Resource is what the pools hold: a pointer, as a connection would be.
type Resource struct {
	broken bool // for rivals that ask their connections
	_      [7]byte
}

// Close does nothing.
func (*Resource) Close() error { return nil }

// Pool is a pool that is being measured.
type Pool interface {
	// Pairs takes and gives back n times. Each rival has its own loop: an
	// indirect call would cost a fifth of what is measured.
	Pairs(ctx context.Context, n int) error

	// Do takes, works and gives back.
	Do(ctx context.Context, work func()) error

	// Hold takes n and returns a function that gives them back.
	Hold(ctx context.Context, n int) (release func(), err error)

	Close()
}

// Frail is a Pool whose connections may break in use.
type Frail interface {
	Pool

	// Try takes a connection, uses it and gives it back; when use fails the
	// connection is closed instead, and leaves room for another.
	Try(ctx context.Context, use func() error) error
}

// Kind says what a rival is measured for.
type Kind int

const (
	Library Kind = iota // of others
	Pattern             // what people write by hand; all resources are there from the start
	Floor               // what a pool cannot be faster than, or not a pool
	Ours
	Variant // ours with an option on

	// With connections to a real server, each in a program of its own:
	Client
	OurClient
)

// Rival is a way to share resources.
type Rival struct {
	Name   string
	Kind   Kind
	Module string // that must be in this program, unreplaced; "" when it comes with Go or is ours to write
	What   string // one line for the report

	// New makes a pool of up to size resources. open may be called by
	// several goroutines at once.
	New func(size int, open func() *Resource) Pool

	// Real is the type of the rival's own pool, and Package where it must come
	// from; "" is for types without a package, as chan. Clients have neither.
	Real    reflect.Type
	Package string
}

// All is every rival, in the order in which reports list them.
var All = []Rival{
	ours,
	puddlePool, databaseSQL, redigoPool, commonsPool,
	channel, channelSelect, mutexFIFO, mutexCond,
	syncPool, twoCAS, noPool,
	oursUse, oursBroken, oursReset,
	oursTracking, oursObserver, oursPage, oursPrometheus, oursOTel, oursOTelEach,
}

// held is Hold for whatever can be taken one by one.
func held[C any](n int, take func() (C, error), give func(C)) (func(), error) {
	all := make([]C, 0, n)
	release := func() {
		for _, c := range all {
			give(c)
		}
	}
	for range n {
		c, err := take()
		if err != nil {
			release()
			return nil, err
		}
		all = append(all, c)
	}
	return release, nil
}
