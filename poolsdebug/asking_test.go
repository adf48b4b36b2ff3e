package poolsdebug

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// asked is an error whose text is the program's own code.
type asked struct{ say func() string }

func (a *asked) Error() string { return a.say() }

func exit() string {
	runtime.Goexit()
	return ""
}

type hung struct{ asked }

// worse panics even while fmt writes about its panic.
type worse struct{}

func (w worse) Error() string { panic(w) }

func TestWhatErrorsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			err  error
			want string
		}{
			{nil, ""},
			{errors.New("refused"), "refused"},
			{(*refusal)(nil), "<nil>"},
			{&asked{func() string { panic("no") }}, "PANIC=Error method: no"},
			{worse{}, "(a poolsdebug.worse whose text cannot be had)"},
			{&asked{exit}, "(a *poolsdebug.asked whose text cannot be had)"},
			{&asked{func() string { time.Sleep(askFor / 2); return "slow" }}, "slow"},
			{&asked{func() string { time.Sleep(2 * askFor); return "slower" }}, "(a *poolsdebug.asked whose text takes too long)"},
		} {
			if got := ask().text(c.err); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("%q, want %q", got, c.want)
			}
		}
		time.Sleep(time.Minute)
	})
}

// Errors that hang cost one goroutine of each type, and an answer a second at
// most; the others say what they are.
func TestErrorsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), new(atomic.Int32)
		hang := &hung{asked{func() string { calls.Add(1); <-release; return "at last" }}}
		began := time.Now()
		for range 100 {
			errs := ask()
			if text := errs.text(hang); !strings.HasPrefix(text, "(a *poolsdebug.hung") {
				t.Fatal(text)
			}
			if text := errs.text(errors.New("refused")); text != "refused" {
				t.Fatal(text)
			}
		}
		if took := time.Since(began); calls.Load() != 1 || took != askFor {
			t.Errorf("%d were asked, in %v", calls.Load(), took)
		}
		close(release)
		synctest.Wait()
		if text := ask().text(hang); text != "at last" {
			t.Error(text)
		}
		began = time.Now()
		errs, slow := ask(), &asked{func() string { time.Sleep(askFor * 9 / 10); return "slow" }}
		for range 100 {
			errs.text(slow)
		}
		if took := time.Since(began); took > askAllFor {
			t.Errorf("an answer took %v", took)
		}
		time.Sleep(time.Minute)
	})
}

// No page waits for an error that ends its goroutine or hangs.
func TestPagesOfErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour, MaxReconnectSleep: time.Hour}, "db")
		release := make(chan struct{})
		bad := &asked{exit}
		server.Open.Always(poolstest.Fail(bad))
		if _, err := all[0].Pop(t.Context()); err == nil {
			t.Fatal("popped")
		}
		for range 2 {
			for _, path := range []string{"/json", "/text"} {
				done := make(chan int)
				go func() {
					code := 0
					defer func() { done <- code }()
					code = get(New(g, Options{}), path).Code
				}()
				synctest.Wait()
				time.Sleep(askAllFor)
				select {
				case code := <-done:
					if code != http.StatusOK {
						t.Errorf("%s: %d", path, code)
					}
				default:
					t.Errorf("%s hangs", path)
				}
			}
			bad.say = func() string { <-release; return "" }
		}
		close(release)
		server.Open.Clear()
	})
}
