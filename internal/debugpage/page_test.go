// Package debugpage tests the page of poolsdebug in a real browser.
package debugpage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/poolsdebug"
	"github.com/utopia-go/pools/poolstest"
)

type (
	pool = pools.Pool[*poolstest.Resource]
	conn = pools.Conn[*poolstest.Resource]
)

// browser is a tab that shows the page of a group.
type browser struct {
	t   *testing.T
	tab context.Context
	url string
}

func open(t *testing.T, group *pools.Group, options poolsdebug.Options) *browser {
	return visit(t, poolsdebug.New(group, options))
}

func visit(t *testing.T, page http.Handler) *browser {
	binary := engine.Path(t, "chromium")
	mux := http.NewServeMux()
	mux.Handle("/debug/pools/", page)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	tab, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{t, tab, server.URL + "/debug/pools/"}
	b.do() // the browser has started
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(b.url))
	// What the policy of the page forbids, and faults of the script.
	b.eval(`window.faults = []; addEventListener("securitypolicyviolation", (e) => faults.push(e.violatedDirective + " " + e.blockedURI)); addEventListener("error", (e) => faults.push(e.message)); ""`)
	return b
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	done := make(chan error, 1)
	go func() { done <- chromedp.Do(b.tab, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			b.t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		b.t.Fatal("the browser does not come to it")
	}
}

// eval returns what an expression is as text. Statements end with `; ""`.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	if !strings.HasSuffix(expression, `; ""`) {
		expression = `String(` + expression + `)`
	}
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// shows waits until the text of what a selector finds has all of these parts.
func (b *browser) shows(selector string, parts ...string) {
	b.t.Helper()
	text := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		text = b.eval(fmt.Sprintf(`document.querySelector(%q)?.innerText ?? "nothing"`, selector))
		missing := false
		for _, part := range parts {
			missing = missing || !strings.Contains(text, part)
		}
		if !missing {
			return
		}
	}
	b.t.Fatalf("%s shows %q, which lacks one of %q", selector, text, parts)
}

// until waits until an expression is true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); b.eval(expression) != "true"; {
		if time.Now().After(end) {
			b.t.Fatalf("it does not come true: %s", expression)
		}
	}
}

func (b *browser) picture(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.tab, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) scheme(value string) {
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
		})
		return err
	}))
}

// row is the selector of a pool's row, by its name in the address.
func row(hash string) string { return fmt.Sprintf(`tr:has(a[href="#%s"])`, hash) }

