package pools

import (
	"runtime"
	"sync"
	"testing"
)

func BenchmarkPopPush(b *testing.B) {
	p, ctx := newNothing(b, 10), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		conn, _ := p.Pop(ctx)
		_ = conn.Push()
	}
}

func BenchmarkUse(b *testing.B) {
	p, ctx := newNothing(b, 10), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Use(ctx, func(*nothing) error { return nil })
	}
}

// BenchmarkParallel is one goroutine a processor.
func BenchmarkParallel(b *testing.B) {
	p, ctx := newNothing(b, 10), b.Context()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			conn, _ := p.Pop(ctx)
			_ = conn.Push()
		}
	})
}

// BenchmarkCrowd is 100 goroutines on 10 connections.
func BenchmarkCrowd(b *testing.B) {
	for name, work := range map[string]func(){"idle": func() {}, "yield": runtime.Gosched} {
		b.Run(name, func(b *testing.B) {
			p, ctx := newNothing(b, 10), b.Context()
			b.ReportAllocs()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					for range max(b.N/100, 1) {
						conn, err := p.Pop(ctx)
						if err != nil {
							b.Error(err)
							return
						}
						work()
						_ = conn.Push()
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkManySlots(b *testing.B) {
	for name, held := range map[string]int{"none held": 0, "half held": 5000, "99% held": 9900} {
		b.Run(name, func(b *testing.B) {
			p, ctx := newNothing(b, 10_000), b.Context()
			if err := p.Fill(ctx, 10_000); err != nil {
				b.Fatal(err)
			}
			var out []Conn[*nothing]
			for range held {
				conn, _ := p.TryPop()
				out = append(out, conn)
			}
			for b.Loop() {
				conn, _ := p.Pop(ctx)
				_ = conn.Push()
			}
			for _, conn := range out {
				_ = conn.Push()
			}
		})
	}
}
