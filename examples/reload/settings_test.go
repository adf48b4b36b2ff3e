package main

import (
	"strings"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

func TestSettingsFromJSON(t *testing.T) {
	before := pools.Settings{Size: 3, MaxUses: 7}
	got := before
	err := decode([]byte(`{
		"size": 20, "IdleTimeout": "90s", "MaxLifetime": "never", "CheckAfter": "Always",
		"MaxWaiting": "NoLimit", "Strict": true, "KeepLost": true}`), &got)
	want := pools.Settings{
		Size: 20, MaxUses: 7, IdleTimeout: 90 * time.Second, MaxLifetime: pools.Never, CheckAfter: pools.Always,
		MaxWaiting: pools.NoLimit, Strict: true, KeepLost: true,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	got = before
	err = decode([]byte(`{"Size": "many", "IdleTimeout": 90, "MaxLifetime": "long", "Strict": 1,
		"MaxUses": "Never", "KeepLost": 0, "Logger": null, "Sise": 4, "MinIdle": 1.5}`), &got)
	if err == nil || got != before {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, field := range []string{"Size", "IdleTimeout", "MaxLifetime", "Strict", "MaxUses", "KeepLost", "Logger", "Sise", "MinIdle"} {
		if !strings.Contains(err.Error(), "Settings."+field+": is ") {
			t.Errorf("%s is not named in\n%v", field, err)
		}
	}
}

// FuzzDecode: any text is refused, with nothing changed, or read; and what names no
// setting is no error of another kind.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"Size": 3, "IdleTimeout": "90s", "MaxLifetime": "Never", "MaxWaiting": "NoLimit", "KeepLost": true}`))
	f.Add([]byte(`{"size": 2, "minidle": 2, "maxUses": 1, "checkAfter": "always", "Strict": true}`))
	f.Add([]byte(`{"Size": -1, "OpenTimeout": "never", "KeepAlive": "1ns", "Logger": null, "What": [1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read pools.Settings
		if err := decode(data, &read); err != nil && read != (pools.Settings{}) {
			t.Fatalf("refused, and read all the same: %+v", read)
		}
		if read.Logger != nil || read.Observer != nil {
			t.Fatal("JSON has set what it cannot")
		}
	})
}
