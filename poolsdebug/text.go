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
	var closed []string
	for reason, n := range d.Stats.ClosedBy.All() {
		if n > 0 {
			closed = append(closed, fmt.Sprintf("%d %v", n, reason))
		}
	}
	fmt.Fprintf(b, "  opened %d (%d opens failed), closed %d: %s\n", d.Stats.Opened, d.Stats.OpenErrors, d.Stats.Closed, strings.Join(closed, ", "))
	for _, h := range d.Holders {
		fmt.Fprintf(b, "  %d held, the longest for %s: %s\n", h.Count, short(time.Duration(h.Longest)), clean(strings.Join(h.IDs, " ")))
		if h.Stack != "" {
			b.WriteString(lines(h.Stack, "      "))
		}
	}
	if d.More > 0 {
		fmt.Fprintf(b, "  %d more are held, taken at other places\n", d.More)
	}
	if len(d.Holders) > 0 && !d.Settings.TrackHolders {
		b.WriteString("  who holds them is known with Settings.TrackHolders\n")
	}
	for _, e := range d.Events {
		fmt.Fprintf(b, "  %s  %s\n", e.At.Format("15:04:05.000"), clean(e.words()))
	}
}

// words is an event in one line, without its stack.
func (e event) words() string {
	w := []string{e.Kind}
	add := func(there bool, format string, args ...any) {
		if there {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	add(e.ID != "", "%s", e.ID)
	add(e.Call != "", "%s", e.Call)
	add(e.Reason != "", "(%s)", e.Reason)
	add(e.Took != 0, "%s", short(time.Duration(e.Took)))
	add(e.Count != 0, "×%d", e.Count)
	add(e.Err != "", "%s", e.Err)
	add(e.Suppressed != 0, "and %d more before", e.Suppressed)
	return strings.Join(w, " ")
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
