package crowd

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var users atomic.Int64
		// One has turns of 10 ms, three have such of 20 ms, and a pause.
		seen, err := Watch(4, time.Second-time.Millisecond, func(note func()) func() error {
			turn, pause := 20*time.Millisecond, 20*time.Millisecond
			if users.Add(1) == 1 {
				turn, pause = 10*time.Millisecond, 0
			}
			return func() error {
				time.Sleep(turn)
				note()
				time.Sleep(pause)
				return nil
			}
		})
		want := Seen{Uses: 175, Took: time.Second, P50: 10 * time.Millisecond, P99: 20 * time.Millisecond, Worst: 20 * time.Millisecond, Share: 25.0 * 4 / 175}
		if err != nil || seen != want {
			t.Errorf("%+v, %v; want %+v", seen, err, want)
		}
	})
}

func TestWatchEndsWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		began := time.Now()
		var users atomic.Int64
		_, err := Watch(3, time.Hour, func(note func()) func() error {
			fails := users.Add(1) == 2
			return func() error {
				time.Sleep(time.Second)
				if fails && time.Since(began) > 5*time.Second {
					return broken
				}
				note()
				return nil
			}
		})
		if !errors.Is(err, broken) || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
