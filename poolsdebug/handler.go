package poolsdebug

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// Options say what the page may do.
type Options struct {
	// AllowActions adds actions to the page: resize, pause, resume and refresh.
	// A request that a browser sends for another site is refused, see
	// [http.CrossOriginProtection] and Hosts. The program decides who may use
	// the page at all. Default: the page only shows.
	AllowActions bool

	// Hosts are the host names under which the page may be requested, without
	// ports: those in its address. IP addresses and localhost always work. Any
	// other name gets 403, because a foreign site can point its own name at this
	// server (DNS rebinding), and its script could then read the page and use
	// its actions. "*" allows every name, for a server that checks names itself.
	// Default: none, only IP addresses and localhost.
	Hosts []string
}

//go:embed page
var page embed.FS

type handler struct {
	group   *pools.Group
	options Options
	hub     *hub
	hosts   map[string]bool
}

// New makes the handler for the pools of a group; pools may be added and
// removed meanwhile. Give it a path that ends in "/", whichever:
//
//	mux.Handle("/debug/pools/", poolsdebug.New(group, poolsdebug.Options{}))
//
// It is safe for any number of goroutines, and has nothing to close: ten
// seconds after the last page was closed it does nothing. An open page is a
// request that does not end: http.Server's Shutdown waits for it until its ctx
// ends, Close does not.
func New(group *pools.Group, options Options) http.Handler {
	h := &handler{group, options, &hub{group: group}, make(map[string]bool)}
	for _, host := range options.Hosts {
		h.hosts[hostname(host)] = true
	}
	return http.NewCrossOriginProtection().Handler(h)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	if !h.mayAsk(r.Host) {
		http.Error(w, fmt.Sprintf("poolsdebug: the host %s is not allowed: add it to Options.Hosts, or use the IP address", clean(hostname(r.Host))), http.StatusForbidden)
		return
	}
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if what == "action" {
		h.action(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "poolsdebug: only GET here", http.StatusMethodNotAllowed)
		return
	}
	switch what {
	case "":
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			h.text(w, r)
			return
		}
		h.asset(w, "index.html", "text/html; charset=utf-8")
	case "script.js":
		h.asset(w, what, "text/javascript; charset=utf-8")
	case "style.css":
		h.asset(w, what, "text/css; charset=utf-8")
	case "icon.svg":
		h.asset(w, what, "image/svg+xml")
	case "json":
		h.json(w, r)
	case "text":
		h.text(w, r)
	case "live":
		h.live(w, r)
	default:
		http.Error(w, "poolsdebug: there is no "+clean(what)+`; there are "", "json", "text" and "live"`, http.StatusNotFound)
	}
}

// mayAsk reports whether a request for this host is answered. Only names can be
// pointed at another server, so addresses may always ask, and localhost, which
// nobody can own. A request without a host is not from a browser.
func (h *handler) mayAsk(host string) bool {
	name := hostname(host)
	_, err := netip.ParseAddr(name)
	return err == nil || name == "localhost" || name == "" || h.hosts[name] || h.hosts["*"]
}

// hostname returns a host without its port, in the form in which hosts are
// compared.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func (h *handler) asset(w http.ResponseWriter, name, kind string) {
	text, err := page.ReadFile("page/" + name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(text)
}

// chosen returns the pools that the request names, or all. It answers itself
// when there is none of that name.
func (h *handler) chosen(w http.ResponseWriter, r *http.Request) (some []pools.AnyPool, ok bool) {
	if name := r.URL.Query().Get("pool"); name != "" {
		p := h.find(name)
		if p == nil {
			http.Error(w, "poolsdebug: there is no pool "+clean(name), http.StatusNotFound)
			return nil, false
		}
		return []pools.AnyPool{p}, true
	}
	for _, p := range h.group.All() {
		some = append(some, p)
	}
	return some, true
}

func (h *handler) json(w http.ResponseWriter, r *http.Request) {
	some, ok := h.chosen(w, r)
	if !ok {
		return
	}
	all, errs := []detail{}, ask()
	for _, p := range some {
		all = append(all, lookInto(p, errs))
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(all)
}

// live sends a snapshot a second as server-sent events: "pools" for the list
// and, for the pool that the request names, "past" once and "pool".
func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	if !flushes(w) {
		http.Error(w, fmt.Sprintf("poolsdebug: live needs Flush, which a middleware hides: give its %T an Unwrap, see http.ResponseController", w), http.StatusNotImplemented)
		return
	}
	name := r.URL.Query().Get("pool")
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	snapshots, stop := h.hub.watch(client(r))
	if snapshots == nil {
		http.Error(w, fmt.Sprintf("poolsdebug: too many pages are open: %d", most), http.StatusServiceUnavailable)
		return
	}
	defer stop()
	send := func(event string, data []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(10 * time.Second)) // a page that hangs does not keep us
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil
	}
	encoded := func(event string, v any) bool {
		data, err := json.Marshal(v)
		return err == nil && send(event, data)
	}
	if !encoded("hello", map[string]any{"actions": h.options.AllowActions}) {
		return
	}
	first := true
	for {
		select {
		case <-r.Context().Done():
			return
		case snapshot, ok := <-snapshots:
			if !ok {
				return // the page had to make room
			}
			if first && name != "" && !encoded("past", h.hub.pastOf(name)) {
				return
			}
			first = false
			if !send("pools", snapshot) {
				return
			}
			if p := h.find(name); p != nil && !encoded("pool", lookInto(p, ask())) {
				return
			}
			if control.Flush() != nil {
				return
			}
		}
	}
}

// flushes reports whether Flush of an [http.ResponseController] finds what it
// needs. To try it would send the header, after which no error can be answered.
func flushes(w http.ResponseWriter) bool {
	for {
		switch v := w.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return false
		}
	}
}

func (h *handler) find(name string) pools.AnyPool {
	for n, p := range h.group.All() {
		if n == name {
			return p
		}
	}
	return nil
}

// text answers with a page for terminals.
func (h *handler) text(w http.ResponseWriter, r *http.Request) {
	some, ok := h.chosen(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var b strings.Builder
	writeText(&b, some)
	_, _ = io.WriteString(w, b.String())
}
