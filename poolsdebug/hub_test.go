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
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour}, "db")
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
		h := &hub{group: g, watchers: make(map[chan []byte]bool)}
		first, stop := h.watch()
		<-first
		hangs.Store(true)
		time.Sleep(interval)
		synctest.Wait()
		if !h.mu.TryLock() {
			t.Fatal("a snapshot holds the lock")
		}
		h.mu.Unlock()
		_, stopSecond := h.watch()
		stopSecond()
		stop()
		third, stop := h.watch()
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
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour}, "db")
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
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/live?pool=db", nil).WithContext(ctx))
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
		g, all, server := group(t, pools.Settings{Size: 1, ReconnectAttempts: 1, ReconnectSleep: time.Hour}, "db")
		server.Open.Always(poolstest.Fail(&asked{say: exit}))
		defer server.Open.Clear()
		h := &hub{group: g, watchers: make(map[chan []byte]bool)}
		snapshots, stop := h.watch()
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
		h := &hub{group: g, watchers: make(map[chan []byte]bool)}
		snapshots, stop := h.watch()
		<-snapshots
		for i := range 10 {
			for range 100 {
				if err := all[0].Use(t.Context(), func(resource) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(interval * 6 / 10)
			another, stopAnother := h.watch()
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
