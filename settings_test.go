package pools_test

import (
	"context"
	"encoding/json"
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
		ReconnectSleep: -1, CloseTimeout: -3, CheckTimeout: -3, ResetTimeout: pools.Always, CheckAfter: -9, Lost: 7,
		MaxLifetime: pools.Always, IdleTimeout: -3, KeepAlive: time.Second, LeakAfter: -4, MaxUses: -3, MaxOpensPerSecond: -4,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"name:", "Connector.Open:", "Connector.Close:", "Settings.Size:", "Settings.MaxWaiting:", "Settings.ReconnectAttempts:",
		"Settings.WaitTimeout:", "Settings.OpenTimeout:", "Settings.ReconnectSleep:", "Settings.CloseTimeout:",
		"Settings.CheckTimeout:", "Settings.ResetTimeout:", "Settings.CheckAfter:", "Settings.Lost:",
		"Settings.MaxLifetime:", "Settings.IdleTimeout:", "Settings.KeepAlive:", "Settings.LeakAfter:",
		"Settings.MaxUses:", "Settings.MaxOpensPerSecond:",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in\n%v", field, err)
		}
	}
	if strings.Count(err.Error(), "give ") < 20 {
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
		ReconnectAttempts: 3, ReconnectSleep: time.Second, CloseTimeout: 5 * time.Second,
		CheckTimeout: time.Second, ResetTimeout: 5 * time.Second, CheckAfter: 5 * time.Second,
		MaxLifetime: 30 * time.Minute, IdleTimeout: 10 * time.Minute, KeepAlive: pools.Never, LeakAfter: pools.Never,
		MaxUses: pools.NoLimit, MaxOpensPerSecond: pools.NoLimit,
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

// What is said of settings must not depend on whether they come from Go or
// from JSON.
func TestSettingsFromJSON(t *testing.T) {
	before := pools.Settings{Size: 3, MaxUses: 7}
	got := before
	err := json.Unmarshal([]byte(`{
		"size": 20, "IdleTimeout": "90s", "MaxLifetime": "never", "CheckAfter": "Always",
		"MaxWaiting": "NoLimit", "Strict": true, "Lost": "LostReport"}`), &got)
	want := pools.Settings{
		Size: 20, MaxUses: 7, IdleTimeout: 90 * time.Second, MaxLifetime: pools.Never, CheckAfter: pools.Always,
		MaxWaiting: pools.NoLimit, Strict: true, Lost: pools.LostReport,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	text, err := json.Marshal(got)
	if err != nil || !strings.Contains(string(text), `"IdleTimeout":"1m30s"`) {
		t.Errorf("%s, %v", text, err)
	}
	var again pools.Settings
	if err := json.Unmarshal(text, &again); err != nil || again != want {
		t.Errorf("%s became %+v, %v", text, again, err)
	}

	got = before
	err = json.Unmarshal([]byte(`{"Size": "many", "IdleTimeout": 90, "MaxLifetime": "long", "Strict": 1,
		"MaxUses": "Never", "Lost": 0, "Logger": null, "Sise": 4, "MinIdle": 1.5}`), &got)
	if err == nil || got != before {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, field := range []string{"Size", "IdleTimeout", "MaxLifetime", "Strict", "MaxUses", "Lost", "Logger", "Sise", "MinIdle"} {
		if !strings.Contains(err.Error(), "Settings."+field+": is ") {
			t.Errorf("%s is not named in\n%v", field, err)
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
