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

	mu       sync.Mutex
	running  bool
	lonely   int // ticks without anybody
	watchers map[chan []byte]bool
	before   map[string]last
	past     map[string][]point
}

// watch returns a channel of snapshots, as JSON, or nil if too many watch. Who
// is slow misses some.
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
		h.before, h.past = make(map[string]last), make(map[string][]point)
		go h.run()
	}
	c <- h.snapshot() // at once
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
	}
}

func (h *hub) run() {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for range ticker.C {
		if !h.tick() {
			return
		}
	}
}

// tick reports whether it is to go on.
func (h *hub) tick() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) > 0 {
		h.lonely = 0
	} else if h.lonely++; h.lonely > linger {
		h.running, h.lonely, h.before, h.past = false, 0, nil, nil
		return false
	}
	snapshot := h.snapshot()
	for c := range h.watchers {
		select {
		case c <- snapshot:
		default:
		}
	}
	return true
}

// snapshot looks at each pool. Under h.mu.
func (h *hub) snapshot() []byte {
	now, errs := time.Now(), ask()
	all := []brief{}
	there := make(map[string]bool)
	for name, p := range h.group.All() {
		before := h.before[name]
		b, seen := look(p, before, now, errs)
		if before.at.IsZero() || now.Sub(before.at) >= interval/2 {
			h.before[name] = seen
			past := append(h.past[name], b.Point)
			h.past[name] = slices.Delete(past, 0, max(len(past)-kept, 0))
		}
		there[name] = true
		all = append(all, b)
	}
	for name := range h.before {
		if !there[name] {
			delete(h.before, name)
			delete(h.past, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // numbers and strings
	}
	return text
}

// pastOf returns the points of a pool.
func (h *hub) pastOf(name string) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.past[name])
}
