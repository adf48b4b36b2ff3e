//go:build unix

package pools_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/utopia-go/pools"
)

var freezeRounds = flag.Int("freezes", 1, "TestFreeze: how often each process is stopped; 100 times take six minutes")

// asked is a resource that knows when it was last opened or checked.
type asked struct{ at atomic.Int64 }

func (*asked) Close() error { return nil }

// TestFreezeChild is the process that TestFreeze stops. For each line that it
// reads it pops a connection and says how long nobody has asked it, and its age,
// in milliseconds.
func TestFreezeChild(t *testing.T) {
	how := os.Getenv("POOLS_FREEZE")
	if how == "" {
		t.Skip("it is TestFreeze's")
	}
	connector := pools.OpenFunc(func(context.Context) (*asked, error) {
		r := new(asked)
		r.at.Store(time.Now().UnixNano())
		return r, nil
	})
	connector.Check = func(_ context.Context, r *asked) error {
		r.at.Store(time.Now().UnixNano())
		return nil
	}
	pool, err := pools.New("frozen", connector, pools.Settings{
		Size: 2, CheckAfter: time.Second, IdleTimeout: 2 * time.Second, MaxLifetime: 2500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if how == "suspect" {
			pool.Suspect()
		}
		conn, err := pool.Pop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%d ms, %d ms old\n", (time.Now().UnixNano()-conn.Resource().at.Load())/1e6, conn.Age().Milliseconds())
		_ = conn.Push()
	}
}

// A real process is stopped, and asked for a connection as soon as it goes on:
// nothing may be lent that CheckAfter, IdleTimeout or MaxLifetime forbid. What was
// idle through a whole look (250 ms here) needs no help, all others need Suspect.
func TestFreeze(t *testing.T) {
	for _, c := range []struct {
		how  string
		idle time.Duration // before the stop
	}{{"alone", 600 * time.Millisecond}, {"suspect", 50 * time.Millisecond}} {
		for _, processors := range []string{"1", "2"} {
			t.Run(c.how+" GOMAXPROCS="+processors, func(t *testing.T) {
				if testing.Short() && processors == "2" {
					t.Skip("short")
				}
				t.Parallel()
				rounds := *freezeRounds
				if testing.Short() {
					rounds = 1
				}
				good := 0
				for range rounds {
					if freeze(t, c.how, processors, c.idle) {
						good++
					}
				}
				t.Logf("%d of %d rounds are good", good, rounds)
			})
		}
	}
}

// freeze reports whether one round is good.
func freeze(t *testing.T, how, processors string, idle time.Duration) bool {
	child := exec.Command(os.Args[0], "-test.run=^TestFreezeChild$")
	child.Env = append(os.Environ(), "POOLS_FREEZE="+how, "GOMAXPROCS="+processors)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Signal(syscall.SIGCONT)
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = child.Wait()
	}()
	answers := bufio.NewReader(out)
	answer := func() (unasked, old time.Duration) {
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var a, b int
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d ms, %d ms old", &a, &b); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return time.Duration(a) * time.Millisecond, time.Duration(b) * time.Millisecond
	}
	if _, err := io.WriteString(in, "warm\n"); err != nil {
		t.Fatal(err)
	}
	answer()
	time.Sleep(idle)
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if _, err := io.WriteString(in, "thawed\n"); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	unasked, old := answer()
	if unasked > 1500*time.Millisecond || old > 2600*time.Millisecond {
		t.Errorf("lent after a stop of 3 s: unchecked for %v, %v old", unasked, old)
		return false
	}
	return true
}
