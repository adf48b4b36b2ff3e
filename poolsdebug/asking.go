package poolsdebug

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// How long one error may take to say what it is, and all errors of one answer
// together.
const (
	askFor    = 100 * time.Millisecond
	askAllFor = time.Second
)

// asking gets the texts of the errors of one answer. Error is the program's
// own code: it may hang, panic or end its goroutine. None of this may cost
// more than that text, so each is asked in a goroutine of its own.
type asking struct{ left time.Duration }

func ask() *asking { return &asking{askAllFor} }

// late counts, by their type, the errors that are still asked although nobody
// waits for them any more. Others of such a type are not asked meanwhile:
// there would be one more goroutine that hangs each second.
var late struct {
	sync.Mutex
	of map[reflect.Type]int
}

func addLate(kind reflect.Type, n int) {
	late.Lock()
	defer late.Unlock()
	if late.of == nil {
		late.of = make(map[reflect.Type]int)
	}
	if late.of[kind] += n; late.of[kind] == 0 {
		delete(late.of, kind)
	}
}

func isLate(kind reflect.Type) bool {
	late.Lock()
	defer late.Unlock()
	return late.of[kind] > 0
}

func (a *asking) text(err error) string {
	if err == nil {
		return ""
	}
	kind := reflect.TypeOf(err)
	if a.left <= 0 || isLate(kind) {
		return fmt.Sprintf("(a %v, not asked for its text: others take too long)", kind)
	}
	began := time.Now()
	said := make(chan string, 1)
	var over atomic.Bool // set by whichever comes first: the text, or the end of the wait
	go func() {
		text := fmt.Sprintf("(a %v whose text cannot be had)", kind)
		defer func() {
			_ = recover() // fmt survives most panics, but not one whose value panics in turn
			said <- text
			if over.Swap(true) {
				addLate(kind, -1)
			}
		}()
		text = fmt.Sprint(err)
	}()
	timer := time.NewTimer(min(askFor, a.left))
	defer timer.Stop()
	defer func() { a.left -= time.Since(began) }()
	select {
	case text := <-said:
		return text
	case <-timer.C:
	}
	if over.Swap(true) {
		return <-said
	}
	addLate(kind, 1)
	return fmt.Sprintf("(a %v whose text takes too long)", kind)
}
