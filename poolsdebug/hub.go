package poolsdebug

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/utopia-go/pools"
)

const (
	interval = time.Second
	kept     = 300 // points of each pool: five minutes
	most     = 100 // pages that may be live at once
	linger   = 10  // ticks without anybody who watches, so that a reload still finds the past
)

// hub takes the snapshots that all who watch share. It does so only while
// somebody watches, and a little longer.
type hub struct {
	group *pools.Group

	mu       sync.Mutex // never held while pools are looked at: pages come and go meanwhile
	running  bool
	lonely   int // ticks without anybody
	watchers map[chan []byte]bool
	newest   []byte // snapshot
	past     map[string][]point
}

// watch returns a channel of snapshots, as JSON, or nil if too many watch. Who
// is slow misses some. It takes none itself: the time since the one before is
// the same for all who watch.
func (h *hub) watch() (snapshots chan []byte, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == most {
		return nil, nil
	}
	c := make(chan []byte, 1)
	h.watchers[c] = true
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
		delete(h.watchers, c)
	}
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
	for c := range h.watchers {
		select {
		case c <- snapshot:
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
