package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

const (
	soon   = 2 * time.Minute        // for what a busy machine may take to do
	unless = 400 * time.Millisecond // for what never happens
)

// path returns the browser, if there is one.
func path(t *testing.T) chromedp.ExecAllocatorOption {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed, and CI must not pass without it: ", err)
		}
		t.Skip("chromium is not installed: ", err)
	}
	return chromedp.ExecPath(binary)
}

// shared is the browser of all tests but those that end it.
var shared = struct {
	sync.Once
	browser *browser
}{}

func TestMain(m *testing.M) {
	status := m.Run()
	if shared.browser != nil {
		shared.browser.stop()
	}
	os.Exit(status)
}

func start(t *testing.T) *browser {
	t.Helper()
	option := path(t)
	shared.Do(func() { shared.browser = newBrowser(option) })
	return shared.browser
}

// within returns a ctx that ends before the test times out.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func serve(t *testing.T) (url string) {
	server := httptest.NewServer(site())
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// newPool returns a pool whose tabs may take their time.
func newPool(t *testing.T, b *browser, size int) *pools.Pool[*tab] {
	t.Helper()
	pool, err := pools.New("tabs", b.connector(), pools.Settings{
		Size: size, OpenTimeout: soon, CloseTimeout: soon, ResetTimeout: soon, CheckTimeout: soon, WaitTimeout: soon,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// wantVisit visits the page with a tab of the pool.
func wantVisit(t *testing.T, pool *pools.Pool[*tab], url, want string) {
	t.Helper()
	ctx := within(t, soon)
	got, err := pools.UseResult(ctx, pool, func(tab *tab) (string, error) { return title(ctx, tab, url) })
	if got != want || err != nil {
		t.Errorf("the title is %q, error %v; want %q", got, err, want)
	}
}

func wantClosedBy(t *testing.T, pool *pools.Pool[*tab], why pools.Reason, n uint64) {
	t.Helper()
	if st := pool.Stats(); st.ClosedBy[why] != n {
		t.Errorf("%d tabs were closed by %v, want %d: %+v", st.ClosedBy[why], why, n, st)
	}
}

// bare opens a tab as chromedp does by itself, and returns its ctx.
func bare(t *testing.T, b *browser, first func(ctx context.Context) context.Context) context.Context {
	t.Helper()
	root, err := b.start(within(t, soon))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(root)
	t.Cleanup(cancel)
	if err := chromedp.Do(first(ctx)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func itself(ctx context.Context) context.Context { return ctx }

// wantHang runs an action that never comes to its end.
func wantHang(t *testing.T, tab context.Context, action chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, unless)
	defer cancel()
	if err := chromedp.Do(ctx, action); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v; want it to hang until its deadline", err)
	}
}

// wantWorks runs one that does.
func wantWorks(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, soon)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(within(t, 2*soon), &out, path(t)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		`a tab takes \S+s to open and [1-9]\d* MiB of memory\n`,
		`6 visits with 3 tabs took \S+s, and each was the first one\n`,
		`alert\(\),      after \S+s: no error; the tab is kept\n`,
		`an exception, after \S+s: exception .*nothing is not defined; the tab is kept\n`,
		`a loop,       after \S+s: context deadline exceeded; the tab is closed\n`,
		`a crash,      after \S+s: the tab has crashed; the tab is closed\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in:\n%s", want, out.String())
		}
	}
}

// The ctx of the first Do is the tab's life, and that of chromedp.NewContext is not.
func TestFirstDo(t *testing.T) {
	b := start(t)
	var end context.CancelFunc
	plain := bare(t, b, func(ctx context.Context) context.Context {
		ctx, end = context.WithCancel(ctx)
		return ctx
	})
	wantWorks(t, plain, evaluate("1"))
	end()
	wantHang(t, plain, evaluate("1"))

	ctx, cancel := context.WithCancel(within(t, soon))
	ours, err := b.open(ctx)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.close(within(t, soon))
	if err := ours.check(within(t, soon)); err != nil || ours.broken() {
		t.Errorf("our tab does not outlive Open's ctx: error %v", err)
	}
}

// An Open that is given up leaves no tab behind.
func TestOpenGivenUp(t *testing.T) {
	b := start(t)
	root := alone(t, b)
	for _, wait := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		if tab, err := b.open(ctx); err == nil {
			if err := tab.close(within(t, soon)); err != nil {
				t.Error(err)
			}
		}
		cancel()
	}
	end := time.Now().Add(soon)
	for open(t, root) > 0 && time.Now().Before(end) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := open(t, root); n != 0 {
		t.Errorf("%d tabs are left", n)
	}
}

// open returns how many tabs a browser has, besides the one that it starts with.
func open(t *testing.T, root context.Context) int {
	t.Helper()
	all, err := chromedp.Targets(root)
	if err != nil {
		t.Error(err)
	}
	n := -1
	for _, one := range all {
		if one.Type == "page" {
			n++
		}
	}
	return n
}

// alone waits until the tabs of other tests are closed, and returns the browser's ctx.
func alone(t *testing.T, b *browser) (root context.Context) {
	t.Helper()
	root, err := b.start(within(t, soon))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(soon); open(t, root) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return root
}

// A crashed tab answers nothing and ends no Do, until a Navigate brings it back.
func TestCrash(t *testing.T) {
	b, url := start(t), serve(t)
	plain := bare(t, b, itself)
	crashed := make(chan struct{})
	err := chromedp.Listen(plain, func(event any) {
		if _, ok := event.(*inspector.EventTargetCrashed); ok {
			close(crashed)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	wantWorks(t, plain, chromedp.Navigate(url))
	wantHang(t, plain, call(page.Crash, cdp.Empty{}))
	select {
	case <-crashed:
	case <-time.After(soon):
		t.Fatal("it has not crashed")
	}
	wantHang(t, plain, evaluate("1"))
	wantWorks(t, plain, chromedp.Navigate(url), evaluate("1"))

	pool := newPool(t, b, 1)
	wantVisit(t, pool, url, "visit 1")
	ctx := within(t, soon)
	err = pool.Use(ctx, func(tab *tab) error {
		go chromedp.Call(tab.ctx, page.Crash, cdp.Empty{}) // behind the back of a user that waits for something
		return tab.do(ctx, chromedp.WaitVisible(chromedp.CSS("#never")))
	})
	if !errors.Is(err, errCrashed) {
		t.Errorf("error %v", err)
	}
	wantVisit(t, pool, url, "visit 1")
	wantClosedBy(t, pool, pools.ReasonBroken, 1)
}

// A tab that crashes while nobody uses it is found out before it is lent.
func TestCrashWhileIdle(t *testing.T) {
	b, url := start(t), serve(t)
	pool, err := pools.New("tabs", b.connector(), pools.Settings{
		Size: 1, OpenTimeout: soon, CloseTimeout: soon, ResetTimeout: soon, CheckTimeout: soon, WaitTimeout: soon, CheckAfter: pools.Always,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(within(t, soon))
	idle, err := pools.UseResult(within(t, soon), pool, func(tab *tab) (*tab, error) { return tab, nil })
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(soon); pool.Stats().Resetting+pool.Stats().Returning > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	go chromedp.Call(idle.ctx, page.Crash, cdp.Empty{})
	select {
	case <-idle.ctx.Done():
	case <-time.After(soon):
		t.Fatal("nobody has noticed the crash")
	}
	wantVisit(t, pool, url, "visit 1")
	wantClosedBy(t, pool, pools.ReasonCheck, 1)
}

// A dialog holds up everything, until somebody answers it.
func TestDialogs(t *testing.T) {
	b, url := start(t), serve(t)
	plain := bare(t, b, itself)
	wantWorks(t, plain, chromedp.Navigate(url))
	wantHang(t, plain, evaluate("alert('click me')"))
	wantHang(t, plain, evaluate("1"))
	wantWorks(t, plain, call(page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{}), evaluate("1"))

	pool := newPool(t, b, 1)
	wantVisit(t, pool, url+"alert", "after the alert")
	ctx := within(t, soon)
	answers, err := pools.UseResult(ctx, pool, func(tab *tab) (string, error) {
		if err := tab.do(ctx, chromedp.Navigate(url)); err != nil {
			return "", err
		}
		return ask(ctx, tab, chromedp.Evaluate[string]("alert('a') + ' ' + confirm('b') + ' ' + prompt('c')"))
	})
	if answers != "undefined false null" || err != nil {
		t.Errorf("the page got %q, error %v", answers, err)
	}
	// A page that asks whether it may be left does not keep the next user waiting. It
	// may ask only if its user has done something there.
	err = pool.Use(ctx, func(tab *tab) error {
		return tab.do(ctx, chromedp.Navigate(url), evaluate("addEventListener('beforeunload', e => e.preventDefault())"),
			chromedp.Click(chromedp.CSS("html")))
	})
	if err != nil {
		t.Error(err)
	}
	wantVisit(t, pool, url, "visit 1")
	wantClosedBy(t, pool, pools.ReasonReset, 0)
	wantClosedBy(t, pool, pools.ReasonBroken, 0)
}

// A browser's tabs have the same cookies, and ours have their own.
func TestCookies(t *testing.T) {
	b, url := start(t), serve(t)
	var counted [2]int
	for n := range counted {
		plain := bare(t, b, itself)
		wantWorks(t, plain, chromedp.Navigate(url))
		got, err := chromedp.Run(plain, chromedp.Title())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscanf(got, "visit %d", &counted[n])
	}
	if counted[0] < 1 || counted[1] != counted[0]+1 {
		t.Errorf("the first tab made visit %d, the second %d; want the next one", counted[0], counted[1])
	}
	pool := newPool(t, b, 2)
	ctx := within(t, soon)
	err := pool.Use(ctx, func(one *tab) error {
		return pool.Use(ctx, func(two *tab) error {
			for _, want := range []string{"visit 1", "visit 2"} {
				for _, tab := range []*tab{one, two} {
					got, err := title(ctx, tab, url)
					if got != want || err != nil {
						t.Errorf("the title is %q, error %v; want %q", got, err, want)
					}
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// Reset forgets what pages leave: cookies, storage, history, the window's name and
// other windows.
func TestReset(t *testing.T) {
	b, url := start(t), serve(t)
	ctx := within(t, soon)
	tab, err := b.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.close(within(t, soon))
	wantRemembers := func(when, want string) {
		t.Helper()
		if err := tab.do(ctx, chromedp.Navigate(url)); err != nil {
			t.Fatal(err)
		}
		got, err := ask(ctx, tab, chromedp.Evaluate[string]("`${document.title}, ${localStorage.length} local, ${sessionStorage.length} session, ${history.length} pages, name ${window.name}`"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := chromedp.Targets(tab.ctx)
		if err != nil {
			t.Fatal(err)
		}
		windows := 0
		for _, one := range all {
			if one.Type == "page" && one.BrowserContextID == chromedp.FromContext(tab.ctx).BrowserContextID {
				windows++
			}
		}
		if got = fmt.Sprintf("%s, %d windows", got, windows); got != want {
			t.Errorf("%s: %s; want %s", when, got, want)
		}
	}
	const clean = "visit 1, 0 local, 0 session, 2 pages, name , 1 windows"
	wantRemembers("a new tab", clean)
	if err := tab.do(ctx, chromedp.Navigate(url+"?again"), evaluate("localStorage.a = sessionStorage.b = window.name = 'mine'; !!open('about:blank')")); err != nil {
		t.Fatal(err)
	}
	wantRemembers("a used tab", "visit 3, 1 local, 1 session, 4 pages, name mine, 2 windows")
	if err := tab.reset(ctx); err != nil {
		t.Fatal(err)
	}
	wantRemembers("a tab that was reset", clean)
}

// A page whose script never ends is not lent, and it keeps nobody waiting.
func TestLoop(t *testing.T) {
	b, url := start(t), serve(t)
	pool := newPool(t, b, 1)
	ctx := within(t, soon)
	err := pool.Use(ctx, func(tab *tab) error {
		limited, cancel := context.WithTimeout(ctx, unless)
		defer cancel()
		_ = tab.do(limited, evaluate("for (;;);"))
		return nil // no error: the pool must see it by the tab
	})
	if err != nil {
		t.Error(err)
	}
	wantVisit(t, pool, url, "visit 1")
	wantClosedBy(t, pool, pools.ReasonBroken, 1)
}

// A tab that is closed by its page or by somebody else keeps no user waiting, and is
// not lent again.
func TestClosedElsewhere(t *testing.T) {
	ctx := within(t, soon)
	tab, err := start(t).open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, tab)
	err = tab.do(ctx, chromedp.WaitVisible(chromedp.CSS("#never")))
	if !errors.Is(err, errGone) || !tab.broken() {
		t.Errorf("error %v, broken: %v", err, tab.broken())
	}
	if err := tab.close(ctx); err != nil {
		t.Error(err)
	}
}

// kill has the browser close a tab.
func kill(t *testing.T, tab *tab) {
	t.Helper()
	id := chromedp.FromContext(tab.ctx).Target.TargetID
	if _, err := chromedp.CallBrowser(tab.browser, target.CloseTarget, target.CloseTargetParams{TargetID: id}); err != nil {
		t.Error(err)
	}
}

// RevokeAll interrupts a user without a deadline.
func TestRevoke(t *testing.T) {
	b, url := start(t), serve(t)
	pool := newPool(t, b, 1)
	running, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- pool.Use(context.Background(), func(tab *tab) error {
			close(running)
			return tab.do(context.Background(), chromedp.WaitVisible(chromedp.CSS("#never")))
		})
	}()
	select {
	case <-running:
	case <-time.After(soon):
		t.Fatal("no tab")
	}
	pool.RevokeAll()
	select {
	case err := <-ended:
		if !errors.Is(err, errAborted) {
			t.Errorf("error %v", err)
		}
	case <-time.After(soon):
		t.Fatal("the user still waits")
	}
	wantVisit(t, pool, url, "visit 1")
}

// When the browser dies, so do all tabs, and the next Open starts another browser.
func TestBrowserDies(t *testing.T) {
	b, url := newBrowser(path(t)), serve(t)
	defer b.stop()
	pool := newPool(t, b, 2)
	if err := pool.Fill(within(t, soon), 2); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, soon)
	err := pool.Use(ctx, func(tab *tab) error {
		if err := chromedp.FromContext(tab.ctx).Browser.Process().Kill(); err != nil {
			t.Error(err)
		}
		return tab.do(ctx, chromedp.WaitVisible(chromedp.CSS("#never")))
	})
	if err == nil || !strings.HasPrefix(err.Error(), "the browser has ended: ") || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantVisit(t, pool, url, "visit 1")
}

// stopped reports whether every thread of a process has stopped. A signal
// reaches one that is running a moment later, and until then it answers.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err == nil && !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return true
}

func TestConnector(t *testing.T) {
	b := start(t)
	root := alone(t, b)
	poolstest.TestConnector(t, nil, func(t *testing.T) poolstest.Subject[*tab] {
		return poolstest.Subject[*tab]{
			Connector: b.connector(),
			Use: func(ctx context.Context, tab *tab) error {
				_, err := ask(ctx, tab, chromedp.Evaluate[int]("1 + 1"))
				return err
			},
			Kill:   func(tab *tab) { kill(t, tab) },
			IsOpen: func() int { return open(t, root) },
			Silence: func() (end func()) {
				process := chromedp.FromContext(root).Browser.Process()
				if err := process.Signal(syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
				for end := time.Now().Add(soon); !stopped(process.Pid); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Error("the browser does not stop")
						break
					}
				}
				return func() {
					if err := process.Signal(syscall.SIGCONT); err != nil {
						t.Error(err)
					}
				}
			},
			Dirty: func(ctx context.Context, tab *tab) error {
				return tab.do(ctx, evaluate("document.title = 'mine'"))
			},
			Clean: func(ctx context.Context, tab *tab) error {
				title, err := ask(ctx, tab, chromedp.Title())
				if err == nil && title != "" {
					err = fmt.Errorf("the title is %q", title)
				}
				return err
			},
			Refused: func(ctx context.Context, tab *tab) error {
				_, err := ask(ctx, tab, chromedp.Evaluate[int]("nothing.there"))
				return err
			},
			Block: func(tab *tab) error {
				return tab.do(context.Background(), chromedp.WaitVisible(chromedp.CSS("#never")))
			},
			Limit: 15 * time.Second,
		}
	})
}
