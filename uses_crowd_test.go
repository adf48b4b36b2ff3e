package pools

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Many that are to be timed at once, and wait for the lock to be noted, stand
// for no more than they are: meanwhile samples have become fewer.
func TestCrowdOfSamples(t *testing.T) {
	defer Sample(true)()
	const crowd = 40
	p := newNothing(t, crowd)
	if err := p.Fill(t.Context(), crowd); err != nil {
		t.Fatal(err)
	}
	p.lock()
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			conn, err := p.Pop(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Push()
		})
	}
	held := func() (n int) {
		for _, s := range p.table.Load().slots {
			if s.word.load().state() == held {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(10 * time.Second); held() < crowd && time.Now().Before(end); {
		runtime.Gosched()
	}
	n := held()
	p.unlock()
	all.Wait()
	if n != crowd {
		t.Fatalf("%d of %d hold a connection", n, crowd)
	}
	if count := p.Stats().Use.Count; count < 1 || count > 10*crowd {
		t.Errorf("%d uses count as %d", crowd, count)
	}
}
