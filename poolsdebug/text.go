package poolsdebug

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/utopia-go/pools"
)

// clean writes a name so that it cannot pass for anything else, nor command a
// terminal.
func clean(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) || s == "" {
		return strconv.Quote(s)
	}
	return s
}

// lines cleans each line of a text.
func lines(s, indent string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		tabs := len(line) - len(strings.TrimLeft(line, "\t"))
		fmt.Fprintf(&b, "%s%s%s\n", indent, line[:tabs], clean(line[tabs:]))
	}
	return b.String()
}

func writeText(b *strings.Builder, all []pools.AnyPool) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "pool\tsize\theld\tidle\topening\twaiting\tlent\twait p50\tp99\tmax\tuse p50\tp99\tlost\tleaks\tmisused\t")
	for _, p := range all {
		st := p.Stats()
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t\n", clean(st.Name), st.Size, st.Held+st.Revoked,
			st.Idle+st.Stale, st.Opening, st.Waiting, st.Leases, short(st.Wait.Quantile(0.5)), short(st.Wait.Quantile(0.99)), short(st.Wait.Max),
			short(st.Use.Quantile(0.5)), short(st.Use.Quantile(0.99)), st.Lost, st.Leaks, st.Misused)
	}
	_ = t.Flush()
	errs := ask()
	for _, p := range all {
		d := lookInto(p, errs)
		writePool(b, d, down(p, d.Stats, errs))
	}
}

func writePool(b *strings.Builder, d detail, down string) {
	fmt.Fprintf(b, "\n%s\n", clean(d.Name))
	if d.Stats.Paused {
		b.WriteString("  paused\n")
	}
	if down != "" {
		fmt.Fprintf(b, "  opens fail: %s\n", clean(down))
	}
	fmt.Fprintf(b, "  opened %d (%d opens failed), closed %d", d.Stats.Opened, d.Stats.OpenErrors, d.Stats.Closed)
	if d.Stats.Closed > 0 {
		fmt.Fprintf(b, ": %v", d.Stats.ClosedBy)
	}
	b.WriteString("\n")
	for _, h := range d.Holders {
		fmt.Fprintf(b, "  %d held, the longest for %s: %s\n", h.Count, short(time.Duration(h.Longest)), clean(strings.Join(h.IDs, " ")))
		if h.Stack != "" {
			b.WriteString(lines(h.Stack, "      "))
		}
	}
	if d.More > 0 {
		fmt.Fprintf(b, "  %d more are held, taken at other places\n", d.More)
	}
	if len(d.Holders) > 0 && d.Settings["TrackHolders"] == false {
		b.WriteString("  who holds them is known with Settings.TrackHolders\n")
	}
	for _, e := range d.Events {
		fmt.Fprintf(b, "  %s  %s\n", e.At.Format("15:04:05.000"), clean(e.Text))
	}
}

// words is an event in one line, without its stack.
func (e event) words() string {
	text, took := e.Kind, short(time.Duration(e.Took))
	if e.ID != "" {
		text += " " + e.ID
	}
	switch pools.EventKind(e.Kind) {
	case pools.EventOpened:
		text += " in " + took
	case pools.EventOpenFailed:
		text += " after " + took
		if e.Count > 1 {
			text += fmt.Sprintf(", %d in a row", e.Count)
		}
	case pools.EventClosed:
		text += fmt.Sprintf(" (%s), %s old", e.Reason, took)
	case pools.EventUp, pools.EventResumed:
		text += " after " + took
	case pools.EventLeaked, pools.EventReturned:
		text += ", held for " + took
	case pools.EventHung:
		text += fmt.Sprintf(": %s, for %s", e.Call, took)
	case pools.EventCallFailed:
		text += ": " + e.Call
	case pools.EventConfigured:
		text += fmt.Sprintf(": Size is %d", e.Count)
	case pools.EventRefresh:
		text += ": " + number(e.Count, "connection") + " to replace"
	case pools.EventRevoked:
		if e.ID == "" { // by RevokeAll
			text += " " + number(e.Count, "lease")
		}
	}
	if e.Err != "" {
		text += ": " + e.Err
	}
	if e.Suppressed != 0 {
		text += fmt.Sprintf(" (and %d more before)", e.Suppressed)
	}
	return text
}

func number(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// short writes a time with about three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d >= time.Microsecond:
		return d.Round(10 * time.Nanosecond).String()
	}
	return d.String()
}
