package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/utopia-go/pools"
)

var (
	errCrashed = errors.New("the tab has crashed")
	errGone    = errors.New("the browser has closed the tab")
	errAborted = errors.New("the tab was taken back")
	errClosed  = errors.New("the tab is closed")
)

// tab is one tab, with cookies and storage of its own.
type tab struct {
	browser context.Context // of the browser that it is a tab of
	ctx     context.Context // of the tab: chromedp finds the tab by it, and closes the tab when it ends
	end     context.CancelCauseFunc
	cut     bool // a use did not come to its end; only the holder touches it
}

// connector is what this example is about. The tests show each of its reasons, with
// chromedp 0.23.1 and Chromium 156. A tab takes 25 to 40 MiB, and about half a second
// to open.
func (b *browser) connector() pools.Connector[*tab] {
	return pools.Connector[*tab]{
		Open:   b.open,
		Close:  func(ctx context.Context, t *tab) error { return t.close(ctx) },
		Check:  func(ctx context.Context, t *tab) error { return t.check(ctx) },
		Reset:  func(ctx context.Context, t *tab) error { return t.reset(ctx) },
		Broken: func(t *tab, _ error) bool { return t.broken() },
		// The holder's call returns at once, whatever the page does.
		Abort: func(t *tab) { t.end(errAborted) },
	}
}

// open opens a tab. The ctx of the first Do is the tab's life: when it ends,
// nothing reads the tab's messages any more, and each later Do hangs. So that must
// not be Open's ctx, which ends when Open returns, nor a ctx with a timeout.
func (b *browser) open(ctx context.Context) (*tab, error) {
	root, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancelCause(root)
	t := &tab{browser: root, end: end}
	t.ctx, _ = chromedp.NewContext(life,
		// Without it all tabs have the same cookies, cache and storage.
		chromedp.WithNewBrowserContext(),
		// Not chromedp.Listen, which would come too late for the first messages.
		chromedp.WithListener(t.hear))
	opened := make(chan error, 1)
	go func() { opened <- chromedp.Do(t.ctx) }()
	select {
	case err = <-opened:
	case <-ctx.Done():
		err = context.Cause(ctx)
		// To end the Do half way could leave a tab that nobody closes: chromedp closes
		// only what it has attached to.
		go func() {
			<-opened
			t.end(errClosed)
		}()
		return nil, err
	}
	if err != nil {
		t.end(errClosed)
		return nil, err
	}
	go t.watch()
	return t, nil
}

// watch ends the tab when the browser has closed it, as window.close() does. Commands
// fail then, but an action that waits for something in the page would wait on.
func (t *tab) watch() {
	detached, err := chromedp.Detached(t.ctx)
	if err != nil {
		return // no tab: Do has failed
	}
	select {
	case <-detached:
		t.end(errGone)
	case <-t.ctx.Done():
	}
}

// hear is told of everything that happens to the tab. It runs in the goroutine that
// reads the tab's messages, so it must not wait for any of them.
func (t *tab) hear(event any) {
	switch event := event.(type) {
	case *inspector.EventTargetCrashed:
		// A crashed tab answers nothing, and says nothing either: without this, its
		// user would wait until its own ctx ends. A Navigate would bring the tab back,
		// but what the user had there is lost.
		t.end(errCrashed)
	case *page.EventJavascriptDialogOpening:
		// Until somebody answers an alert(), nothing goes on in the page, and no Do
		// returns. Here the answer is no, except to "Leave this page?".
		leave := event.Type == page.DialogTypeBeforeunload
		go chromedp.Call(t.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: leave})
	}
}

// broken needs no look at the user's error. The tab has ended (it crashed, was closed
// or aborted, or the browser is gone), or its last use did not come to its end: its
// script may run for ever, and would keep Reset waiting. What the page itself did
// wrong is an error that leaves the tab as good as before.
func (t *tab) broken() bool { return t.cut || t.ctx.Err() != nil }

// check has the page's own process answer, and not just the browser.
func (t *tab) check(ctx context.Context) error {
	_, err := ask(ctx, t, chromedp.Evaluate[int]("1"))
	return err
}

// reset leaves the page, so that its scripts end, and forgets cookies, storage,
// history, the window's name and other windows. It takes about half as long as open.
// It does not undo what a user has told the tab by the protocol: emulation, request
// interception, scripts for each new page. A user who does that takes it back, or
// returns Discard. Between users who must not learn of each other set MaxUses to 1,
// and MinIdle to have new tabs ready.
func (t *tab) reset(ctx context.Context) error {
	return t.do(ctx,
		chromedp.Navigate("about:blank"),
		evaluate("window.name = ''"), // a page's name is the next page's too
		call(page.ResetNavigationHistory, cdp.Empty{}),
		call(storage.ClearDataForOrigin, storage.ClearDataForOriginParams{Origin: "*", StorageTypes: "all"}),
		chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return t.closePopups(ctx) }),
	)
}

// closePopups closes the windows that the pages have opened.
func (t *tab) closePopups(ctx context.Context) error {
	mine := chromedp.FromContext(t.ctx)
	all, err := chromedp.Targets(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Type != "page" || other.BrowserContextID != mine.BrowserContextID || other.TargetID == mine.Target.TargetID {
			continue
		}
		if _, err := chromedp.CallBrowser(ctx, target.CloseTarget, target.CloseTargetParams{TargetID: other.TargetID}); err != nil {
			return err
		}
	}
	return nil
}

// close closes the tab with its cookies and storage, and its windows. It waits until
// the browser has done that, which frees the memory, or ctx ends.
func (t *tab) close(ctx context.Context) error {
	nothing := lost(t.browser) || context.Cause(t.ctx) == errGone
	t.end(errClosed)
	closed := make(chan error, 1)
	go func() { closed <- chromedp.Cancel(t.ctx) }()
	select {
	case err := <-closed:
		if nothing {
			return nil // chromedp says that there is nothing to close
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do runs actions in the tab.
func (t *tab) do(ctx context.Context, actions ...chromedp.Action[chromedp.Void]) error {
	_, err := ask(ctx, t, chromedp.Steps(actions...))
	return err
}

// ask runs an action in the tab until the tab or ctx ends. chromedp takes a single
// ctx, that of the tab, and so ctx ends one made from it.
func ask[T any](ctx context.Context, t *tab, action chromedp.Action[T]) (T, error) {
	both, cancel := context.WithCancel(t.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	result, err := chromedp.Run(both, action)
	switch {
	case err == nil:
		return result, nil
	case lost(t.browser):
		err = fmt.Errorf("the browser has ended: %v", err) // without "context canceled": it was not the user's ctx
	case t.ctx.Err() != nil:
		err = context.Cause(t.ctx)
	case both.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, chromedp.ErrTargetDetached): // watch is about to end the tab
		err = errGone
	default:
		return result, err
	}
	t.cut = true
	return result, err
}

// call makes an action of a command of the protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// evaluate makes an action of a script whose value nobody needs.
func evaluate(script string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Evaluate[any](script)(ctx, t)
		if errors.Is(err, chromedp.ErrJSUndefined) {
			err = nil
		}
		return chromedp.Void{}, err
	}
}
