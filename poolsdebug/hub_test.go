package poolsdebug

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// While a snapshot waits for an error that hangs, pages come and go, and the
// snapshot comes after all.
func TestPagesComeAndGoWhileAnErrorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour, MaxReconnectSleep: time.Hour}, "db")
		release, hangs := make(chan struct{}), new(atomic.Bool)
		server.Open.Always(poolstest.Fail(&hung{asked{func() string {
			if hangs.Load() {
				<-release
			}
			return "refused"
		}}}))
		if _, err := all[0].Pop(t.Context()); err == nil {
			t.Fatal("popped")
		}
		defer server.Open.Clear()
		defer close(release)
		h := &hub{group: g}
		first, stop := h.watch("")
		<-first
		hangs.Store(true)
		time.Sleep(interval)
		synctest.Wait()
		if !h.mu.TryLock() {
			t.Fatal("a snapshot holds the lock")
		}
		h.mu.Unlock()
		_, stopSecond := h.watch("")
		stopSecond()
		stop()
		third, stop := h.watch("")
		<-third
		var list []brief
		if err := json.Unmarshal(<-third, &list); err != nil || len(list) != 1 || list[0].Down == "" || list[0].Down == "refused" {
			t.Errorf("%v %+v", err, list)
		}
		stop()
		time.Sleep(time.Minute)
	})
}

// Pages that were closed end, whatever errors do.
func TestLiveEndsWhileAnErrorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour, MaxReconnectSleep: time.Hour}, "db")
		release := make(chan struct{})
		server.Open.Always(poolstest.Fail(&hung{asked{func() string { <-release; return "" }}}))
		if _, err := all[0].Pop(t.Context()); err == nil {
			t.Fatal("popped")
		}
		defer server.Open.Clear()
		defer close(release)
		h := New(g, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{}, 3)
		for range cap(ended) {
			go func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://localhost/live?pool=db", nil).WithContext(ctx))
				ended <- struct{}{}
			}()
		}
		time.Sleep(interval / 2)
		cancel()
		time.Sleep(interval / 2)
		synctest.Wait()
		if len(ended) != cap(ended) {
			t.Errorf("%d pages of %d have ended", len(ended), cap(ended))
		}
		time.Sleep(time.Minute)
	})
}

// An error that ends its goroutine does not end the hub's.
func TestHubOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour, MaxReconnectSleep: time.Hour}, "db")
		server.Open.Always(poolstest.Fail(&asked{say: exit}))
		defer server.Open.Clear()
		h := &hub{group: g}
		snapshots, stop := h.watch("")
		<-snapshots
		if _, err := all[0].Pop(t.Context()); err == nil {
			t.Fatal("popped")
		}
		for range 3 {
			time.Sleep(interval)
			synctest.Wait()
			select {
			case <-snapshots:
			default:
				t.Fatal("no snapshot comes")
			}
		}
		stop()
		time.Sleep(time.Minute)
	})
}

// A page that opens takes nothing from the others: each second is whole.
func TestSecondsAreWholeForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all, _ := group(t, pools.Settings{Size: 1}, "db")
		h := &hub{group: g}
		snapshots, stop := h.watch("")
		<-snapshots
		for i := range 10 {
			for range 100 {
				if err := all[0].Use(t.Context(), func(resource) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(interval * 6 / 10)
			another, stopAnother := h.watch("")
			var list []brief
			if err := json.Unmarshal(<-another, &list); err != nil || len(list) != 1 {
				t.Errorf("who comes sees %v %+v", err, list)
			}
			stopAnother()
			if err := json.Unmarshal(<-snapshots, &list); err != nil || list[0].Point.Rate != 100 {
				t.Errorf("second %d: %v %+v", i, err, list)
			}
		}
		stop()
		time.Sleep(time.Minute)
	})
}

// One client that opens all the pages it can get keeps nobody out, and two
// clients do not evict each other in turns.
func TestOneClientDoesNotLockOutOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := group(t, pools.Settings{Size: 1}, "db")
		h := &hub{group: g}
		pages, greedy, stops := make(map[string]int), []<-chan []byte{}, []func(){}
		open := func(client string) bool {
			c, stop := h.watch(client)
			if c == nil {
				return false
			}
			stops = append(stops, stop)
			if client == "greedy" {
				greedy = append(greedy, c)
			}
			return true
		}
		count := func() map[string]int {
			clear(pages)
			for _, w := range h.watchers {
				pages[w.client]++
			}
			return pages
		}
		for n := range most + 5 {
			if open("greedy") != (n < most) {
				t.Fatalf("page %d: %v", n, n >= most)
			}
		}
		if !open("guest") {
			t.Fatal("the greedy client locks out others")
		}
		synctest.Wait()
		time.Sleep(2 * interval)
		for i, c := range greedy { // each had a snapshot, and its newest has ended
			<-c
			select {
			case _, ok := <-c:
				if ok || i != most-1 {
					t.Errorf("page %d of the greedy client: ended %v", i, !ok)
				}
			default:
				if i == most-1 {
					t.Error("the newest page goes on")
				}
			}
		}
		for open("guest") {
		}
		if open("greedy") || count()["guest"] != most/2 || pages["greedy"] != most/2 {
			t.Errorf("the places: %v", count())
		}
		if !open("third") || count()["third"] != 1 || len(h.watchers) != most {
			t.Errorf("the places: %v", count())
		}
		if open("guest") || open("greedy") || count()["guest"]+pages["greedy"] != most-1 {
			t.Errorf("with %v they evict each other in turns", count())
		}
		for _, stop := range stops {
			stop()
		}
		if len(h.watchers) != 0 {
			t.Errorf("%d pages are left", len(h.watchers))
		}
		time.Sleep(time.Minute)
	})
}

func TestClient(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:4000":            "192.0.2.1",
		"[::ffff:192.0.2.1]:4000":   "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:81": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":         "fe80::/64",
		"@":                         "@",
		"":                          "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/live", nil)
		r.RemoteAddr = address
		if got := client(r); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
