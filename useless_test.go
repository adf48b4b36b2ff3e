package pools_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// dying is a resource that ends; each of the types that embed it has its own word
// for that.
type dying struct{ dead bool }

func (*dying) Close() error { return nil }
func (d *dying) kill()      { d.dead = true }
func (d *dying) query() error {
	if d.dead {
		return errors.New("conn closed")
	}
	return nil
}

type mortal interface {
	kill()
	query() error
}

type (
	isClosed  struct{ dying }
	isClosing struct{ dying }
	isValid   struct{ dying }
	hasErr    struct{ dying }
	isNothing struct{ dying }
)

func (d *isClosed) IsClosed() bool   { return d.dead }
func (d *isClosing) IsClosing() bool { return d.dead }
func (d *isValid) IsValid() bool     { return !d.dead }
func (d *hasErr) Err() error         { return d.query() }

// A resource that says that it is of no use is not lent again, whatever its user
// said. A connector with a Broken of its own, and a type that says nothing, are
// left alone.
func TestResourceIsAsked(t *testing.T) {
	tellsItself(t, "IsClosed", true, nil, func() *isClosed { return new(isClosed) })
	tellsItself(t, "IsClosing", true, nil, func() *isClosing { return new(isClosing) })
	tellsItself(t, "IsValid", true, nil, func() *isValid { return new(isValid) })
	tellsItself(t, "Err", true, nil, func() *hasErr { return new(hasErr) })
	tellsItself(t, "nothing", false, nil, func() *isNothing { return new(isNothing) })
	tellsItself(t, "Broken", false, func(*isClosed, error) bool { return false }, func() *isClosed { return new(isClosed) })
}

func tellsItself[T mortal](t *testing.T, name string, asks bool, broken func(T, error) bool, open func() T) {
	t.Run(name, func(t *testing.T) {
		for _, told := range []error{nil, errors.New("FATAL: 57P01")} {
			synctest.Test(t, func(t *testing.T) {
				opened := 0
				connector := pools.OpenFunc(func(context.Context) (T, error) { opened++; return open(), nil })
				connector.Close = func(context.Context, T) error { return nil }
				connector.Broken = broken
				pool, err := pools.New(name, connector, pools.Settings{Size: 2})
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close(t.Context())
				if careful := pools.Careful(pool); careful != (asks || broken != nil) {
					t.Errorf("each Push asks: %v", careful)
				}
				for range 3 {
					if err := pool.Use(t.Context(), T.query); err != nil {
						t.Error(err)
					}
				}
				_ = pool.Use(t.Context(), func(r T) error { r.kill(); return told })
				synctest.Wait()
				if err := pool.Use(t.Context(), T.query); (err == nil) != asks || opened != 1+btoi(asks) {
					t.Errorf("%v, %d opened", err, opened)
				}
			})
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// poison has the only idle connection fail each use until the pool finds out,
// and returns how many did.
func poison(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) (failed int) {
	t.Helper()
	conn := poolstest.Pop(t, pool).Has()
	dead := conn.Resource().Number
	_ = conn.Push()
	server.Check.Always(poolstest.Fail(errRefused))
	for range 100 {
		err := pool.Use(t.Context(), func(r resource) error {
			if r.Number == dead {
				return errors.New("conn closed")
			}
			server.Check.Clear()
			return nil
		})
		if err != nil {
			failed++
		}
		synctest.Wait()
	}
	return failed
}

// A connection whose uses fail on end goes: after its Check has failed, or at once
// without one. It takes five, whether there is something to Reset or not.
func TestStreak(t *testing.T) {
	for name, options := range map[string][]poolstest.Option{
		"closed": nil, "checked": {poolstest.WithCheck}, "clean": {poolstest.WithReset, poolstest.WithCheck},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := poolstest.NewServer(t, 0)
				server.IsDirty = func(resource) bool { return false }
				pool := poolstest.Make(t, server, pools.Settings{Size: 3, CheckAfter: time.Hour}, options...)
				if n := poison(t, pool, server); n != 5 {
					t.Errorf("%d uses failed", n)
				}
				if st := pool.Stats(); st.Opened != 2 || st.Closed != 1 || options == nil && st.ClosedBy[pools.ReasonBroken] != 1 {
					t.Errorf("%+v", st)
				}
				closed := pool.Events()[len(pool.Events())-2]
				if options == nil && (closed.Err == nil || !strings.Contains(closed.Err.Error(), "conn closed")) {
					t.Errorf("%+v", closed)
				}
			})
		})
	}
}

// The check of one that fails makes its siblings suspected.
func TestStreakSuspectsSiblings(t *testing.T) {
	scenario(t, pools.Settings{Size: 4, CheckAfter: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 4)
		server.Check.Next(poolstest.Fail(errRefused))
		for range 5 {
			_ = poolstest.Pop(t, pool).Has().PushErr(errRefused)
		}
		if st := pool.Stats(); st.Stale != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(1100 * time.Millisecond) // the keeper checks it
		if st := pool.Stats(); st.Stale+st.Checking == 0 && server.Check.Calls() < 2 {
			t.Errorf("nothing else is suspected: %d checks, %+v", server.Check.Calls(), st)
		}
		time.Sleep(5 * time.Second)
		if n := server.Check.Calls(); n != 4 {
			t.Errorf("%d checks", n)
		}
	}, poolstest.WithCheck)
}

