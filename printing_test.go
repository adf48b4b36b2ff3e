package pools_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// What is printed is one line, as a person reads it.
func TestPrinting(t *testing.T) {
	stack := "github.com/utopia-go/pools.(*Pool[...]).Use\n\t/src/pools/pool.go:12\nexample.org/shop/cart.(*Cart).Pay\n\t/src/shop/cart/pay.go:34\nmain.main\n\t/src/shop/main.go:5\n"
	for _, c := range []struct {
		value any
		want  string
	}{
		{pools.Stats{}, ": size 0"},
		{
			pools.Stats{Name: "db", Size: 10, Held: 3, Idle: 5, Vacant: 2, Waiting: 4, Down: true, Leases: 70, OpenErrors: 6, Lost: 1},
			"db: size 10: 3 held, 5 idle, 2 vacant; 4 waiting; down; 70 leases, 6 opens failed, 1 lost",
		},
		{pools.Stats{Name: "a\nb", Size: 1, Vacant: 1, Excess: 2, Paused: true}, `"a\nb": size 1: 1 vacant, 2 beyond size; paused`},
		{pools.Reasons{pools.ReasonIdle: 3, pools.ReasonBroken: 1, pools.ReasonClose: 0}, "3 idle, 1 broken"},
		{
			pools.Connection{ID: "db-1-7", State: "idle", Slot: 2, Age: 90 * time.Second, Uses: 12, For: 1234567 * time.Nanosecond},
			"db-1-7: idle for 1.23ms, age 1m30s, uses 12, slot 2",
		},
		{
			pools.Connection{ID: "db-1-7", State: "held", Goroutine: 42, Stack: stack},
			"db-1-7: held for 0s, age 0s, uses 0, slot 0, goroutine 42, taken at cart.(*Cart).Pay pay.go:34",
		},
		{
			pools.Event{Kind: pools.EventLost, Pool: "db", Time: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), ID: "db-1-7", Goroutine: 42, Stack: stack},
			"2026-05-04 03:02:01.000 ERROR a Conn was forgotten without Push: pool db, connection db-1-7, goroutine 42, taken at cart.(*Cart).Pay pay.go:34",
		},
		{
			pools.Event{Kind: pools.EventOpenFailed, Pool: "db", Took: 1234 * time.Millisecond, Count: 2, Err: errors.New("one\ntwo")},
			`0001-01-01 00:00:00.000 ERROR open failed: pool db, took 1.23s, count 2, error "one\ntwo"`,
		},
		{pools.Event{Kind: pools.EventPopped, Pool: "db"}, "0001-01-01 00:00:00.000 DEBUG a connection was lent: pool db"},
		{pools.Event{Kind: "new"}, "0001-01-01 00:00:00.000 WARN new: pool "},
	} {
		if got := fmt.Sprint(c.value); got != c.want {
			t.Errorf("%#v is printed as\n%s, want\n%s", c.value, got, c.want)
		}
	}
}

// What a pool gives prints in one line, too.
func TestPrintingOfAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server := poolstest.New(t, pools.Settings{Size: 3, TrackHolders: true, TrackGoroutines: true, ReconnectAttempts: 1})
		conn := poolstest.Pop(t, pool)
		conn.Has()
		server.Open.Always(poolstest.Fail(errRefused))
		defer server.Open.Clear()
		if err := pool.Fill(t.Context(), 3); err == nil {
			t.Fatal("filled")
		}
		st := pool.Stats().String()
		if !strings.Contains(st, ": size 3: 1 held, ") || !strings.HasSuffix(st, "; down; 1 leases, 1 opens failed") {
			t.Error(st)
		}
		lines := []string{st}
		for c := range pool.Connections() {
			lines = append(lines, c.String())
			if want := regexp.MustCompile(`: held for 0s, age 0s, uses 1, slot \d, goroutine \d+, taken at poolstest\.\S+ \w+\.go:\d+$`); !want.MatchString(c.String()) {
				t.Error(c)
			}
		}
		for _, e := range pool.Events() {
			lines = append(lines, e.String())
		}
		for _, line := range lines {
			if strings.ContainsAny(line, "\n\t") || len(line) < 20 {
				t.Errorf("%q", line)
			}
		}
		if len(lines) < 4 {
			t.Error(lines)
		}
		conn.Push()
	})
}

// No duration is without its unit in JSON.
func TestDurationsInJSON(t *testing.T) {
	for _, v := range []any{
		pools.Stats{Wait: pools.Histogram{Buckets: []pools.Bucket{{}}}}, pools.Connection{}, pools.Event{},
	} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		wantUnits(t, reflect.TypeOf(v))
		if !strings.Contains(string(text), "Nanoseconds") {
			t.Errorf("%s", text)
		}
	}
}

func wantUnits(t *testing.T, kind reflect.Type) {
	switch kind.Kind() {
	case reflect.Slice:
		wantUnits(t, kind.Elem())
	case reflect.Struct:
		for field := range kind.Fields() {
			if field.Type == reflect.TypeFor[time.Duration]() {
				if name := field.Tag.Get("json"); name != field.Name+"Nanoseconds" {
					t.Errorf("%v.%s is %q", kind, field.Name, name)
				}
			} else if field.IsExported() {
				wantUnits(t, field.Type)
			}
		}
	}
}
