package poolsdebug

import (
	"cmp"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// brief is a pool in the list. Short names: there may be hundreds, each second.
type brief struct {
	Name       string `json:"name"`
	Size       int    `json:"size"`
	Slots      string `json:"slots"` // a letter for the state of each slot
	Ages       string `json:"ages"`  // and a digit for how long it has been so
	Held       int    `json:"held"`
	Idle       int    `json:"idle"`
	Opening    int    `json:"opening"`
	Hung       int    `json:"hung"`
	Waiting    int    `json:"waiting"`
	Paused     bool   `json:"paused,omitempty"`
	Down       string `json:"down,omitempty"` // why opens fail
	Leaks      uint64 `json:"leaks"`
	Lost       uint64 `json:"lost"`
	Misused    uint64 `json:"misused"`
	Unfinished uint64 `json:"unfinished"`
	Since      int64  `json:"since"` // when this pool was first seen under its name, in milliseconds since 1970
	Point      point  `json:"point"`
}

// point is a pool in one interval: what the charts are made of.
type point struct {
	At      int64   `json:"at"` // milliseconds since 1970
	Rate    float64 `json:"rate"`
	Held    int     `json:"held"`
	Waiting int     `json:"waiting"`
	Waits   uint64  `json:"waits"`
	Wait50  int64   `json:"wait50_ns"`
	Wait99  int64   `json:"wait99_ns"`
	Use50   int64   `json:"use50_ns"`
	Use99   int64   `json:"use99_ns"`
}

// detail is a pool that somebody looks into.
type detail struct {
	Name     string         `json:"name"`
	Stats    pools.Stats    `json:"stats"`
	Settings map[string]any `json:"settings"`
	Holders  []holders      `json:"holders"`
	More     int            `json:"more"` // holders that are not among these
	Events   []event        `json:"events"`
}

// holders are those who took their connections at the same place.
type holders struct {
	Count   int      `json:"count"`
	Longest int64    `json:"longest_ns"`
	IDs     []string `json:"ids"`   // of some, those that are held longest first
	Place   string   `json:"place"` // the function that took them, and its line
	Stack   string   `json:"stack"`
}

// event is a pools.Event in words.
type event struct {
	At         time.Time `json:"at"`
	Kind       string    `json:"kind"`
	Text       string    `json:"text"` // all but the stack
	ID         string    `json:"id,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Call       string    `json:"call,omitempty"`
	Took       int64     `json:"took_ns,omitempty"`
	Count      int       `json:"count,omitempty"`
	Err        string    `json:"err,omitempty"`
	Stack      string    `json:"stack,omitempty"`
	Suppressed int       `json:"suppressed,omitempty"`
}

// letters are for the states of Connection.State; "." is vacant, "o" opening,
// "!" hung.
var letters = map[string]byte{
	"idle": 'i', "stale": 's', "held": 'h', "revoked": 'v', "returning": 'b',
	"checking": 'c', "resetting": 'r', "closing": 'x',
}

// ages are where the next digit begins.
var ages = []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour}

func age(d time.Duration) byte {
	n, _ := slices.BinarySearch(ages, d+1)
	return byte('0' + n)
}

// last is what a pool was at the snapshot before.
type last struct {
	pool  pools.AnyPool
	stats pools.Stats
	at    time.Time
	since int64
}

// look makes a brief, with a point for the time since the snapshot before.
func look(p pools.AnyPool, before last, now time.Time, errs *asking) (brief, last) {
	st := p.Stats()
	b := brief{
		Name: st.Name, Size: st.Size, Held: st.Held + st.Revoked, Idle: st.Idle + st.Stale,
		Opening: st.Opening, Hung: st.Hung, Waiting: st.Waiting,
		Paused: st.Paused, Down: down(p, st, errs), Leaks: st.Leaks, Lost: st.Lost, Misused: st.Misused, Unfinished: st.Unfinished,
	}
	b.Slots, b.Ages = cells(p, st)
	b.Since, b.Point = now.UnixMilli(), point{At: now.UnixMilli(), Held: b.Held, Waiting: b.Waiting}
	// Another pool may have had the name.
	if seconds := now.Sub(before.at).Seconds(); before.pool == p && seconds > 0 {
		b.Since = before.since
		wait, use := st.Wait.Since(before.stats.Wait), st.Use.Since(before.stats.Use)
		b.Point.Rate = float64(st.Leases-before.stats.Leases) / seconds
		b.Point.Waits = wait.Count
		b.Point.Wait50, b.Point.Wait99 = int64(wait.Quantile(0.5)), int64(wait.Quantile(0.99))
		b.Point.Use50, b.Point.Use99 = int64(use.Quantile(0.5)), int64(use.Quantile(0.99))
	}
	return b, last{p, st, now, b.Since}
}

// cells writes the slots out. Connections have places of their own, until Size
// is lowered: those beyond what there is then are put where there is none, as is
// what opens or hangs.
func cells(p pools.AnyPool, st pools.Stats) (slots, ages string) {
	n := st.Size + st.Excess
	states, digits := slices.Repeat([]byte{'.'}, n), slices.Repeat([]byte{'0'}, n)
	put := func(n int, letter, digit byte) {
		for i := 0; i < len(states) && n > 0; i++ {
			if states[i] == '.' {
				states[i], digits[i] = letter, digit
				n--
			}
		}
	}
	var beyond []pools.Connection
	for c := range p.Connections() {
		if c.Slot >= n {
			beyond = append(beyond, c)
			continue
		}
		states[c.Slot], digits[c.Slot] = letters[c.State], age(c.For)
	}
	for _, c := range beyond {
		put(1, letters[c.State], age(c.For))
	}
	put(st.Opening, 'o', '0')
	put(st.Hung, '!', '0')
	return string(states), string(digits)
}

// down returns why opens fail, or "".
func down(p pools.AnyPool, st pools.Stats, errs *asking) string {
	if !st.Down {
		return ""
	}
	all := p.Events()
	for i := len(all) - 1; i >= 0; i-- {
		if e := all[i]; (e.Kind == pools.EventOpenFailed || e.Kind == pools.EventDown) && e.Err != nil {
			return errs.text(e.Err)
		}
	}
	return "why is not among the last events any more"
}

// A detail has at most so many places where connections were taken, and so
// many IDs for each.
const (
	mostPlaces = 50
	mostIDs    = 5
)

func lookInto(p pools.AnyPool, errs *asking) detail {
	d := detail{Name: p.Name(), Stats: p.Stats(), Settings: settings(p.Settings()), Events: []event{}}
	d.Holders, d.More = whoHolds(p)
	for _, e := range p.Events() {
		shown := event{
			At: e.Time, Kind: string(e.Kind), ID: e.ID, Reason: string(e.Reason), Call: e.Call, Took: int64(e.Took),
			Count: e.Count, Err: errs.text(e.Err), Stack: e.Stack, Suppressed: e.Suppressed,
		}
		shown.Text = shown.words()
		d.Events = append(d.Events, shown)
	}
	slices.Reverse(d.Events)
	return d
}

// settings writes settings as a person would: "1m30s", "Never", "NoLimit".
func settings(s pools.Settings) map[string]any {
	words := map[any]string{pools.Never: "Never", pools.Always: "Always", pools.NoLimit: "NoLimit", pools.NoQueue: "NoQueue"}
	all := make(map[string]any)
	for field, value := range reflect.ValueOf(s).Fields() {
		v := value.Interface()
		word, special := words[v]
		switch v := v.(type) {
		case time.Duration:
			all[field.Name] = v.String()
		case int, bool:
			all[field.Name] = v
		}
		if special {
			all[field.Name] = word
		}
	}
	return all
}

// place returns the first function of a stack that is not the pool's, without
// its path, and where it is.
func place(stack string) string {
	all := strings.Split(stack, "\n")
	for i := 0; i+1 < len(all); i += 2 {
		if strings.HasPrefix(all[i], "github.com/utopia-go/pools.") || strings.HasPrefix(all[i], "database/sql.") {
			continue
		}
		return path.Base(all[i]) + " " + path.Base(all[i+1])
	}
	return ""
}

// whoHolds puts those together who took their connections at the same place:
// the place of a leak has most, and those it has had longest.
func whoHolds(p pools.AnyPool) (places []holders, more int) {
	byStack := make(map[string][]pools.Connection)
	for c := range p.Connections() {
		if c.State == "held" || c.State == "revoked" {
			byStack[c.Stack] = append(byStack[c.Stack], c)
		}
	}
	places = []holders{}
	for stack, all := range byStack {
		slices.SortFunc(all, func(a, b pools.Connection) int { return cmp.Compare(b.For, a.For) })
		h := holders{Count: len(all), Longest: int64(all[0].For), Place: place(stack), Stack: stack}
		for _, c := range all[:min(len(all), mostIDs)] {
			h.IDs = append(h.IDs, c.ID)
		}
		places = append(places, h)
	}
	slices.SortFunc(places, func(a, b holders) int {
		return cmp.Or(cmp.Compare(b.Longest, a.Longest), cmp.Compare(a.Stack, b.Stack))
	})
	for _, h := range places[min(len(places), mostPlaces):] {
		more += h.Count
	}
	return places[:min(len(places), mostPlaces)], more
}
