package poolstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
)

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// The server finds what a pool must not do.
func TestServerFindsBrokenRules(t *testing.T) {
	for want, breakIt := range map[string]func(c pools.Connector[*Resource]){
		"2 connections are open": func(c pools.Connector[*Resource]) {
			_, _ = c.Open(context.Background())
			_, _ = c.Open(context.Background())
		},
		"closed twice": func(c pools.Connector[*Resource]) {
			r, _ := c.Open(context.Background())
			_ = c.Close(context.Background(), r)
			_ = c.Close(context.Background(), r)
		},
		"has 2 users": func(c pools.Connector[*Resource]) {
			r, _ := c.Open(context.Background())
			_ = r.Do(func() { _ = r.Do(nil) })
		},
		"closed under its user": func(c pools.Connector[*Resource]) {
			r, _ := c.Open(context.Background())
			_ = r.Do(func() { _ = c.Close(context.Background(), r) })
		},
		"used after it was closed": func(c pools.Connector[*Resource]) {
			r, _ := c.Open(context.Background())
			_ = c.Close(context.Background(), r)
			if err := r.Do(nil); !errors.Is(err, ErrBroken) {
				t.Error(err)
			}
		},
	} {
		test := &recorder{TB: t}
		breakIt(NewServer(test, 1).Connector())
		if len(test.errors) != 1 || !strings.Contains(test.errors[0], want) {
			t.Errorf("want %q, the server found %q", want, test.errors)
		}
	}
}

// Each fault does what it says, in order, and then Always, and then nothing.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		server := NewServer(t, 0)
		server.Open.Next(Fail(refused), nil, Delay(time.Second), InOrder(Deaf(time.Second), Fail(refused)))
		server.Open.Always(Delay(time.Hour))
		open := server.Connector().Open
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		began := time.Now()
		for i, want := range []struct {
			err  error
			took time.Duration
		}{{refused, 0}, {nil, 0}, {nil, time.Second}, {refused, 2 * time.Second}, {context.DeadlineExceeded, 30 * time.Second}} {
			if _, err := open(ctx); !errors.Is(err, want.err) || time.Since(began) != want.took {
				t.Errorf("call %d: %v after %v", i, err, time.Since(began))
			}
		}
		server.Open.Always(nil)
		if r, err := open(t.Context()); err != nil || r.Number != 3 || server.Open.Calls() != 6 {
			t.Error(r, err)
		}
		server.Open.Next(Panic("boom"))
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Error(v)
				}
			}()
			_, _ = open(t.Context())
		}()
		done := make(chan struct{})
		server.Open.Next(server.Hang(), Goexit())
		go func() {
			defer close(done)
			_, _ = open(context.Background())
			_, _ = open(context.Background())
			t.Error("Goexit did not end the goroutine")
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Error("Hang does not hang")
		default:
		}
		server.Release()
		<-done
	})
}