func add(t *testing.T, group *pools.Group, name string, settings pools.Settings) (*pool, *poolstest.Server) {
	server := poolstest.NewServer(t, 0)
	p, err := pools.New(name, server.Connector(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Add(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p, server
}

//go:noinline
func leak(t *testing.T, p *pool) conn {
	c, err := p.Pop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const nasty = `<img src=x onerror="faults.push('markup')">`

// A pool fills up, leaks; another's server goes down and comes back; all by
// somebody who only looks, by the keyboard, in light and dark and on a phone.
func TestPage(t *testing.T) {
	group := new(pools.Group)
	orders, _ := add(t, group, "orders", pools.Settings{Size: 12, TrackHolders: true, LeakAfter: 200 * time.Millisecond})
	mail, mailServer := add(t, group, "mail", pools.Settings{Size: 4, ReconnectAttempts: 1, ReconnectSleep: 100 * time.Millisecond})
	_, _ = add(t, group, nasty, pools.Settings{Size: 3})
	b := open(t, group, poolsdebug.Options{})
	b.shows("#state", "live: 3 pools")
	b.shows(row("orders"), "0 / 12")

	// It fills up, until somebody waits.
	var held []conn
	for n := range 12 {
		held = append(held, leak(t, orders))
		if n == 4 {
			b.shows(row("orders"), "5 / 12")
		}
	}
	waiter := make(chan error, 1)
	go func() { waiter <- orders.Use(t.Context(), func(*poolstest.Resource) error { return nil }) }()
	b.shows(row("orders"), "12 / 12", "exhausted")
	b.shows("#state", "1 in trouble")

	// Who holds them: by the keyboard to the pool, and to its first stack.
	b.shows(row("orders"), "12 leaks")
	b.do(chromedp.KeyEvent(kb.Tab+kb.Tab+kb.Tab+kb.Tab+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#detail")))
	b.shows("#name", "orders")
	if focus := b.eval(`document.activeElement.id`); focus != "detail" {
		t.Errorf("%s has the focus", focus)
	}
	b.shows("#holders summary", "12 ×", "debugpage.leak", "longest", orders.Name()+"-")
	b.do(chromedp.Click(chromedp.CSS("#holders summary")))
	b.shows("#holders pre", "page_test.go:")
	b.shows("#events", "leaked", "opened")
	if times := b.eval(`[...document.querySelectorAll("#events time")].every((e) => /^\d\d:\d\d:\d\d$/.test(e.innerText))`); times != "true" {
		t.Errorf("times are not of 24 hours: %s", b.eval(`document.querySelector("#events").innerText`))
	}
	b.shows("#legend", "idle, checked before use", "revoked")
	if columns := b.eval(`new Set([...document.querySelectorAll("#settings > div")].map((e) => e.getBoundingClientRect().left)).size`); columns != "3" {
		t.Errorf("the settings are in %s columns", columns)
	}
	b.shows("#counts", "leases", "12")
	b.shows("#settings", "LeakAfter", "200ms")
	// A stack that is open stays open while the page lives.
	points := b.eval(`document.querySelector("polyline").getAttribute("points")`)
	for end := time.Now().Add(30 * time.Second); points == b.eval(`document.querySelector("polyline").getAttribute("points")`); {
		if time.Now().After(end) {
			t.Fatal("the charts stand still")
		}
	}
	b.shows("#holders details[open]", "page_test.go:")
	b.picture("leak-light")
	for _, c := range held {
		if err := c.Push(); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiter; err != nil {
		t.Error(err)
	}
	b.shows(row("orders"), "0 / 12")

	// The server goes down and comes back.
	mailServer.Open.Always(poolstest.Fail(errors.New("connection <b>refused</b>")))
	if _, err := mail.Pop(t.Context()); !errors.Is(err, pools.ErrOpenFailed) {
		t.Fatal(err)
	}
	b.shows(row("mail"), "opens fail")
	b.do(chromedp.Navigate(b.url+"#mail"), chromedp.WaitVisible(chromedp.CSS("#detail")))
	b.shows("#trouble", "connection <b>refused</b>")
	b.shows("#events", "down")
	b.scheme("dark")
	b.picture("down-dark")
	mailServer.Open.Clear()
	for range 50 { // the server is tried only while somebody asks
		if conn, err := mail.Pop(t.Context()); err == nil {
			_ = conn.Push()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.shows("#events", "up")
	if text := b.eval(`document.querySelector('` + row("mail") + `').innerText`); strings.Contains(text, "opens fail") {
		t.Errorf("the server is up again, and the page says %q", text)
	}

	// Nothing that the program says is markup, and nothing comes from elsewhere.
	b.do(chromedp.Navigate(b.url + "#" + strings.ReplaceAll(`%3Cimg%20src%3Dx%20onerror%3D%22faults.push('markup')%22%3E`, "'", "'")))
	b.shows("#name", nasty)
	if n := b.eval(`document.querySelectorAll("main img").length`); n != "0" {
		t.Errorf("%s images", n)
	}
	if form := b.eval(`document.querySelector("#actions").hidden`); form != "true" {
		t.Error("there are actions, which nobody has allowed")
	}
	hosts := b.eval(`[...new Set(performance.getEntriesByType("resource").map((r) => new URL(r.name).origin))].join()`)
	if !strings.HasPrefix(b.url, hosts+"/") {
		t.Errorf("requests to %s", hosts)
	}

	// A phone: nothing is wider than the screen.
	b.do(chromedp.EmulateViewport(390, 800), chromedp.Navigate(b.url+"#orders"))
	b.shows("#name", "orders")
	b.shows("#counts", "leases")
	if wide := b.eval(`document.documentElement.scrollWidth > innerWidth`); wide != "false" {
		t.Errorf("the page is wider than a phone: %s", b.eval(`document.documentElement.scrollWidth`))
	}
	b.picture("phone-dark")
	b.scheme("light")
	b.picture("phone-light")
	if faults := b.eval(`faults.join("; ")`); faults != "" {
		t.Errorf("faults: %s", faults)
	}
}

// What may be done, is done, by the mouse and by the keyboard alone.
func TestActions(t *testing.T) {
	group := new(pools.Group)
	p, _ := add(t, group, "jobs", pools.Settings{Size: 2})
	b := open(t, group, poolsdebug.Options{AllowActions: true})
	b.shows("#state", "live")
	b.do(chromedp.Navigate(b.url+"#jobs"), chromedp.WaitVisible(chromedp.CSS("#actions")))
	b.shows("#settings", "Size")
	b.eval(`document.querySelector("#actions input").value = "7"; ""`)
	b.do(chromedp.Click(chromedp.CSS(`#actions button[value=resize]`)))
	b.shows("#actions output", "resized")
	b.shows(row("jobs"), "0 / 7")
	b.shows("#events", "configured: Size is 7")
	if p.Settings().Size != 7 {
		t.Errorf("the size is %d", p.Settings().Size)
	}

	// Pause asks; Cancel, Escape and another pool are a no.
	asks := func(open bool) {
		t.Helper()
		b.until(fmt.Sprintf(`document.querySelector("#confirm").open === %v`, open))
	}
	on := func(want bool) {
		t.Helper()
		b.until(fmt.Sprintf(`document.querySelector("#paused").getAttribute("aria-checked") === "%v"`, want))
		if p.Stats().Paused != want {
			t.Errorf("paused: the pool says %v, the switch %v", !want, want)
		}
	}
	// A click at a place would miss what the page, just chosen, still moves.
	press := func(id string) {
		t.Helper()
		b.do(chromedp.WaitVisible(chromedp.CSS(id)))
		b.eval(fmt.Sprintf(`document.querySelector(%q).click(); ""`, id))
	}
	for _, no := range []func(){
		func() { press("#cancel") },
		func() { b.do(chromedp.KeyEvent(kb.Escape)) },
		func() { b.eval(`location.hash = ""; ""`); asks(false); b.eval(`location.hash = "jobs"; ""`) },
	} {
		press("#paused")
		asks(true)
		b.shows("#confirm", "Pause jobs?")
		no()
		asks(false)
		on(false)
	}
	press("#paused")
	asks(true)
	b.picture("confirm")
	press("#pause")
	b.shows(row("jobs"), "paused")
	on(true)
	b.shows("#events", "paused")
	press("#paused") // does not ask
	b.shows("#actions output", "resumed")
	on(false)
	b.shows("#events", "resumed after ")
	asks(false)

	// By the keyboard: from the size, over Resize and Refresh, to the switch.
	b.eval(`document.querySelector("#actions input").focus(); ""`)
	b.do(chromedp.KeyEvent(kb.Tab + kb.Tab + kb.Tab))
	focused := func(id string) {
		t.Helper()
		b.until(fmt.Sprintf(`document.activeElement.id === %q && document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle === "solid"`, id))
	}
	focused("paused")
	b.do(chromedp.KeyEvent(" "))
	asks(true)
	focused("cancel") // so that a key that is pressed twice does nothing
	b.do(chromedp.KeyEvent(kb.Tab))
	focused("pause")
	b.picture("confirm-keyboard")
	b.do(chromedp.KeyEvent(kb.Enter))
	asks(false)
	on(true)
	focused("paused")
	b.do(chromedp.KeyEvent(kb.Enter))
	on(false)

	// What others do shows too.
	p.Pause()
	on(true)
	p.Resume()
	on(false)

	b.eval(`document.querySelector("#actions input").value = "99999999"; ""`)
	b.do(chromedp.Click(chromedp.CSS(`#actions button[value=resize]`)))
	b.shows("#actions output", "Settings.Size")
	b.picture("actions")
	if faults := b.eval(`faults.join("; ")`); faults != "" {
		t.Errorf("faults: %s", faults)
	}
}

// recorded is a page whose stream has the past of a pool: points at these
// seconds before now, of which the last but one has the most of everything.
func recorded(page http.Handler, name string, now time.Time, seconds int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/live") || r.URL.Query().Get("pool") == "" {
			page.ServeHTTP(w, r)
			return
		}
		var past []map[string]any
		for s := seconds; s >= 0; s-- {
			n := 1
			if s == 1 {
				n = 1234567
			}
			past = append(past, map[string]any{
				"at": now.UnixMilli() - int64(s)*1000, "rate": n, "held": n, "waiting": 0, "waits": n,
				"wait50_ns": 1000, "wait99_ns": n * 1000, "use50_ns": 1000, "use99_ns": n * 1000,
			})
		}
		w.Header().Set("Content-Type", "text/event-stream")
		data, _ := json.Marshal(past)
		fmt.Fprintf(w, "event: past\ndata: %s\n\n", data)
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		<-r.Context().Done()
	})
}

// A chart fills its box whatever the time that it shows, has its largest value
// beside it and the minutes below it, and times do not touch.
func TestCharts(t *testing.T) {
	group := new(pools.Group)
	add(t, group, "db", pools.Settings{Size: 2})
	page := poolsdebug.New(group, poolsdebug.Options{})
	now := time.Date(2026, 3, 4, 17, 5, 40, 0, time.UTC)
	for _, c := range []struct {
		seconds, width int
		times          string
	}{
		{299, 1200, "17:01 17:02 17:03 17:04 17:05"},
		{299, 390, "17:01 17:02 17:03 17:04 17:05"},
		{299, 1100, "17:02 17:04"},
		{120, 1200, "17:04 17:05"},
		{40, 1200, "17:05:00 17:05:15 17:05:30"},
	} {
		b := visit(t, recorded(page, "db", now, c.seconds))
		b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			if _, err := cdp.Call(ctx, t, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"}); err != nil {
				return err
			}
			_, err := cdp.Call(ctx, t, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: "en-US"})
			return err
		}), chromedp.EmulateViewport(int64(c.width), 900), chromedp.Navigate(b.url+"#db"))
		b.shows("#charts .most", "1.23M")
		if times := b.eval(`[...document.querySelector(".axis").children].map((e) => e.innerText).join(" ")`); times != c.times {
			t.Errorf("%d s, %d px wide: the times are %s, want %s", c.seconds, c.width, times, c.times)
		}
		if n := b.eval(`document.querySelectorAll("figure").length`); n != "4" {
			t.Errorf("%s charts", n)
		}
		for what, expression := range map[string]string{
			"a line does not fill its box":             `charts.filter((f) => { const b = box(f.querySelector("svg")), l = box(f.querySelector("polyline")); return Math.abs(b.left - l.left) > 1 || Math.abs(b.right - l.right) > 1; })`,
			"a largest value is not its line's height": `charts.filter((f) => { const m = box(f.querySelector(".most")); return Math.abs((m.top + m.bottom) / 2 - Math.min(...[...f.querySelectorAll("polyline")].map((l) => box(l).top))) > 2; })`,
			"a largest value is in the picture":        `charts.filter((f) => box(f.querySelector(".most")).right > box(f.querySelector("svg")).left)`,
			"a chart is cut off":                       `charts.filter((f) => box(f.querySelector(".most")).left < box(f).left || box(f.querySelector("svg")).right > box(f).right + 1)`,
			"times touch":                              `charts.filter((f) => [...f.querySelectorAll(".axis span")].some((e, i, all) => i && box(e).left < box(all[i - 1]).right + 3))`,
			"a time is beside the right edge":          `charts.filter((f) => [...f.querySelectorAll(".axis span")].some((e) => box(e).right > box(f).right + 1))`,
			"pictures in a row are not level":          `charts.filter((f) => charts.some((g) => box(g).top === box(f).top && Math.abs(box(f.querySelector("svg")).top - box(g.querySelector("svg")).top) > 1))`,
		} {
			if n := b.eval(`(() => { const box = (e) => e.getBoundingClientRect(), charts = [...document.querySelectorAll("figure")]; return ` + expression + `.length; })()`); n != "0" {
				t.Errorf("%d s, %d px wide: %s, %s times", c.seconds, c.width, what, n)
			}
		}
		b.picture(fmt.Sprintf("charts-%d-%d", c.seconds, c.width))
	}
}

// A page that gets no stream says why, and gets it when it can be had.
func TestRefusedStream(t *testing.T) {
	group := new(pools.Group)
	add(t, group, "db", pools.Settings{Size: 2})
	page, mended := poolsdebug.New(group, poolsdebug.Options{}), new(atomic.Bool)
	b := visit(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mended.Load() {
			w = struct{ http.ResponseWriter }{w} // a middleware that hides Flush
		}
		page.ServeHTTP(w, r)
	}))
	b.shows("#state", "not connected", "live needs Flush")
	mended.Store(true)
	b.shows("#state", "live: 1 pool")
	if lost := b.eval(`document.querySelector("#state").className`); lost != "" {
		t.Errorf("it is live and %s", lost)
	}
}