// Requests that are wrong cost a pool little: a success in between begins anew,
// once a second is enough, what never succeeded stays, and where Broken judges
// nothing is closed.
func TestRequestsThatAreWrong(t *testing.T) {
	wrong := errors.New("no such key")
	use := func(t *testing.T, pool *pools.Pool[resource], err error) {
		_ = pool.Use(t.Context(), func(resource) error { return err })
		synctest.Wait()
	}
	minute := func(t *testing.T, pool *pools.Pool[resource], f func(i int) error) {
		for i := range 6000 {
			use(t, pool, f(i))
			time.Sleep(10 * time.Millisecond)
		}
	}
	for name, c := range map[string]struct {
		broken func(resource, error) bool
		check  bool
		fails  func(i int) error
		most   int // that are opened in a minute
		checks int // at most
	}{
		"all are":                 {nil, false, func(int) error { return wrong }, 1, 0},
		"all but the first":       {nil, false, func(i int) error { return map[bool]error{false: wrong}[i == 0] }, 2, 0},
		"four of five":            {nil, false, func(i int) error { return map[bool]error{false: wrong}[i%5 == 0] }, 1, 0},
		"nine of ten":             {nil, false, func(i int) error { return map[bool]error{false: wrong}[i%10 == 0] }, 61, 0},
		"all, with a Check":       {nil, true, func(int) error { return wrong }, 1, 60},
		"nine of ten, and Broken": {func(resource, error) bool { return false }, false, func(i int) error { return map[bool]error{false: wrong}[i%10 == 0] }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := poolstest.NewServer(t, 0)
				server.IsBroken = c.broken
				var options []poolstest.Option
				if c.check {
					options = append(options, poolstest.WithCheck)
				}
				pool := poolstest.Make(t, server, pools.Settings{Size: 3, CheckAfter: time.Hour}, options...)
				minute(t, pool, c.fails)
				if server.Opened() > c.most || server.Check.Calls() > c.checks || c.checks > 0 && server.Check.Calls() < c.checks/2 {
					t.Errorf("%d opened, %d checks", server.Opened(), server.Check.Calls())
				}
			})
		})
	}
}

// Uses of others in between, of the same connection, end a streak although the
// pool does not see them.
func TestStreakEndsUnseen(t *testing.T) {
	scenario(t, pools.Settings{Size: 1}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		for range 20 {
			for range 4 {
				_ = poolstest.Pop(t, pool).Has().PushErr(errRefused)
			}
			_ = poolstest.Pop(t, pool).Has().Push()
		}
		if server.Opened() != 1 {
			t.Errorf("%d opened", server.Opened())
		}
	})
}

// With CheckAfter Never there is no check, so what fails on end is closed.
func TestStreakWithoutChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := poolstest.NewServer(t, 0)
		pool := poolstest.Make(t, server, pools.Settings{Size: 3, CheckAfter: pools.Never}, poolstest.WithCheck)
		if n := poison(t, pool, server); n != 5 || server.Check.Calls() != 0 {
			t.Errorf("%d uses failed, %d checks", n, server.Check.Calls())
		}
	})
}

// A Reset that fails makes the idle connections suspected.
func TestResetThatFailsSuspects(t *testing.T) {
	scenario(t, pools.Settings{Size: 4, CheckAfter: time.Hour}, func(t *testing.T, pool *pools.Pool[resource], server *poolstest.Server) {
		fill(t, pool, 4)
		server.Reset.Next(poolstest.Fail(io.EOF))
		use(t, pool)
		synctest.Wait()
		if st := pool.Stats(); st.Stale != 3 {
			t.Errorf("%+v", st)
		}
	}, poolstest.WithCheck, poolstest.WithReset)
}

// Missing files are no network errors; what is beside them is.
func TestFilesDoNotBreak(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}
	for _, c := range []struct {
		err    error
		breaks bool
	}{
		{missing, false},
		{fmt.Errorf("read the template: %w", missing), false},
		{&fs.PathError{Op: "mkdir", Path: "x", Err: syscall.EEXIST}, false},
		{&os.LinkError{Op: "link", Old: "x", New: "y", Err: syscall.EPERM}, false},
		{syscall.EACCES, false},
		{errors.Join(missing, syscall.EACCES), false},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, true},
		{&fs.PathError{Op: "read", Path: "x", Err: os.ErrDeadlineExceeded}, true},
		{&net.OpError{Op: "dial", Err: missing}, true},
		{fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}), true},
		{errors.Join(missing, syscall.ECONNRESET), true},
		{errors.Join(missing, io.EOF), true},
		{errors.Join(missing, errors.New("no such key")), false},
	} {
		if pools.Breaks(c.err) != c.breaks {
			t.Errorf("%v breaks: %v", c.err, !c.breaks)
		}
	}
}

// A resource that says that it is well is not asked after an error that breaks.
func TestLiveResourceBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		pool, err := pools.New("live", pools.OpenFunc(func(context.Context) (*isClosed, error) { opened++; return new(isClosed), nil }), pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close(t.Context())
		for range 2 {
			_ = pool.Use(t.Context(), func(*isClosed) error { return io.EOF })
		}
		if opened != 2 {
			t.Errorf("%d opened", opened)
		}
	})
}
