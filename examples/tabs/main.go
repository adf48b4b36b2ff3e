// Tabs is a pool of tabs of a headless Chrome or Chromium, which must be installed.
//
// It visits some pages of a server in this process with a few tabs, prints what a
// tab costs, and shows what becomes of tabs whose page shows a dialog, never ends or
// crashes. What a connector for tabs must do, and why, is in tab.go.
//
//	go run ./examples/tabs
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/utopia-go/pools"
)

func main() {
	path := flag.String("browser", "", "the `program` of the browser (default: the one that chromedp finds)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	var options []chromedp.ExecAllocatorOption
	if *path != "" {
		options = append(options, chromedp.ExecPath(*path))
	}
	if err := run(ctx, os.Stdout, options...); err != nil {
		fmt.Fprintln(os.Stderr, "tabs:", err)
		os.Exit(1)
	}
}

const tabs, visits = 3, 6

func run(ctx context.Context, out io.Writer, options ...chromedp.ExecAllocatorOption) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: site()}
	go server.Serve(listener)
	defer server.Close()
	url := "http://" + listener.Addr().String() + "/"

	b := newBrowser(options...)
	defer b.stop()
	empty, err := b.memory(ctx) // starts the browser
	if err != nil {
		return err
	}
	pool, err := pools.New("tabs", b.connector(), pools.Settings{
		Size:    tabs,
		MaxUses: 100, // a tab's memory grows
		// On a busy machine all of these may take seconds.
		OpenTimeout: time.Minute, ResetTimeout: time.Minute, CheckTimeout: 10 * time.Second, CloseTimeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	defer pool.Close(context.WithoutCancel(ctx))

	if err := pool.Fill(ctx, tabs); err != nil {
		return err
	}
	opened := pool.Stats().Open
	fmt.Fprintf(out, "a tab takes %v to open", opened.Quantile(0.5).Round(time.Millisecond))
	if full, err := b.memory(ctx); err == nil && full > empty {
		fmt.Fprintf(out, " and %.0f MiB of memory", float64(full-empty)/tabs/(1<<20))
	}
	fmt.Fprintln(out)
	began := time.Now()
	if err := visit(ctx, pool, url, visits); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d visits with %d tabs took %v, and each was the first one\n", visits, tabs, time.Since(began).Round(time.Millisecond))
	return misbehave(ctx, out, pool, url)
}

// site counts a visitor's visits by a cookie.
func site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n := 1
		if c, err := r.Cookie("visits"); err == nil {
			fmt.Sscan(c.Value, &n)
			n++
		}
		http.SetCookie(w, &http.Cookie{Name: "visits", Value: fmt.Sprint(n), MaxAge: 3600})
		fmt.Fprintf(w, "<!doctype html><link rel=icon href=data:,><title>visit %d</title>", n)
	})
	mux.HandleFunc("/alert", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<!doctype html><link rel=icon href=data:,><script>alert('click me')</script><title>after the alert</title>")
	})
	return mux
}

// visit visits the page from n goroutines.
func visit(ctx context.Context, pool *pools.Pool[*tab], url string, n int) error {
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for range n {
		all.Go(func() {
			title, err := pools.UseResult(ctx, pool, func(t *tab) (string, error) { return title(ctx, t, url) })
			if err == nil && title != "visit 1" {
				err = fmt.Errorf("a tab remembers: its title is %q", title)
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func title(ctx context.Context, t *tab, url string) (string, error) {
	if err := t.do(ctx, chromedp.Navigate(url)); err != nil {
		return "", err
	}
	return ask(ctx, t, chromedp.Title())
}

// misbehave has tabs meet one page after the other that would hold them for ever.
func misbehave(ctx context.Context, out io.Writer, pool *pools.Pool[*tab], url string) error {
	for _, step := range []struct {
		what string
		use  func(context.Context, *tab) error
	}{
		{"alert()", func(ctx context.Context, t *tab) error {
			_, err := title(ctx, t, url+"alert")
			return err
		}},
		{"an exception", func(ctx context.Context, t *tab) error {
			_, err := ask(ctx, t, chromedp.Evaluate[int]("nothing.there"))
			return err
		}},
		{"a loop", func(ctx context.Context, t *tab) error {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			_, err := ask(ctx, t, chromedp.Evaluate[int]("for (;;);"))
			return err
		}},
		{"a crash", func(ctx context.Context, t *tab) error {
			return t.do(ctx, call(page.Crash, cdp.Empty{})) // the protocol's own command for such tests
		}},
	} {
		began := time.Now()
		goes := "kept"
		err := pool.Use(ctx, func(t *tab) error {
			err := step.use(ctx, t)
			if t.broken() { // as the pool will ask
				goes = "closed"
			}
			return err
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		says := "no error"
		if err != nil {
			says, _, _ = strings.Cut(err.Error(), "\n") // without the page's stack
		}
		fmt.Fprintf(out, "%-13s after %v: %s; the tab is %s\n", step.what+",", time.Since(began).Round(time.Millisecond), says, goes)
		// The next user gets a good one, whatever happened.
		if err := visit(ctx, pool, url, 1); err != nil {
			return err
		}
	}
	return nil
}
