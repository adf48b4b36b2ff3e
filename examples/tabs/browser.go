package main

import (
	"context"

	"github.com/chromedp/chromedp"
)

// browser is the browser that all tabs share, and a new one when it has died.
type browser struct {
	allocator context.Context
	stop      context.CancelFunc // stops the browser and waits for its end
	turn      chan struct{}      // its one element is held while root is read or written
	root      context.Context    // of the running browser, or nil
}

func newBrowser(options ...chromedp.ExecAllocatorOption) *browser {
	b := &browser{turn: make(chan struct{}, 1)}
	b.allocator, b.stop = chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], options...)...)
	return b
}

// start returns the ctx of the browser, and starts the browser if it does not run.
// While it starts, other opens wait here instead of starting more of them.
func (b *browser) start(ctx context.Context) (context.Context, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if b.root != nil && !lost(b.root) {
		return b.root, nil
	}
	// As with a tab, the ctx of the first Do is the browser's life. Ending it kills the
	// browser, so nothing is left of one that does not start in time.
	life, kill := context.WithCancel(b.allocator)
	root, _ := chromedp.NewContext(life)
	late := context.AfterFunc(ctx, kill)
	err := chromedp.Do(root)
	if !late() {
		err = context.Cause(ctx)
	}
	if err != nil {
		kill()
		return nil, err
	}
	b.root = root
	return root, nil
}

// lost reports whether the browser of a ctx has ended.
func lost(root context.Context) bool {
	select {
	case <-root.Done():
		return true
	case <-chromedp.FromContext(root).Browser.LostConnection: // some moments earlier
		return true
	default:
		return false
	}
}
