package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What go test -json prints of a package that passes, one that fails, one that
// crashes and one that does not build is shown as go test alone shows it.
func TestShow(t *testing.T) {
	const said = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestA"}
{"Action":"output","Package":"a","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"a","Test":"TestA","Output":"a says\n"}
{"Action":"pass","Package":"a","Test":"TestA"}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t0.1s\n"}
{"Action":"pass","Package":"a"}
{"Action":"start","Package":"b"}
{"Action":"output","Package":"b","Test":"TestB","Output":"b says\n"}
{"Action":"output","Package":"b","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"b","Test":"TestB"}
{"Action":"output","Package":"b","Output":"FAIL\tb\t0.1s\n"}
{"Action":"fail","Package":"b"}
{"Action":"start","Package":"c"}
{"Action":"output","Package":"c","Test":"TestC","Output":"panic: c\n"}
{"Action":"fail","Package":"c"}
{"ImportPath":"d","Action":"build-output","Output":"d.go:1:1: no\n"}
go: no such thing
`
	const want = "ok  \ta\t0.1s\nb says\n--- FAIL: TestB (0.00s)\nFAIL\tb\t0.1s\npanic: c\nd.go:1:1: no\ngo: no such thing\n"
	events := make(chan event)
	go func() {
		defer close(events)
		if err := decode(strings.NewReader(said), events); err != nil {
			t.Error(err)
		}
	}()
	var shown strings.Builder
	show(&shown, events, time.Minute)
	if shown.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", &shown, want)
	}
}

// While nothing is printed it says what is running.
func TestShowsThatItIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan event)
		go func() {
			defer close(events)
			time.Sleep(20 * time.Second)
			events <- event{Action: "start", Package: "github.com/utopia-go/pools"}
			time.Sleep(15 * time.Second)
		}()
		var shown strings.Builder
		show(&shown, events, 15*time.Second)
		const want = "test: 15 s, 0 packages are done; now: downloading and building\ntest: 30 s, 0 packages are done; now: pools\n"
		if shown.String() != want {
			t.Errorf("shown:\n%s\nwant:\n%s", &shown, want)
		}
	})
}
