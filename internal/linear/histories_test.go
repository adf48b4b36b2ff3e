package linear

import (
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/utopia-go/pools"
)

// during is an operation between two instants; n is its lease or its size.
func during(from, to int64, kind string, n, conn int, err error) porcupine.Operation {
	op := porcupine.Operation{Call: from, Return: to}
	switch kind {
	case "pop", "trypop":
		op.Input, op.Output = input{kind: kind, lease: n}, output{conn, err}
	case "configure":
		op.Input, op.Output = input{kind: kind, size: n}, output{err: err}
	default:
		op.Input, op.Output = input{kind: kind, lease: n, conn: conn}, output{err: err}
	}
	return op
}

// at is an operation that overlaps with no other at a whole number.
func at(when int64, kind string, n, conn int, err error) porcupine.Operation {
	return during(10*when, 10*when+1, kind, n, conn, err)
}

// The model must accept what a pool may do and refuse what it must not do, or
// a right history proves nothing.
func TestModel(t *testing.T) {
	notHeld, closed := pools.ErrNotHeld, pools.ErrClosed
	first := at(1, "pop", 1, 1, nil)
	may := map[string][]porcupine.Operation{
		"one after the other":                 {first, at(2, "push", 1, 1, nil), at(3, "pop", 2, 1, nil)},
		"two at once":                         {first, at(2, "pop", 2, 2, nil)},
		"a pop that waits for a push":         {first, at(2, "pop", 2, 2, nil), during(30, 60, "pop", 3, 1, nil), at(4, "push", 1, 1, nil)},
		"one of two pushes of a lease wins":   {first, during(20, 30, "push", 1, 1, notHeld), during(21, 31, "push", 1, 1, nil)},
		"nothing is idle":                     {at(0, "trypop", 1, 0, nil), first, at(2, "trypop", 3, 0, nil)},
		"a trypop misses one that moves":      {first, at(2, "push", 1, 1, nil), during(30, 60, "trypop", 2, 0, nil), at(4, "pop", 3, 1, nil), at(5, "push", 1, 1, notHeld)},
		"a new one after destroy":             {first, at(2, "destroy", 1, 1, nil), at(3, "pop", 2, 2, nil)},
		"a pop that races with close":         {during(10, 30, "pop", 1, 1, nil), during(11, 29, "close", 0, 0, nil)},
		"a push after close":                  {first, at(2, "close", 0, 0, &pools.CloseError{}), at(3, "push", 1, 1, nil), at(4, "pop", 2, 0, closed)},
		"shrunk while all are out":            {first, at(2, "pop", 2, 2, nil), at(3, "configure", 1, 0, nil), at(4, "push", 2, 2, nil), at(5, "push", 1, 1, nil), at(6, "pop", 3, 1, nil)},
		"a push that misses a shrink":         {first, at(2, "pop", 2, 2, nil), during(30, 60, "push", 1, 1, nil), during(25, 40, "configure", 1, 0, nil), at(5, "trypop", 3, 1, nil)},
		"what was idle is closed by a shrink": {first, at(2, "pop", 2, 2, nil), at(3, "push", 2, 2, nil), at(4, "configure", 1, 0, nil), at(5, "trypop", 3, 0, nil)},
	}
	mustNot := map[string][]porcupine.Operation{
		"two holders of one connection":      {first, at(2, "pop", 2, 1, nil)},
		"a trypop of what is held":           {first, at(2, "trypop", 2, 1, nil)},
		"lent before it came back":           {first, at(2, "pop", 2, 1, nil), at(3, "push", 1, 1, nil)},
		"an open beyond Size":                {first, at(2, "pop", 2, 2, nil), at(3, "pop", 3, 3, nil)},
		"an ended lease is pushed":           {first, at(2, "push", 1, 1, nil), at(3, "push", 1, 1, nil)},
		"two pushes of a lease win":          {first, during(20, 30, "push", 1, 1, nil), during(21, 31, "push", 1, 1, nil)},
		"push and destroy win":               {first, during(20, 30, "push", 1, 1, nil), during(21, 31, "destroy", 1, 1, nil)},
		"a live lease is refused":            {first, at(2, "push", 1, 1, notHeld)},
		"an ended lease ends another's":      {first, at(2, "push", 1, 1, nil), at(3, "pop", 2, 1, nil), at(4, "push", 1, 1, notHeld), at(5, "pop", 3, 1, nil)},
		"lent after destroy":                 {first, at(2, "destroy", 1, 1, nil), at(3, "pop", 2, 1, nil)},
		"nothing, beside an idle one":        {first, at(2, "push", 1, 1, nil), at(3, "trypop", 2, 0, nil)},
		"one too many after a shrink":        {first, at(2, "pop", 2, 2, nil), at(3, "configure", 1, 0, nil), at(4, "push", 1, 1, nil), at(5, "pop", 3, 1, nil)},
		"one too many during a shrink":       {first, at(2, "pop", 2, 2, nil), during(30, 50, "configure", 1, 0, nil), during(32, 33, "push", 1, 1, nil), at(6, "pop", 3, 1, nil)},
		"a pop after close":                  {at(1, "close", 0, 0, nil), at(2, "pop", 1, 1, nil)},
		"closed before close":                {at(1, "pop", 1, 0, closed), at(2, "close", 0, 0, nil)},
		"a pop that gives up by itself":      {first, at(2, "pop", 2, 0, pools.ErrWaitTimeout)},
		"configured after close":             {at(1, "close", 0, 0, nil), at(2, "configure", 3, 0, nil)},
		"lent again though pushed to closed": {first, at(2, "close", 0, 0, &pools.CloseError{}), at(3, "push", 1, 1, nil), at(4, "trypop", 2, 1, nil)},
	}
	for name, history := range may {
		circumstances(history)
		if !porcupine.CheckOperations(model(2), history) {
			t.Errorf("refused: %s", name)
		}
	}
	for name, history := range mustNot {
		circumstances(history)
		if porcupine.CheckOperations(model(2), history) {
			t.Errorf("accepted: %s", name)
		}
	}
}
