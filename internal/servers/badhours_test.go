package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
)

// Bad hours on real servers, with the settings that a pool has by default. The
// bars are ratios within one run, or times with room for a busy machine. Each
// test logs one line of figures, which docs/TESTING.md quotes:
//
//	go test -count=1 -v -run '^TestBadHours' ./internal/servers | grep figures
const (
	patience = 500 * time.Millisecond // of a caller
	use      = 50 * time.Millisecond  // at the server, on average; half of it to one and a half
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(frozenChild); kind != "" {
		os.Exit(beFrozen(kind))
	}
	os.Exit(m.Run())
}

func TestBadHoursRedis(t *testing.T)    { badHours(t, engine.Redis, load.Redis) }
func TestBadHoursPostgres(t *testing.T) { badHours(t, engine.Postgres, load.Postgres) }

func badHours[T comparable](t *testing.T, start func(context.Context, int) (*engine.Engine, error), kind load.Kind[T]) {
	t.Parallel() // it mostly waits
	e, err := start(t.Context(), 2*restartPools*restartSize)
	engine.Need(t, e, err)
	configure(t, e, precise)
	t.Run("overload", func(t *testing.T) { overload(t, e, kind) })
	t.Run("full", func(t *testing.T) { full5(t, e, kind) })
	t.Run("restart", func(t *testing.T) { restart(t, e, kind) })
	t.Run("freeze", func(t *testing.T) { freeze(t, e) })
}

