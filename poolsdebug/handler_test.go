package poolsdebug

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

type resource = *poolstest.Resource

// group is pools of these names.
func group(t *testing.T, settings pools.Settings, names ...string) (*pools.Group, []*pools.Pool[resource], *poolstest.Server) {
	g, server := new(pools.Group), poolstest.NewServer(t, 0)
	var all []*pools.Pool[resource]
	for _, name := range names {
		p, err := pools.New(name, server.Connector(), settings)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		if err := g.Add(p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return g, all, server
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func post(h http.Handler, form url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/debug/pools/action", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhatIsServed(t *testing.T) {
	g, _, _ := group(t, pools.Settings{Size: 2}, "db", "mail")
	h := New(g, Options{})
	browser := []string{"Accept", "text/html,*/*"}
	for path, want := range map[string]struct {
		status   int
		kind     string
		contains string
	}{
		"/debug/pools/":               {200, "text/html", "<table"},
		"/":                           {200, "text/html", "<table"},
		"/debug/pools/script.js":      {200, "text/javascript", "EventSource"},
		"/debug/pools/style.css":      {200, "text/css", "prefers-color-scheme"},
		"/debug/pools/icon.svg":       {200, "image/svg+xml", "<svg"},
		"/debug/pools/json":           {200, "application/json", `"name": "mail"`},
		"/debug/pools/json?pool=db":   {200, "application/json", `"name": "db"`},
		"/debug/pools/text":           {200, "text/plain", "mail"},
		"/debug/pools/text?pool=nope": {404, "text/plain", "no pool nope"},
		"/debug/pools/json?pool=nope": {404, "text/plain", "no pool nope"},
		"/debug/pools/page":           {404, "text/plain", "there is no page"},
	} {
		w := get(h, path, browser...)
		if w.Code != want.status || !strings.HasPrefix(w.Header().Get("Content-Type"), want.kind) || !strings.Contains(w.Body.String(), want.contains) {
			t.Errorf("%s: %d, %s: %s", path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	if w := get(h, "/debug/pools/json?pool=db", browser...); strings.Contains(w.Body.String(), "mail") {
		t.Errorf("db and more: %s", w.Body)
	}
	if w := get(h, "/debug/pools/"); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("who does not ask for HTML gets %s", w.Header().Get("Content-Type"))
	}
	r, w := httptest.NewRequest(http.MethodDelete, "http://localhost/debug/pools/", nil), httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("DELETE: %d", w.Code)
	}
}

// All that a browser needs comes from here, and no script or style is inside
// the page, which the policy would forbid.
func TestPageIsWhole(t *testing.T) {
	html, err := page.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<style", "style=", "onclick", "://", "<script>"} {
		if strings.Contains(string(html), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	script, err := page.ReadFile("page/script.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "import "} {
		if strings.Contains(string(script), bad) {
			t.Errorf("the script has %q", bad)
		}
	}
}

func TestActionsAreForWhoMay(t *testing.T) {
	g, all, _ := group(t, pools.Settings{Size: 2}, "db")
	p := all[0]
	resize := url.Values{"pool": {"db"}, "do": {"resize"}, "size": {"5"}}
	if w := post(New(g, Options{}), resize); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "AllowActions") || p.Settings().Size != 2 {
		t.Errorf("a page that only shows: %d %s", w.Code, w.Body)
	}
	h := New(g, Options{AllowActions: true})
	for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil"}} {
		if w := post(h, resize, from...); w.Code != http.StatusForbidden || p.Settings().Size != 2 {
			t.Errorf("from another site, %v: %d %s", from, w.Code, w.Body)
		}
	}
	if w := get(h, "/debug/pools/action?pool=db&do=pause"); w.Code != http.StatusMethodNotAllowed || p.Stats().Paused {
		t.Errorf("GET: %d", w.Code)
	}
	for _, from := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://localhost"}, {}} {
		if err := p.Configure(func(s *pools.Settings) { s.Size = 2 }); err != nil {
			t.Fatal(err)
		}
		if w := post(h, resize, from...); w.Code != http.StatusNoContent || p.Settings().Size != 5 {
			t.Errorf("%v: %d %s", from, w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		form url.Values
		code int
		says string
	}{
		{url.Values{"pool": {"db"}, "do": {"resize"}, "size": {"many"}}, 400, "whole number"},
		{url.Values{"pool": {"db"}, "do": {"resize"}, "size": {"-3"}}, 400, "Settings.Size: is -3"},
		{url.Values{"pool": {"db"}, "do": {"drop\x1b[2J"}}, 400, `"drop\x1b[2J"`},
		{url.Values{"pool": {"nope"}, "do": {"pause"}}, 404, "no pool nope"},
		{url.Values{}, 404, `no pool ""`},
	} {
		if w := post(h, c.form); w.Code != c.code || !strings.Contains(w.Body.String(), c.says) || p.Settings().Size != 5 {
			t.Errorf("%v: %d %s", c.form, w.Code, w.Body)
		}
	}
	if w := post(h, url.Values{"pool": {"db"}, "do": {"pause"}}); w.Code != http.StatusNoContent || !p.Stats().Paused {
		t.Errorf("pause: %d %s", w.Code, w.Body)
	}
	if w := post(h, url.Values{"pool": {"db"}, "do": {"resume"}}); w.Code != http.StatusNoContent || p.Stats().Paused {
		t.Errorf("resume: %d %s", w.Code, w.Body)
	}
	if err := p.Fill(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if w := post(h, url.Values{"pool": {"db"}, "do": {"refresh"}}); w.Code != http.StatusNoContent {
		t.Errorf("refresh: %d %s", w.Code, w.Body)
	}
	for end := time.Now().Add(10 * time.Second); p.Stats().ClosedBy[pools.ReasonRefresh] == 0; {
		if time.Now().After(end) {
			t.Fatal("nothing is refreshed")
		}
	}
}

// What cannot be done with a closed pool is not said to be done.
func TestActionsOfAClosedPool(t *testing.T) {
	g, all, _ := group(t, pools.Settings{Size: 1}, "db")
	h := New(g, Options{AllowActions: true})
	if err := all[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, do := range []string{"resize", "pause", "resume", "refresh"} {
		if w := post(h, url.Values{"pool": {"db"}, "do": {do}, "size": {"2"}}); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "the pool db is closed") {
			t.Errorf("%s: %d %s", do, w.Code, w.Body)
		}
	}
}

// What a program calls its pools, and what errors say, does not command a
// terminal or pass for another line.
func TestTextIsClean(t *testing.T) {
	name := "db\x1b[31m\nmail  99"
	g, all, server := group(t, pools.Settings{Size: 2, TrackHolders: true, ReconnectAttempts: 1}, name)
	server.Open.Next(poolstest.Fail(errors.New("refused\r\x07")))
	if _, err := all[0].Pop(t.Context()); err == nil {
		t.Fatal("popped")
	}
	held, err := pools.Get[resource](g, name)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		conn, err := held.Pop(t.Context())
		if err == nil {
			defer func() { _ = conn.Push() }()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	body := get(New(g, Options{}), "/debug/pools/text").Body.String()
	if strings.ContainsAny(body, "\x1b\r\x07") || !strings.Contains(body, `"db\x1b[31m\nmail  99"`) || !strings.Contains(body, "TestTextIsClean") ||
		!strings.Contains(body, "1 held, the longest for ") || !strings.Contains(body, "open failed") {
		t.Errorf("%q", body)
	}
	var read []struct {
		Name  string
		Stats pools.Stats
	}
	if err := json.Unmarshal(get(New(g, Options{}), "/debug/pools/json").Body.Bytes(), &read); err != nil || read[0].Name != name || read[0].Stats.Held != 1 {
		t.Errorf("%v %+v", err, read)
	}
}

// frames reads server-sent events.
func frames(t *testing.T, body io.Reader) func(event string, into any) {
	lines := bufio.NewReader(body)
	return func(event string, into any) {
		t.Helper()
		for {
			kind, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			data, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(kind) == "event: "+event {
				if err := json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), into); err != nil {
					t.Fatalf("%s: %v", data, err)
				}
				return
			}
		}
	}
}

// Over a real connection: the list, the chosen pool, the past, and an end.
func TestLive(t *testing.T) {
	g, all, _ := group(t, pools.Settings{Size: 3}, "db", "mail")
	server := httptest.NewServer(New(g, Options{AllowActions: true}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/live?pool=db", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatal(kind)
	}
	next := frames(t, answer.Body)
	var hello struct{ Actions bool }
	if next("hello", &hello); !hello.Actions {
		t.Error("it may act")
	}
	var past []point
	next("past", &past)
	conn, err := all[0].Pop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Push() }()
	for {
		var list []brief
		var one detail
		next("pools", &list)
		next("pool", &one)
		if len(list) != 2 || one.Name != "db" {
			t.Fatalf("%+v %+v", list, one)
		}
		if list[0].Held == 1 && one.Stats.Held == 1 && strings.HasPrefix(list[0].Slots, "h") && len(list[0].Slots) == 3 {
			return
		}
	}
}

// Snapshots are taken while somebody watches, and a little longer.
func TestHubRestsWhenNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, _ := group(t, pools.Settings{Size: 2}, "db")
		h := &hub{group: g}
		first, stop := h.watch("")
		_, stopSlow := h.watch("") // reads nothing, and holds up nobody
		for i := range 10 {
			var list []brief
			if err := json.Unmarshal(<-first, &list); err != nil || len(list) != 1 || list[0].Name != "db" {
				t.Fatalf("%v %+v", err, list)
			}
			if i > 1 && (list[0].Point.Rate != 2 || list[0].Point.Use50 < int64(95*time.Millisecond) || list[0].Point.Use50 > int64(105*time.Millisecond)) {
				t.Errorf("%d: %+v", i, list[0].Point)
			}
			for range 2 { // two uses a second, of 100 ms
				if err := all[0].Use(t.Context(), func(resource) error { time.Sleep(100 * time.Millisecond); return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		stopSlow()
		time.Sleep(linger * interval / 2)
		second, stop := h.watch("") // a reload
		<-second
		if n := len(h.pastOf("db")); n < 14 || n > 16 {
			t.Errorf("%d points are left after a reload", n)
		}
		stop()
		time.Sleep((linger + 2) * interval)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.running || h.past != nil {
			t.Error("nobody watches, and it goes on")
		}
	})
}

// Five minutes are kept, of pools that are there.
func TestHubForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := group(t, pools.Settings{Size: 2}, "db", "mail")
		h := &hub{group: g}
		_, stop := h.watch("")
		time.Sleep(10 * time.Minute)
		g.Remove("mail")
		time.Sleep(2 * interval)
		if db, mail := len(h.pastOf("db")), len(h.pastOf("mail")); db != kept || mail != 0 {
			t.Errorf("%d and %d points", db, mail)
		}
		stop()
		time.Sleep(time.Minute)
	})
}

func TestAges(t *testing.T) {
	for d, want := range map[time.Duration]byte{
		0: '0', time.Second - 1: '0', time.Second: '1', 10 * time.Second: '2', 59 * time.Second: '2', time.Minute: '3', time.Hour - 1: '4', time.Hour: '5', 100 * time.Hour: '5',
	} {
		if got := age(d); got != want {
			t.Errorf("%v is %c, want %c", d, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	for stack, want := range map[string]string{
		"": "",
		"database/sql.(*DB).QueryContext\n\t/src/sql.go:1\nexample.org/shop/db.load\n\t/src/shop/store.go:78\n":                                                    "db.load store.go:78", // of sqlpools
		"github.com/utopia-go/pools.(*Pool[...]).Pop\n\t/src/pool.go:1\nexample.org/shop/db.(*Store).Save\n\t/src/shop/store.go:77\nmain.main\n\t/src/main.go:9\n": "db.(*Store).Save store.go:77",
		"github.com/utopia-go/pools.(*Pool[...]).Pop\n\t/src/pool.go:1\n":                                                                                          "",
	} {
		if got := place(stack); got != want {
			t.Errorf("%q: %q, want %q", stack, got, want)
		}
	}
}

// refusal is an error whose text cannot be had.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// An error that panics when it is written does not take the page along, and
// with it the program.
func TestErrorThatPanics(t *testing.T) {
	g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1}, "db")
	server.Open.Next(func(context.Context) error { return (*refusal)(nil) })
	if _, err := all[0].Pop(t.Context()); err == nil {
		t.Fatal("popped")
	}
	for _, path := range []string{"/json", "/text"} {
		if w := get(New(g, Options{}), path); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	h := &hub{group: g}
	snapshots, stop := h.watch("")
	<-snapshots
	stop()
}

// bare hides all that a ResponseWriter can do but what it must, as middleware
// may; wrapped does so and says what it hides.
type (
	bare    struct{ http.ResponseWriter }
	wrapped struct{ bare }
)

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A stream that cannot be flushed does not begin: its page would be told
// nothing, and reconnect for ever.
func TestLiveNeedsFlush(t *testing.T) {
	g, _, _ := group(t, pools.Settings{Size: 1}, "db")
	h := New(g, Options{})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := httptest.NewRecorder()
		h.ServeHTTP(wrapped{bare{bare{w}}}, httptest.NewRequest(method, "http://localhost/live", nil))
		if w.Code != http.StatusNotImplemented || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.Contains(w.Body.String(), "Unwrap") {
			t.Errorf("%s: %d %s: %s", method, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(wrapped{bare{w}}, httptest.NewRequest(http.MethodGet, "http://localhost/live", nil).WithContext(ctx))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), "event: hello") {
		t.Errorf("it can be unwrapped: %d %s", w.Code, w.Body)
	}
}

// Mounted in any way, and asked in any way.
func TestMounts(t *testing.T) {
	g, _, _ := group(t, pools.Settings{Size: 1}, "db")
	server := httptest.NewServer(http.StripPrefix("/x/", New(g, Options{})))
	defer server.Close()
	client := &http.Client{Timeout: 10 * time.Second}
	for _, path := range []string{"/x/", "/x/json"} {
		answer, err := client.Get(server.URL + path)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %v", path, answer, err)
		}
		answer.Body.Close()
	}
	answer, err := client.Head(server.URL + "/x/live")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer, err = client.Get(server.URL + "/x/text") // on the same connection
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
}

// A pool that takes another's name does not begin with its past.
func TestAnotherPoolOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, old, _ := group(t, pools.Settings{Size: 1}, "db")
		_, next, _ := group(t, pools.Settings{Size: 1}, "db")
		h := &hub{group: g}
		snapshots, stop := h.watch("")
		<-snapshots
		hold := func(p *pools.Pool[resource], n int) {
			for range n {
				if err := p.Use(t.Context(), func(resource) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		hold(old[0], 3)
		hold(next[0], 100)
		<-snapshots
		g.Remove("db")
		if err := g.Add(next[0]); err != nil {
			t.Fatal(err)
		}
		var list []brief
		if err := json.Unmarshal(<-snapshots, &list); err != nil || list[0].Point.Rate != 0 || list[0].Point.Waits != 0 {
			t.Errorf("%v %+v", err, list)
		}
		if past := h.pastOf("db"); len(past) != 1 || past[0] != list[0].Point || list[0].Since != past[0].At {
			t.Errorf("its chart begins with %+v, it is there since %d", past, list[0].Since)
		}
		<-snapshots
		if past := h.pastOf("db"); len(past) != 2 {
			t.Errorf("its chart is %+v after two seconds", past)
		}
		stop()
		time.Sleep(time.Minute)
	})
}

// After Size was lowered there are no more cells than slots.
func TestCellsOfASmallerPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all, _ := group(t, pools.Settings{Size: 10}, "db")
		p := all[0]
		held := make(map[string]pools.Conn[resource])
		for range 10 {
			conn, err := p.Pop(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held[conn.ID()] = conn
		}
		// giveBack gives back what is in the slots before.
		giveBack := func(before int) {
			for c := range p.Connections() {
				if conn, there := held[c.ID]; there && c.Slot < before {
					delete(held, c.ID)
					if err := conn.Push(); err != nil {
						t.Error(err)
					}
				}
			}
		}
		for _, step := range []struct {
			size, before int
			slots, ages  string
		}{
			{10, 0, "hhhhhhhhhh", "2222222222"},
			{3, 0, "hhhhhhhhhh", "2222222222"},
			{3, 5, "hhhhh", "22222"},
			{3, 8, "ihh", "222"},
			{1, 9, "h", "2"},
		} {
			if err := p.Configure(func(s *pools.Settings) { s.Size = step.size }); err != nil {
				t.Fatal(err)
			}
			giveBack(step.before)
			time.Sleep(11 * time.Second)
			if b, _ := look(p, last{}, time.Now(), ask()); b.Slots != step.slots || b.Ages != step.ages {
				t.Errorf("size %d: %q %q, want %q %q", step.size, b.Slots, b.Ages, step.slots, step.ages)
			}
		}
		giveBack(10)
	})
}

// A request for a name that nobody has allowed may come from a foreign site that
// has pointed the name here.
func TestHosts(t *testing.T) {
	g, all, _ := group(t, pools.Settings{Size: 1}, "db")
	ask := func(h http.Handler, method, path, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader("pool=db&do=pause"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		hosts []string
		host  string
		may   bool
	}{
		{nil, "127.0.0.1:6060", true},
		{nil, "10.1.2.3", true},
		{nil, "[::1]:6060", true},
		{nil, "[::1]", true},
		{nil, "localhost:6060", true},
		{nil, "LOCALHOST", true},
		{nil, "", true}, // no browser
		{nil, "evil.example:6060", false},
		{nil, "localhost.evil.example", false},
		{nil, "127.0.0.1.evil.example", false},
		{nil, "evil.example#@localhost", false},
		{nil, "\x1b[2J", false},
		{[]string{"debug.example.com", "Other.example.com:6060"}, "debug.example.com", true},
		{[]string{"debug.example.com"}, "Debug.Example.Com.:80", true},
		{[]string{"Other.example.com:6060"}, "other.example.com:80", true},
		{[]string{"debug.example.com"}, "127.0.0.1", true},
		{[]string{"debug.example.com"}, "example.com", false},
		{[]string{"debug.example.com"}, "x.debug.example.com", false},
		{[]string{"*"}, "evil.example", true},
	} {
		h := New(g, Options{AllowActions: true, Hosts: c.hosts})
		for _, path := range []string{"/", "/json", "/text", "/script.js"} {
			w := ask(h, http.MethodGet, path, c.host)
			if (w.Code == http.StatusOK) != c.may {
				t.Errorf("%v: %s of %q: %d", c.hosts, path, c.host, w.Code)
			}
			if !c.may && (w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Options.Hosts") || strings.Contains(w.Body.String(), "\x1b")) {
				t.Errorf("%v: %s of %q: %d %q", c.hosts, path, c.host, w.Code, w.Body)
			}
		}
		ask(h, http.MethodPost, "/action", c.host)
		if paused := all[0].Stats().Paused; paused != c.may {
			t.Errorf("%v: an action of %q: paused %v", c.hosts, c.host, paused)
		}
		all[0].Resume()
	}
}

// Over HTTP a client that has all the pages loses one to another client, and is
// told so by the end of its stream.
func TestPagesAreSharedFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := group(t, pools.Settings{Size: 1}, "db")
		h := New(g, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		live := func(address string) (ended chan int) {
			ended = make(chan int, 1)
			r := httptest.NewRequest(http.MethodGet, "http://localhost/live", nil).WithContext(ctx)
			r.RemoteAddr = address
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				ended <- w.Code
			}()
			synctest.Wait()
			return ended
		}
		var newest chan int
		for range most {
			newest = live("192.0.2.1:1")
		}
		if len(newest) != 0 {
			t.Fatal("a page is refused too early")
		}
		if refused := live("192.0.2.1:2"); len(refused) != 1 || <-refused != http.StatusServiceUnavailable {
			t.Error("there is no bound")
		}
		if guest := live("192.0.2.2:1"); len(guest) != 0 || len(newest) != 1 {
			t.Errorf("another client is refused: %d, the newest page has ended: %d", len(guest), len(newest))
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

// What operators did is among the events, in words, and an action of the page
// is one event.
func TestEventsOfOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, _ := group(t, pools.Settings{Size: 4}, "db")
		h, p := New(g, Options{AllowActions: true}), all[0]
		held := make([]pools.Conn[resource], 3)
		for i := range held {
			var err error
			if held[i], err = p.Pop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, form := range []url.Values{
			{"do": {"pause"}}, {"do": {"resume"}}, {"do": {"resize"}, "size": {"7"}}, {"do": {"refresh"}},
		} {
			form.Set("pool", "db")
			if w := post(h, form); w.Code != http.StatusNoContent {
				t.Fatal(form, w.Code, w.Body)
			}
			synctest.Wait()
			time.Sleep(12 * time.Second)
		}
		p.Revoke(held[0].ID())
		p.RevokeAll()
		var said []string
		var read []detail
		if err := json.Unmarshal(get(h, "/json").Body.Bytes(), &read); err != nil {
			t.Fatal(err)
		}
		for _, e := range read[0].Events {
			if e.Kind != string(pools.EventOpened) {
				said = append(said, e.Text)
			}
		}
		slices.Reverse(said)
		want := []string{"paused", "resumed after 12s", "configured: Size is 7", "refresh: 3 connections to replace", "revoked " + held[0].ID(), "revoked 2 leases"}
		if !slices.Equal(said, want) {
			t.Errorf("%q, want %q", said, want)
		}
		if text := get(h, "/text").Body.String(); !strings.Contains(text, "  configured: Size is 7\n") {
			t.Errorf("the text lacks them: %s", text)
		}
		for _, conn := range held {
			_ = conn.Push()
		}
	})
}

func TestSettingsAreWritten(t *testing.T) {
	got := settings(pools.Settings{Size: 2, IdleTimeout: 90 * time.Second, CheckAfter: pools.Always, MaxUses: pools.NoLimit, MaxWaiting: pools.NoQueue, LeakAfter: pools.Never, Strict: true})
	for name, want := range map[string]any{
		"Size": 2, "IdleTimeout": "1m30s", "CheckAfter": "Always", "MaxUses": "NoLimit", "MaxWaiting": "NoQueue", "LeakAfter": "Never", "Strict": true, "TrackHolders": false,
		"Logger": nil, "Observer": nil,
	} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
}
