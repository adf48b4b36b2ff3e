package poolsdebug

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/utopia-go/pools"
)

const (
	interval = time.Second
	kept     = 300 // points of each pool: five minutes
	most     = 100 // pages that may be live at once, see makeRoom
	linger   = 10  // ticks without anybody who watches, so that a reload still finds the past
)

// hub takes the snapshots that all who watch share. It does so only while
// somebody watches, and a little longer.
type hub struct {
	group *pools.Group

	mu       sync.Mutex // never held while pools are looked at: pages come and go meanwhile
	running  bool
	lonely   int       // ticks without anybody
	watchers []watcher // in the order in which they came
	newest   []byte    // snapshot
	past     map[string][]point
}

// watcher is one open page.
type watcher struct {
	c      chan []byte // closed if the page has to make room
	client string
}

// client returns whose page a request is for: the address that it comes from,
// or the /64 network of an IPv6 address, because one machine may use all of it.
func client(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := from.Addr().Unmap().WithZone("")
	if address.Is6() {
		return netip.PrefixFrom(address, 64).Masked().String()
	}
	return address.String()
}

// watch returns a channel of snapshots, as JSON, or nil if too many watch. A
// slow watcher misses some. It takes no snapshot itself, so the time between two
// is the same for all watchers.
func (h *hub) watch(client string) (snapshots <-chan []byte, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == most && !h.makeRoom(client) {
		return nil, nil
	}
	c := make(chan []byte, 1)
	h.watchers = append(h.watchers, watcher{c, client})
	if !h.running {
		h.running = true
		go h.run()
	}
	if h.newest != nil {
		c <- h.newest // at once
	}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.watchers = slices.DeleteFunc(h.watchers, func(w watcher) bool { return w.c == c })
	}
}

// makeRoom ends the newest page of the client that has most, unless the new
// page's client would then have as many: no client can keep all others out, and
// two cannot evict each other in turns. Under the lock.
func (h *hub) makeRoom(client string) bool {
	pages := make(map[string]int)
	for _, w := range h.watchers {
		pages[w.client]++
	}
	newest := 0 // page of the client that has most
	for i, w := range h.watchers {
		if pages[w.client] >= pages[h.watchers[newest].client] {
			newest = i
		}
	}
	greedy := h.watchers[newest]
	if pages[greedy.client] < pages[client]+2 {
		return false
	}
	close(greedy.c)
	h.watchers = slices.Delete(h.watchers, newest, newest+1)
	return true
}

func (h *hub) run() {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for before := map[string]last(nil); h.goesOn(); <-ticker.C {
		before = h.tick(before)
	}
}

func (h *hub) goesOn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) > 0 {
		h.lonely = 0
	} else if h.lonely++; h.lonely > linger {
		h.running, h.lonely, h.newest, h.past = false, 0, nil, nil
	}
	return h.running
}

// tick looks at each pool and sends what it sees. It returns what the pools
// are now, for the next tick.
func (h *hub) tick(before map[string]last) (now map[string]last) {
	at, errs := time.Now(), ask()
	now = make(map[string]last, len(before))
	all := []brief{}
	for name, p := range h.group.All() {
		b, seen := look(p, before[name], at, errs)
		now[name] = seen
		all = append(all, b)
	}
	snapshot, err := json.Marshal(all)
	if err != nil {
		panic(err) // numbers and strings
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	past := make(map[string][]point, len(all)) // of those that are there
	for _, b := range all {
		points := h.past[b.Name]
		if b.Since == b.Point.At {
			points = nil // another pool had the name
		}
		points = append(points, b.Point)
		past[b.Name] = slices.Delete(points, 0, max(len(points)-kept, 0))
	}
	h.newest, h.past = snapshot, past
	for _, w := range h.watchers {
		select {
		case w.c <- snapshot:
		default:
		}
	}
	return now
}

// pastOf returns the points of a pool.
func (h *hub) pastOf(name string) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.past[name])
}
