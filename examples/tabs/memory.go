package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/systeminfo"
	"github.com/chromedp/chromedp"
)

var pss = regexp.MustCompile(`(?m)^Pss: +(\d+) kB$`)

// memory returns the bytes that the browser's processes have in memory, where the
// system tells (Linux). What several share is counted once.
func (b *browser) memory(ctx context.Context) (int, error) {
	root, err := b.start(ctx)
	if err != nil {
		return 0, err
	}
	processes, err := chromedp.CallBrowser(root, systeminfo.GetProcessInfo, cdp.Empty{})
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, process := range processes.ProcessInfo {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", process.ID))
		if err != nil {
			continue // it has ended
		}
		if found := pss.FindSubmatch(text); found != nil {
			kilobytes, _ := strconv.Atoi(string(found[1]))
			sum += kilobytes << 10
		}
	}
	return sum, nil
}
