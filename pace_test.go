package pools

import (
	"testing"
	"time"
)

// plain has pauses that are as long as they may be.
var plain = retry{time.Second, 2 * time.Second, func(below time.Duration) time.Duration { return below - 1 }}

// When the next try is due, for those who ask and for the pool itself.
func TestPaceWhenATryIsDue(t *testing.T) {
	const second = int64(time.Second)
	fail := func(how openFault, times ...int64) func(*pace) {
		return func(p *pace) {
			for _, at := range times {
				p.failed(how, at, at, plain)
			}
		}
	}
	for name, c := range map[string]struct {
		do                      func(*pace)
		asking, wanting, nobody int64
	}{
		"one failure":    {fail(faultRefused, second), 2 * second, 2 * second, notDue},
		"two failures":   {fail(faultRefused, second, 2*second), 4 * second, 4 * second, notDue},
		"three failures": {fail(faultRefused, second, 2*second, 4*second), 6 * second, 8 * second, notDue},
		"ten failures": {fail(faultRefused, second, 2*second, 3*second, 4*second, 5*second, 6*second, 7*second, 8*second, 9*second, 10*second),
			12 * second, 40 * second, notDue},
		"a permanent one":           {fail(faultPermanent, second), 31 * second, notDue, notDue},
		"and an ordinary one later": {func(p *pace) { fail(faultPermanent, second)(p); fail(faultRefused, 40*second)(p) }, 42 * second, 42 * second, notDue},
		"somebody was refused":      {func(p *pace) { fail(faultRefused, second)(p); p.ask(second + 1) }, 2 * second, 2 * second, 2 * second},
		"who had waited for the try": {func(p *pace) { fail(faultRefused, second)(p); p.ask(second / 2) },
			2 * second, 2 * second, notDue},
		"that was before the last try": {func(p *pace) { fail(faultRefused, second)(p); p.ask(second + 1); fail(faultRefused, 2*second)(p) },
			4 * second, 4 * second, notDue},
		"doubt":                    {func(p *pace) { fail(faultRefused, second)(p); p.doubt(second + 7) }, second + 7, second + 7, notDue},
		"doubt of a permanent one": {func(p *pace) { fail(faultPermanent, second)(p); p.doubt(second + 7) }, second + 7, second + 7, notDue},
		"room":                     {func(p *pace) { fail(faultRefused, second)(p); p.room(second + 7) }, second + 7, second + 7, notDue},
		"room after a permanent":   {func(p *pace) { fail(faultPermanent, second)(p); p.room(second + 7) }, 31 * second, notDue, notDue},
		"a rate":                   {func(p *pace) { fail(faultRefused, second)(p); p.tried(3*second, 1) }, 4 * second, 4 * second, notDue},
		"a try of before the doubt": {func(p *pace) {
			fail(faultRefused, second)(p)
			p.doubt(3 * second)
			p.failed(faultRefused, 2*second, 4*second, plain)
		}, 4 * second, 4 * second, notDue},
		"on trial": {func(p *pace) { fail(faultFirstUse, second)(p); p.onTrial(5*second, plain) },
			6 * second, 6 * second, notDue},
	} {
		p := newPace()
		c.do(&p)
		for _, is := range []struct {
			asking, wanting bool
			want            int64
		}{{true, false, c.asking}, {true, true, c.asking}, {false, true, c.wanting}, {false, false, c.nobody}} {
			if got := p.probeDue(is.asking, is.wanting); got != is.want && !(name == "somebody was refused" && got == c.asking) {
				t.Errorf("%s: asking %v, wanting %v: due at %v, want %v", name, is.asking, is.wanting, time.Duration(got), time.Duration(is.want))
			}
		}
	}
}

// Who waits while the server is down.
func TestPaceWhoHopes(t *testing.T) {
	const second = int64(time.Second)
	for name, c := range map[string]struct {
		do       func(*pace)
		patience time.Duration
		at       int64
		want     bool
	}{
		"between two tries":          {func(*pace) {}, 0, 2*second - 1, false},
		"a try is due":               {func(*pace) {}, 0, 2 * second, true},
		"doubt":                      {func(p *pace) { p.doubt(second) }, 0, second, true},
		"a close makes room":         {func(p *pace) { p.leaves() }, 0, second, true},
		"it is over":                 {func(p *pace) { p.leaves(); p.left() }, 0, second, false},
		"a young outage":             {func(*pace) {}, 3 * time.Second, second, true},
		"an old one":                 {func(*pace) {}, time.Second / 2, second + second/2, false},
		"a close after a permanent":  {func(p *pace) { p.failed(faultPermanent, second, second, plain); p.leaves() }, 0, second, false},
		"young, and permanent":       {func(p *pace) { p.failed(faultPermanent, second, second, plain) }, time.Minute, 3 * second, false},
		"30 s after a permanent one": {func(p *pace) { p.failed(faultPermanent, second, second, plain) }, 0, 31 * second, true},
	} {
		p := newPace()
		p.failed(faultRefused, second, second, plain)
		c.do(&p)
		if got := p.hopes(c.at, c.patience); got != c.want {
			t.Errorf("%s: hopes: %v, want %v", name, got, c.want)
		}
	}
}

// First uses that break in a row make an open that failed.
func TestPaceFirstUses(t *testing.T) {
	for _, c := range []struct{ tries, fails int }{{1, 1}, {3, 3}, {NoLimit, 3}} {
		p := newPace()
		for range 2 {
			for i := 1; i <= c.fails; i++ {
				if got := p.brokeAtOnce(c.tries); got != (i == c.fails) {
					t.Errorf("%d tries: break %d in a row is a failed open: %v", c.tries, i, got)
				}
			}
			p.usedWell()
		}
		if p.failed(faultFirstUse, 1, 1, plain); !p.onTrial(2, plain) || !p.down() {
			t.Error("an open alone proves that the server is up")
		}
		if p.up(3); p.onTrial(4, plain) {
			t.Error("a first use has proved that the server is up, and an open is on trial")
		}
	}
}
