package servers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/internal/engine"
	"github.com/utopia-go/pools/internal/load"
)

const (
	frozenChild = "POOLS_TEST_FROZEN" // has the test binary be such a client: the engine's name and address
	frozenSize  = 3
	frozenMany  = 8 // clients
)

// freeze stops clients while they are idle. The server closes their connections
// meanwhile. What each is asked first when it goes on must be answered.
func freeze(t *testing.T, e *engine.Engine) {
	configure(t, e, [][2]string{{"timeout", "3"}}, "alter role "+engine.PostgresUser+" set idle_session_timeout = '3s'")
	type client struct {
		cmd *exec.Cmd
		in  io.WriteCloser
		out *bufio.Reader
	}
	all := make([]client, 0, frozenMany)
	defer func() {
		for _, c := range all {
			_ = c.cmd.Process.Signal(syscall.SIGCONT)
			c.in.Close()
		}
		for _, c := range all {
			if err := c.cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
	}()
	for range frozenMany {
		var c client
		c.cmd = exec.CommandContext(t.Context(), os.Args[0])
		c.cmd.Env = append(os.Environ(), frozenChild+"="+e.Name+" "+e.Address)
		c.cmd.Stderr = os.Stderr
		in, err := c.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.in, c.out = in, bufio.NewReader(out)
		if err := c.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	ask := func(c *client) {
		if _, err := io.WriteString(c.in, "ask\n"); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(c *client) string {
		line, err := c.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
	for range 2 { // the first opens, which takes some longer than others; the second uses all at about the same time
		for i := range all {
			ask(&all[i])
		}
		for i := range all {
			if got := answer(&all[i]); got != "0 dead" {
				t.Fatalf("nothing is wrong yet: %s", got)
			}
		}
	}
	time.Sleep(frozenCheckAfter * 3 / 4) // idle for two looks of the keeper at least, but not for CheckAfter
	for i := range all {
		if err := all[i].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	alone(t, e)
	for i := range all {
		ask(&all[i]) // the first thing that it sees
		if err := all[i].cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	hurt, dead := 0, 0
	for i := range all {
		got, n := answer(&all[i]), 0
		if _, err := fmt.Sscanf(got, "%d dead", &n); err != nil {
			t.Fatalf("%q", got)
		}
		dead += n
		if n > 0 {
			hurt++
		}
	}
	t.Logf("figures: freeze, %s: of %d clients that went on, %d were lent dead connections, %d of %d", e.Name, frozenMany, hurt, dead, frozenMany*frozenSize)
	if dead > 0 {
		t.Errorf("%d of %d first users had a dead connection", dead, frozenMany*frozenSize)
	}
}

// frozenCheckAfter is four looks of the keeper, and less than the server's
// patience with a connection that is idle.
const frozenCheckAfter = 2 * time.Second

// beFrozen is the client. For each line that it reads it takes all connections
// at once, asks each, and says how many were dead.
func beFrozen(server string) int {
	name, address, _ := strings.Cut(server, " ")
	var err error
	if name == "redis" {
		err = answerLines(load.Redis, address)
	} else {
		err = answerLines(load.Postgres, address)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func answerLines[T comparable](kind load.Kind[T], address string) error {
	pool, err := pools.New("frozen", kind.Connector(address), pools.Settings{Size: frozenSize, CheckAfter: frozenCheckAfter})
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		dead := 0
		var all []pools.Conn[T]
		var faults []error
		for i := range frozenSize {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			conn, err := pool.Pop(ctx)
			if err != nil {
				cancel()
				return err
			}
			got, err := kind.Ask(ctx, conn.Resource(), int64(i))
			if err != nil || got != int64(i) {
				dead++
			}
			cancel()
			all, faults = append(all, conn), append(faults, err)
		}
		for i, conn := range all {
			if err := conn.PushErr(faults[i]); err != nil {
				return err
			}
		}
		fmt.Println(dead, "dead")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pool.Close(ctx)
}