// configure sets what a server is to do with its clients. It may run in a
// Cleanup.
func configure(t *testing.T, e *engine.Engine, redisSettings [][2]string, postgres ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if e.Name == "redis" {
		conn, err := redis.DialContext(ctx, "tcp", e.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, s := range redisSettings {
			if _, err := redis.DoContext(conn, ctx, "CONFIG", "SET", s[0], s[1]); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	conn, err := pgx.Connect(ctx, engine.PostgresURL("postgres", e.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range postgres {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
}

// alone waits until the server has no clients any more.
func alone(t *testing.T, e *engine.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := engine.Eventually(ctx, func() error { return has(ctx, e, 0) }); err != nil {
		t.Fatal(err)
	}
}

// precise has Redis look for waits that are over every five milliseconds.
var precise = [][2]string{{"hz", "200"}}

// asking is callers of one pool, and what became of them.
type asking[T any] struct {
	t    *testing.T
	pool *pools.Pool[T]
	kind func(ctx context.Context, conn T, number int64, takes time.Duration) (int64, error)

	breaks atomic.Bool // the next to use a connection is to find it broken

	number atomic.Int64
	all    sync.WaitGroup

	mu    sync.Mutex
	asked []asked
	last  error
}

// asked is one caller.
type asked struct {
	began, ended time.Time
	ok           bool
}

func newAsking[T comparable](t *testing.T, address string, kind load.Kind[T], settings pools.Settings) *asking[T] {
	t.Helper()
	pool, err := pools.New("badhours", kind.Connector(address), settings)
	if err != nil {
		t.Fatal(err)
	}
	a := &asking[T]{t: t, pool: pool, kind: kind.Work}
	t.Cleanup(a.close)
	return a
}

// warm opens n connections, which takes a new server some time.
func (a *asking[T]) warm(n int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	defer cancel()
	for range n {
		conn, err := a.pool.Pop(ctx)
		if err != nil {
			a.t.Fatal(err)
		}
		defer conn.Push()
		if _, err := a.kind(ctx, conn.Resource(), 0, time.Millisecond); err != nil {
			a.t.Fatal(err)
		}
	}
}

// close waits for all callers and closes the pool.
func (a *asking[T]) close() {
	a.all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.pool.Close(ctx); err != nil && !errors.Is(err, pools.ErrClosed) {
		a.t.Error(err)
	}
}

var errBroken = errors.New("the test breaks this connection")

// ask is one caller. A use that its deadline cuts off breaks the connection.
func (a *asking[T]) ask(patience, takes time.Duration) bool {
	began, number := time.Now(), a.number.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := a.pool.Use(ctx, func(conn T) error {
		got, err := a.kind(ctx, conn, number, takes)
		if err == nil && got != number {
			a.t.Errorf("question %d got the answer to %d", number, got)
		}
		if a.breaks.CompareAndSwap(true, false) {
			return pools.Discard(errors.Join(errBroken, err))
		}
		return err
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, asked{began, time.Now(), err == nil})
	if err != nil {
		a.last = err
	}
	return err == nil
}

// drawn is how long a use takes.
func drawn(use time.Duration) time.Duration { return use/2 + rand.N(use) }

// closedLoop is callers that ask again as soon as they have an answer.
func (a *asking[T]) closedLoop(callers int, patience, use, during time.Duration) {
	end := time.Now().Add(during)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for time.Now().Before(end) {
				if !a.ask(patience, drawn(use)) {
					time.Sleep(use)
				}
			}
		})
	}
	all.Wait()
}

// openLoop has callers come at random, so many a second on average, whatever
// becomes of them. It returns when the last has come.
func (a *asking[T]) openLoop(perSecond float64, use, during time.Duration) {
	began := time.Now()
	for at := time.Duration(0); ; {
		at += time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second))
		if at > during {
			time.Sleep(time.Until(began.Add(during)))
			return
		}
		time.Sleep(time.Until(began.Add(at)))
		a.all.Go(func() { a.ask(patience, drawn(use)) })
	}
}

// between returns how many were served of those that came from one moment to
// another, and of how many.
func (a *asking[T]) between(from, to time.Time) (served, of int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.asked {
		if !one.began.Before(from) && one.began.Before(to) {
			of++
			if one.ok {
				served++
			}
		}
	}
	return served, of
}

// rate returns how many answers a second came from one moment to another.
func (a *asking[T]) rate(from, to time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, one := range a.asked {
		if one.ok && !one.ended.Before(from) && one.ended.Before(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}

func (a *asking[T]) lastError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// part is a share of those who came.
func part(served, of int) float64 { return float64(served) / float64(max(of, 1)) }

// overload is callers at twice the capacity, with deadlines of ten uses. First
// the capacity is measured, and again at the end: what ten callers get that need
// not wait. The lesser counts, since other programs have the same processors.
// What they take in between nobody can measure, so the bar is lower than the
// figures of a quiet machine; exact ones are TestOverload's, in virtual time.
func overload[T comparable](t *testing.T, e *engine.Engine, kind load.Kind[T]) {
	const (
		size    = 10
		usual   = 0.7 // of the capacity
		settled = 3 * time.Second
		piece   = 250 * time.Millisecond
	)
	j := newJudge(t)
	a := newAsking(t, e.Address, kind, pools.Settings{Size: size})
	a.warm(size)
	began := time.Now()
	a.closedLoop(size, 10*time.Second, use, 1500*time.Millisecond)
	capacity := a.rate(began, time.Now().Add(-use))

	calm := time.Now()
	a.openLoop(usual*capacity, use, 2*time.Second)
	over := time.Now()
	a.openLoop(2*capacity, use, 4*time.Second)
	end := time.Now()
	overloaded := a.rate(over.Add(time.Second), end) // the queue has filled by then
	a.openLoop(usual*capacity, use, settled+1500*time.Millisecond)
	over2 := time.Now()
	a.all.Wait()
	again := time.Now()
	a.closedLoop(size, 10*time.Second, use, 1500*time.Millisecond)
	during := overloaded / min(capacity, a.rate(again, time.Now().Add(-use)))

	before := part(a.between(calm, over))
	after := part(a.between(end.Add(settled), over2))
	recovered := time.Duration(0)
	for from := end; from.Before(over2); from = from.Add(piece) {
		if served, of := a.between(from, from.Add(piece)); part(served, of) < 0.9 && of > 0 {
			recovered = from.Add(piece).Sub(end)
		}
	}
	when := fmt.Sprintf("within %v", recovered)
	if recovered > settled {
		when = "not in " + over2.Sub(end).Round(100*time.Millisecond).String()
	}
	t.Logf("figures: overload, %s: capacity %.0f/s; served %.2f of the callers before, %.2f of the capacity during, %.2f of the callers after; recovered %s",
		e.Name, capacity, before, during, after, when)
	if before < 0.95 {
		j.missed("before it %.2f of the callers are served: %v", before, a.lastError())
	}
	if during < 0.6 {
		j.missed("at twice the capacity %.2f of it is served; the bar is 0.6", during)
	}
	if recovered > settled || after < 0.95 {
		j.missed("%v after it %.2f of the callers are served; the bar is 0.95, and 0.9 always", settled, after)
	}
}
