package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gomodule/redigo/redis"
)

// Two tabs talk, and a reload finds the history; both go on when Redis loses it.
func TestBrowser(t *testing.T) {
	binary, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed, and CI must not pass without it: ", err)
		}
		t.Skip("chromium is not installed: ", err)
	}
	address := embedded(t)
	url := start(t, address)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox)
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	first, cancel := chromedp.NewContext(allocator)
	defer cancel()
	run := func(tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- chromedp.Do(tab, actions...) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the browser does not come to it")
		}
	}
	run(first) // the browser has started: the tabs' contexts are of it
	second, cancel := chromedp.NewContext(first)
	defer cancel()

	enter := func(tab context.Context, user string) {
		t.Helper()
		run(tab, chromedp.Navigate(url),
			chromedp.SendKeys(chromedp.CSS("#user"), user),
			chromedp.Click(chromedp.CSS("#enter button")),
			chromedp.WaitVisible(chromedp.CSS("#say")))
	}
	says := func(tab context.Context, text string) {
		t.Helper()
		run(tab, chromedp.SendKeys(chromedp.CSS("#text"), text+"\r"))
	}
	// shows waits until the tab shows so many messages, and returns them.
	shows := func(tab context.Context, n int) (texts []string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); len(texts) < n && time.Now().Before(end); {
			var err error
			texts, err = chromedp.Run(tab, chromedp.Evaluate[[]string](`[...document.querySelectorAll("#messages li")].map(m => m.innerText)`))
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(texts) != n {
			t.Fatalf("%d messages, want %d: %q", len(texts), n, texts)
		}
		return texts
	}
	is := func(got []string, want ...string) {
		t.Helper()
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("message %d is %q, want %q", i+1, got[i], want[i])
			}
		}
	}

	enter(first, "anna")
	enter(second, "berta")
	says(first, "hello")
	is(shows(second, 1), "anna\nhello")
	says(second, "<i>hi</i>")
	is(shows(first, 2), "anna\nhello", "berta\n<i>hi</i>")
	run(first, chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS("#say")))
	is(shows(first, 2), "anna\nhello", "berta\n<i>hi</i>")
	says(second, "still there")
	is(shows(first, 3), "anna\nhello", "berta\n<i>hi</i>", "berta\nstill there")
	admin, err := redis.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	says(second, "with number 1 again")
	is(shows(first, 4), "anna\nhello", "berta\n<i>hi</i>", "berta\nstill there", "berta\nwith number 1 again")

	for name, size := range map[string][2]int64{"wide": {900, 600}, "phone": {390, 700}} {
		run(first, chromedp.EmulateViewport(size[0], size[1]))
		picture, err := chromedp.Run(first, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
			t.Error(err)
		}
	}
}
