package pools_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
)

// MaxQueueDelay after a pause, below capacity.
func TestMaxQueueDelayResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, _ := pools.New("together", pools.OpenFunc(func(context.Context) (*served, error) { return new(served), nil }), pools.Settings{Size: 2, MaxQueueDelay: 50 * time.Millisecond})
		_ = pool.Fill(t.Context(), 2)
		pool.Pause()
		var all sync.WaitGroup
		var late, bad atomic.Int32
		for range 30 {
			all.Go(func() {
				err := pool.Use(context.Background(), func(*served) error { time.Sleep(20 * time.Millisecond); return nil })
				if errors.Is(err, pools.ErrTooLate) {
					late.Add(1)
				} else if err != nil {
					bad.Add(1)
				}
			})
		}
		time.Sleep(5 * time.Second)
		pool.Resume()
		all.Wait()
		t.Logf("refused %d of 30 after Resume, failed %d", late.Load(), bad.Load())
		_ = pool.Close(context.Background())
	})
}

// RefuseLate while paused.
func TestRefuseLatePaused(t *testing.T) {
	defer pools.Sample(true)()
	synctest.Test(t, func(t *testing.T) {
		pool, _ := pools.New("together", pools.OpenFunc(func(context.Context) (*served, error) { return new(served), nil }), pools.Settings{Size: 2, RefuseLate: true})
		one := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return pool.Use(ctx, func(*served) error { time.Sleep(20 * time.Millisecond); return nil })
		}
		for range 20 {
			_ = one()
		}
		pool.Pause()
		var all sync.WaitGroup
		var ok atomic.Int32
		for range 30 {
			all.Go(func() {
				if one() == nil {
					ok.Add(1)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		pool.Resume()
		all.Wait()
		t.Log(ok.Load(), "of 30")
		_ = pool.Close(context.Background())
	})
}
