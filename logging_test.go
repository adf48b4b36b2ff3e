package pools_test

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// journal is a log: the level and the message of each record, and the names of its
// attributes.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logger() *slog.Logger {
	return slog.New(handler(func(r slog.Record) {
		line := r.Level.String() + " " + r.Message
		r.Attrs(func(a slog.Attr) bool {
			line += " " + a.Key
			return true
		})
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, line)
	}))
}

// forget returns the lines so far that contain text, and forgets all lines.
func (j *journal) forget(text string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.lines
	j.lines = nil
	return slices.DeleteFunc(all, func(line string) bool { return !strings.Contains(line, text) })
}

// What happens once is logged once, and told as all that it is.
func TestOneRecordForOneThing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, d := new(journal), new(diary)
		pool, server := poolstest.New(t, pools.Settings{
			Size: 1, OpenTimeout: time.Second, ReconnectAttempts: 1, ReconnectSleep: time.Minute, MaxReconnectSleep: time.Minute,
			Logger: j.logger(), Observer: d.observer(),
		})
		tried := func(want ...string) {
			t.Helper()
			if _, err := pool.Pop(t.Context()); err == nil {
				t.Fatal("popped")
			}
			synctest.Wait()
			if got := j.forget(""); !slices.Equal(got, want) {
				t.Errorf("logged %q, want %q", got, want)
			}
			time.Sleep(2 * time.Minute)
		}
		server.Open.Always(poolstest.Fail(errRefused))
		tried("ERROR pools: the server is down; one open at a time is tried until one succeeds pool count next try in error")
		tried("ERROR pools: open failed pool count next try in error")
		release := make(chan struct{})
		server.Open.Always(poolstest.Hang(release))
		tried("ERROR pools: a connector call hung and was abandoned pool call took")
		close(release)
		if failed, down := d.of(pools.EventOpenFailed), d.of(pools.EventDown); len(failed) != 3 || len(down) != 1 ||
			down[0].Err != errRefused || down[0].Count != 1 || down[0].RetryIn != failed[0].RetryIn {
			t.Errorf("failed %v, down %v", failed, down)
		}
		server.Open.Clear()
	})
}

// A broken connection that does not close well is no news; a good one is.
func TestCloseThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault poolstest.Fault
		end   func(conn pools.Conn[resource], pool *pools.Pool[resource])
		level string
	}{
		"broken":           {poolstest.Fail(errRefused), func(c pools.Conn[resource], _ *pools.Pool[resource]) { c.PushErr(io.EOF) }, "DEBUG"},
		"destroyed":        {poolstest.Fail(errRefused), func(c pools.Conn[resource], _ *pools.Pool[resource]) { c.Destroy() }, "DEBUG"},
		"revoked":          {poolstest.Fail(errRefused), func(c pools.Conn[resource], p *pools.Pool[resource]) { p.RevokeAll(); c.Push() }, "DEBUG"},
		"broken, a panic":  {poolstest.Panic("no"), func(c pools.Conn[resource], _ *pools.Pool[resource]) { c.PushErr(io.EOF) }, "WARN"},
		"broken, a Goexit": {poolstest.Goexit(), func(c pools.Conn[resource], _ *pools.Pool[resource]) { c.PushErr(io.EOF) }, "WARN"},
		"good": {poolstest.Fail(errRefused), func(c pools.Conn[resource], p *pools.Pool[resource]) {
			_ = p.Configure(func(s *pools.Settings) { s.MaxUses = 1 })
			c.Push()
		}, "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, d := new(journal), new(diary)
				pool, server := poolstest.New(t, pools.Settings{Size: 1, Logger: j.logger(), Observer: d.observer()})
				server.IsBroken = func(_ resource, err error) bool { return errors.Is(err, io.EOF) }
				server.Close.Next(c.fault)
				conn := poolstest.Pop(t, pool).Has()
				time.Sleep(time.Millisecond)
				c.end(conn, pool)
				synctest.Wait()
				failed, want := d.of(pools.EventCallFailed), pools.Reason("")
				if c.level == "DEBUG" {
					want = pools.Reason(name)
				}
				if len(failed) != 1 || failed[0].Reason != want || failed[0].Call != "Close" {
					t.Errorf("%v", failed)
				}
				lines := j.forget("")
				failing := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, "a connector call failed") })
				if len(failing) != 1 || !strings.HasPrefix(failing[0], c.level) {
					t.Errorf("%q", failing)
				}
				if closed := slices.IndexFunc(lines, func(line string) bool {
					return strings.Contains(line, "a connection was closed pool connection reason age")
				}); closed < 0 {
					t.Errorf("%q", lines)
				}
			})
		})
	}
}
