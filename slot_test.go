package pools

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"unsafe"
)

type nothing struct{ users atomic.Int32 }

func (*nothing) Close() error { return nil }

// newNothing makes a pool of connections that cost nothing.
func newNothing(tb testing.TB, size int) *Pool[*nothing] {
	tb.Helper()
	p, err := New("nothing", OpenFunc(func(context.Context) (*nothing, error) { return new(nothing), nil }), Settings{Size: size})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func TestSlotsDoNotShareCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(slot[*nothing]{}); unsafe.Sizeof(uintptr(0)) == 8 && size != 128 {
		t.Errorf("a slot has %d bytes, want 128", size)
	}
	if states > 1<<stateBits {
		t.Errorf("%d states do not fit in %d bits", states, stateBits)
	}
}

// Every slot can be had, by the hints too, and no more than there are.
func TestManySlots(t *testing.T) {
	for _, size := range []int{1, 2, 63, 64, 65, 128, 1000, 4097, 10_000} {
		p := newNothing(t, size)
		if err := p.Fill(t.Context(), size); err != nil {
			t.Fatal(err)
		}
		var all []Conn[*nothing]
		for range size {
			conn, ok := p.TryPop()
			if !ok {
				t.Fatalf("size %d: %d can be had", size, len(all))
			}
			all = append(all, conn)
		}
		if _, ok := p.TryPop(); ok {
			t.Fatalf("size %d: one more", size)
		}
		// The last, one in the middle and the first are found again.
		for _, i := range []int{size - 1, size / 2, 0} {
			if err := all[i].Push(); err != nil {
				t.Fatal(err)
			}
			conn, ok := p.TryPop()
			if !ok || conn.ID() != all[i].ID() {
				t.Fatalf("size %d: slot %d is not found", size, i)
			}
			all[i] = conn
		}
		for _, conn := range all {
			if err := conn.Push(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Pops and pushes on many slots, nearly all held, lose nothing: an idle slot
// whose hint is clear would leave its goroutine waiting.
func TestHintsStress(t *testing.T) {
	const size, users = 130, 8
	p := newNothing(t, size)
	if err := p.Fill(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	var all []Conn[*nothing]
	for range size - 3 {
		conn, _ := p.TryPop()
		all = append(all, conn)
	}
	var wg sync.WaitGroup
	for range users {
		wg.Go(func() {
			for i := range 3000 {
				conn, err := p.Pop(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if conn.Resource().users.Add(1) != 1 {
					t.Error("two holders")
				}
				if i%5 == 0 {
					runtime.Gosched()
				}
				conn.Resource().users.Add(-1)
				if err := conn.Push(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, conn := range all {
		if err := conn.Push(); err != nil {
			t.Error(err)
		}
	}
	if st := p.Stats(); st.Idle != size {
		t.Errorf("%+v", st)
	}
}

// Two slots become idle while a search is about to say that their group has
// none: it says so no more, or the second would not be found.
func TestGroupThatIsNotEmptyAnyMore(t *testing.T) {
	const size = 130
	p := newNothing(t, size)
	if err := p.Fill(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	var all []Conn[*nothing]
	for range size {
		conn, _ := p.TryPop()
		all = append(all, conn)
	}
	p.TryPop() // finds nothing, and clears the slots' bits
	pushed := false
	push := func(string, uint64) {
		pushed = true
		_, _ = all[size-1].Push(), all[size-2].Push()
	}
	pause.Store(&push)
	h, lease := p.takeAmong(p.table.Load(), 2, 0)
	pause.Store(nil)
	if !pushed || h == nil {
		t.Fatalf("pushed: %v, found: %v", pushed, h)
	}
	second, ok := p.TryPop()
	if !ok {
		t.Error("the second slot is idle, and nobody finds it")
	}
	for _, conn := range append(all[:size-2], Conn[*nothing]{h, lease}, second) {
		_ = conn.Push()
	}
}

func TestNoAllocations(t *testing.T) {
	p := newNothing(t, 10)
	if err := p.Fill(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, f := range map[string]func(){
		"Pop and Push": func() {
			conn, _ := p.Pop(ctx)
			_ = conn.Push()
		},
		"TryPop and Push": func() {
			conn, _ := p.TryPop()
			_ = conn.Push()
		},
		"Use": func() {
			_ = p.Use(ctx, func(*nothing) error { return nil })
		},
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Waiting allocates nothing once the waiters exist.
func TestWaitingAllocatesNothing(t *testing.T) {
	p := newNothing(t, 1)
	ctx := t.Context()
	start, done := make(chan struct{}), make(chan struct{})
	go func() {
		for range start {
			conn, _ := p.Pop(ctx)
			_ = conn.Push()
			done <- struct{}{}
		}
	}()
	waited := 0
	allocs := testing.AllocsPerRun(500, func() {
		conn, _ := p.Pop(ctx)
		start <- struct{}{}
		for range 1000 {
			runtime.Gosched()
			if p.gate.has(gateQueueing) {
				waited++
				break
			}
		}
		_ = conn.Push()
		<-done
	})
	close(start)
	if allocs != 0 || waited < 400 {
		t.Errorf("%v allocations in %d waits", allocs, waited)
	}
}

// FuzzWord: a lease's word survives nothing but its own end.
func FuzzWord(f *testing.F) {
	f.Add(uint64(7), uint8(idle), uint8(held))
	f.Fuzz(func(t *testing.T, number uint64, a, b uint8) {
		number &= 1<<60 - 1
		was, is := state(a)%states, state(b)%states
		w := (word(number) * oneLease).with(was)
		if w.lease() != number || w.state() != was {
			t.Fatalf("%x: lease %d, state %d", w, w.lease(), w.state())
		}
		if next := w.with(is); next.lease() != number || next.state() != is {
			t.Fatalf("%x with %d is %x", w, is, next)
		}
		if was == idle && number < 1<<60-1 {
			lease := w + popStep
			if lease.state() != held || lease.lease() != number+1 || lease-pushStep != lease.with(idle) {
				t.Fatalf("%x: pop makes %x", w, lease)
			}
		}
	})
}

// FuzzQueue holds the waiters' list against a slice.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 0, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var q queue[int]
		var model []*waiter[int]
		for _, op := range ops {
			if op%3 == 0 || len(model) == 0 {
				w := new(waiter[int])
				q.append(w)
				model = append(model, w)
			} else {
				i := int(op) % len(model)
				q.remove(model[i])
				if model[i].queued || model[i].next != nil || model[i].prev != nil {
					t.Fatal("a removed waiter points into the queue")
				}
				model = append(model[:i:i], model[i+1:]...)
			}
			if q.len != len(model) {
				t.Fatalf("len %d, want %d", q.len, len(model))
			}
			w := q.first
			for i, want := range model {
				if w != want || !w.queued || i == len(model)-1 && q.last != w {
					t.Fatalf("at %d: another waiter", i)
				}
				w = w.next
			}
			if w != nil || len(model) == 0 && (q.first != nil || q.last != nil) {
				t.Fatal("the queue goes on")
			}
		}
	})
}

// FuzzHints pops and pushes single slots of many and holds the hints to their
// promise: a clear bit means not idle.
func FuzzHints(f *testing.F) {
	f.Add(uint16(130), []byte{0, 1, 2, 129, 0, 64})
	f.Fuzz(func(t *testing.T, size uint16, ops []byte) {
		n := fewSlots + 1 + int(size)%500
		p := newNothing(t, n)
		if err := p.Fill(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		out := map[int]Conn[*nothing]{}
		for k, op := range ops {
			i := (int(op)*7 + k) % n
			if conn, ok := out[i]; ok {
				delete(out, i)
				if err := conn.Push(); err != nil {
					t.Fatal(err)
				}
			} else if conn, ok := p.TryPop(); ok {
				out[conn.handle.slot.index] = conn
			} else if len(out) != n {
				t.Fatalf("%d of %d are out, and none is found", len(out), n)
			}
			for _, s := range p.table.Load().slots {
				if s.word.load().state() != idle {
					continue
				}
				if g := s.hints.Load(); g.bits.Load()&(1<<(s.index%64)) == 0 || g.head.load()&g.headBit == 0 {
					t.Fatalf("slot %d is idle and cannot be found", s.index)
				}
			}
		}
		for _, conn := range out {
			_ = conn.Push()
		}
	})
}

func FuzzStart(f *testing.F) {
	f.Add(uint32(10), uint32(0))
	f.Fuzz(func(t *testing.T, prefix, salt uint32) {
		prefix = max(prefix, 1)
		if i := start(prefix, salt); i < 0 || int64(i) >= int64(prefix) {
			t.Fatalf("starts at %d of %d", i, prefix)
		}
	})
}

// No word comes twice in a slot, not even by a connection that was never
// lent: a Pop that read a word and slept would take the next connection for
// the one it saw.
func TestNoWordComesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New("words", Connector[*nothing]{
			Open:  func(context.Context) (*nothing, error) { return new(nothing), nil },
			Check: func(context.Context, *nothing) error { return errGoexit },
		}, Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Fill(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		s := p.table.Load().slots[0]
		before, conn := s.word.load(), s.conn
		p.lock()
		p.suspectIdle(true)
		p.unlock()
		lease, err := p.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.conn == conn {
			t.Fatal("the connection was not replaced")
		}
		if lease.lease.lease() <= before.lease()+1 {
			t.Errorf("the new connection's first lease is %d, the old one's would have been %d", lease.lease.lease(), before.lease()+1)
		}
		if st := p.Stats(); st.Leases != 1 {
			t.Errorf("%d leases were lent", st.Leases)
		}
		_ = lease.Push()
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
