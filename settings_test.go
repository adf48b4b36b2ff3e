package pools_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

func TestFaultsAreReportedAtOnce(t *testing.T) {
	_, err := pools.New("", pools.Connector[int]{}, pools.Settings{
		Size: 0, MaxWaiting: -7, ReconnectAttempts: -2, WaitTimeout: -5, OpenTimeout: pools.Never,
		ReconnectSleep: -1, CloseTimeout: -3, CheckTimeout: -3, ResetTimeout: pools.Always, CheckAfter: -9,
		MaxLifetime: pools.Always, IdleTimeout: -3, KeepAlive: time.Second, LeakAfter: -4, MaxUses: -3, MaxOpensPerSecond: -4,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"name:", "Connector.Open:", "Connector.Close:", "Settings.Size:", "Settings.MaxWaiting:", "Settings.ReconnectAttempts:",
		"Settings.WaitTimeout:", "Settings.OpenTimeout:", "Settings.ReconnectSleep:", "Settings.CloseTimeout:",
		"Settings.CheckTimeout:", "Settings.ResetTimeout:", "Settings.CheckAfter:",
		"Settings.MaxLifetime:", "Settings.IdleTimeout:", "Settings.KeepAlive:", "Settings.LeakAfter:",
		"Settings.MaxUses:", "Settings.MaxOpensPerSecond:",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in\n%v", field, err)
		}
	}
	if strings.Count(err.Error(), "give ") < 19 {
		t.Errorf("remedies are missing in\n%v", err)
	}
}

func TestTooMuch(t *testing.T) {
	_, err := pools.New("much", pools.Connector[int]{}, pools.Settings{Size: math.MaxInt, WaitTimeout: math.MaxInt64, OpenTimeout: math.MaxInt64})
	for _, field := range []string{"Settings.Size", "Settings.WaitTimeout", "Settings.OpenTimeout"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	pool, err := pools.New("defaults", pools.Connector[int]{
		Open:  func(context.Context) (int, error) { return 1, nil },
		Close: func(context.Context, int) error { return nil },
	}, pools.Settings{Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := pools.Settings{
		Size: 3, MaxWaiting: pools.NoLimit, WaitTimeout: 30 * time.Second, OpenTimeout: 10 * time.Second,
		ReconnectAttempts: 3, ReconnectSleep: time.Second, MaxReconnectSleep: 2 * time.Second, CloseTimeout: 5 * time.Second,
		CheckTimeout: time.Second, ResetTimeout: 5 * time.Second, CheckAfter: 5 * time.Second,
		MaxLifetime: 30 * time.Minute, IdleTimeout: 10 * time.Minute, KeepAlive: pools.Never, LeakAfter: pools.Never,
		MaxQueueDelay: pools.Never, MaxUses: pools.NoLimit, MaxOpensPerSecond: pools.NoLimit,
	}
	if got := pool.Settings(); got != want {
		t.Errorf("%+v", got)
	}
	if err := pool.Use(t.Context(), func(n int) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMinIdleWithinSize(t *testing.T) {
	for _, minIdle := range []int{-1, 4} {
		_, err := pools.New("idle", pools.Connector[int]{}, pools.Settings{Size: 3, MinIdle: minIdle})
		if err == nil || !strings.Contains(err.Error(), "Settings.MinIdle: is "+strconv.Itoa(minIdle)+"; give a number from 0 to Size (3)") {
			t.Errorf("MinIdle %d: %v", minIdle, err)
		}
	}
}

type (
	closesQuietly struct{ closed *bool }
	closesWithCtx struct{ closed *bool }
)

func (c closesQuietly) Close()                      { *c.closed = true }
func (c closesWithCtx) Close(context.Context) error { *c.closed = true; return nil }

func TestResourceClosesItself(t *testing.T) {
	var quietly, withCtx bool
	closeOne(t, closesQuietly{&quietly})
	closeOne(t, closesWithCtx{&withCtx})
	if !quietly || !withCtx {
		t.Error("a resource was not closed:", quietly, withCtx)
	}
}

func closeOne[T any](t *testing.T, resource T) {
	t.Helper()
	pool, err := pools.New("one", pools.OpenFunc(func(context.Context) (T, error) { return resource, nil }), pools.Settings{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Fill(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a\xff"} {
		if _, err := pools.New(name, pools.OpenFunc(func(context.Context) (*nothing, error) { return new(nothing), nil }), pools.Settings{Size: 1}); err == nil || !strings.Contains(err.Error(), "name: is ") || !strings.Contains(err.Error(), "give") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