// Who reads a stack is left alone while others come and go and the order
// changes: what is selected, scrolled, open and has the focus stays so.
func TestHoldersStay(t *testing.T) {
	group := new(pools.Group)
	p, _ := add(t, group, "db", pools.Settings{Size: 8, TrackHolders: true})
	b := open(t, group, poolsdebug.Options{})
	b.do(chromedp.Navigate(b.url+"#db"), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error { // or no element gets focusin
		_, err := cdp.Call(ctx, t, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	b.shows("#holders", "nobody")
	push := func(all ...conn) {
		for _, c := range all {
			if err := c.Push(); err != nil {
				t.Error(err)
			}
		}
	}
	rests := func(when string) {
		t.Helper()
		before := b.eval(`document.querySelector("#holders").innerText`)
		for end, since := time.Now().Add(30*time.Second), time.Now(); time.Since(since) < 2500*time.Millisecond || before == b.eval(`document.querySelector("#holders").innerText`); {
			if time.Now().After(end) {
				t.Fatal("the holders stand still")
			}
		}
		if now := b.eval(`[selected === getSelection().toString(), read.open, read.querySelector("pre").scrollLeft, document.activeElement === read.querySelector("summary"), focused]`); now != "true,true,50,true,1" {
			t.Errorf("%s: selected, open, scrolled, focused, how often: %s", when, now)
		}
	}
	var first, second conn
	for turn := range 2 { // by one line, which is one stack
		c := leak(t, p)
		if turn == 0 {
			first, second = c, leak(t, p)
			b.do(chromedp.WaitVisible(chromedp.CSS("#holders details + details")))
			b.eval(`window.read = document.querySelector("#holders details"); window.focused = 0; read.open = true; read.querySelector("pre").style.width = "100px"; read.querySelector("pre").scrollLeft = 50; addEventListener("focusin", () => focused++); read.querySelector("summary").focus(); getSelection().selectAllChildren(read.querySelector("pre")); window.selected = getSelection().toString(); ""`)
			if selected := b.eval(`selected`); !strings.Contains(selected, "page_test.go:") {
				t.Fatalf("%q is selected", selected)
			}
			rests("alone")
			continue
		}
		third := leak(t, p)
		push(first) // the second stack has held longest now
		b.do(chromedp.WaitVisible(chromedp.CSS("#holders details:nth-of-type(3)")))
		for end := time.Now().Add(10 * time.Second); b.eval(`[...document.querySelectorAll("#holders details")].indexOf(read)`) != "1"; {
			if time.Now().After(end) {
				t.Fatalf("the order is that of before: %s", b.eval(`document.querySelector("#holders").innerText`))
			}
		}
		rests("in another order")
		push(second, third)
		b.shows("#holders", "1 ×")
		rests("alone again")
		if n := b.eval(`document.querySelectorAll("#holders details").length`); n != "1" {
			t.Errorf("%s stacks are shown, one holds", n)
		}
		push(c)
	}
	b.shows("#holders", "nobody")
	if faults := b.eval(`faults.join("; ")`); faults != "" {
		t.Errorf("faults: %s", faults)
	}
}

// 200 pools of 100 slots stay smooth: the script needs little of each second,
// and frames keep coming.
func TestManyPools(t *testing.T) {
	group := new(pools.Group)
	for i := range 200 {
		p, _ := add(t, group, fmt.Sprintf("shard-%03d", i), pools.Settings{Size: 100})
		for range 30 + i%60 {
			c := leak(t, p)
			t.Cleanup(func() { _ = c.Push() })
		}
	}
	b := open(t, group, poolsdebug.Options{})
	b.shows("#state", "live: 200 pools")
	b.shows(row("shard-199"), "49 / 100")
	b.eval(`window.frames_ = []; { let last = performance.now(); const step = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(step); }; requestAnimationFrame(step); }; ""`)
	for end := time.Now().Add(20 * time.Second); ; {
		if n := b.eval(`frames_.reduce((a, b) => a + b, 0) > 4000`); n == "true" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no frames come")
		}
	}
	t.Logf("frames: %s", b.eval(`frames_.length + " in " + Math.round(frames_.reduce((a, b) => a + b, 0)) + " ms, the longest " + Math.round(Math.max(...frames_)) + " ms"`))
	// One in a hundred may be the machine's, which others use too.
	if smooth := b.eval(`frames_.filter((ms) => ms > 250).length <= frames_.length / 100`); smooth != "true" {
		t.Error("more than one frame in a hundred took longer than 250 ms")
	}
	b.picture("many")
}
