package pools_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/poolstest"
)

// FuzzSettings: any settings are refused with errors that name their fields, by
// New and by Configure alike, or make a pool that lends and closes.
func FuzzSettings(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 4, 5, 6})
	f.Add([]byte{0, 5, 1})
	f.Add([]byte{12, 3, 14, 1, 15, 2, 4, 8, 5, 9})
	f.Fuzz(func(t *testing.T, picks []byte) {
		read := pools.Settings{Size: 3}
		pick(&read, picks)
		if read.Size > 1000 {
			return // right, and slow
		}
		synctest.Test(t, func(t *testing.T) { tryOut(t, read) })
	})
}

// pick sets fields to values that matter, two bytes each.
func pick(s *pools.Settings, picks []byte) {
	v := reflect.ValueOf(s).Elem()
	for ; len(picks) > 1; picks = picks[2:] {
		switch field := v.Field(int(picks[0]) % v.NumField()); {
		case field.CanInt():
			values := []int64{0, 1, 2, 3, 70, -1, -2, -3, int64(time.Millisecond), int64(time.Hour), 1<<63 - 1, -1 << 63}
			field.SetInt(values[int(picks[1])%len(values)])
		case field.Kind() == reflect.Bool:
			field.SetBool(picks[1]&1 == 1)
		}
	}
}

func tryOut(t *testing.T, settings pools.Settings) {
	server := poolstest.NewServer(t, 0)
	pool, err := pools.New("fuzzed", server.Connector(poolstest.WithCheck), settings)
	plain, plainErr := pools.New("plain", server.Connector(poolstest.WithCheck), pools.Settings{Size: 1})
	if plainErr != nil {
		t.Fatal(plainErr)
	}
	changed := plain.Configure(func(s *pools.Settings) { *s = settings })
	if (err == nil) != (changed == nil) {
		t.Fatalf("New says %v, Configure %v", err, changed)
	}
	if err != nil {
		if !strings.Contains(err.Error(), "Settings.") || !strings.Contains(err.Error(), "give ") {
			t.Fatalf("it names no field or no remedy: %v", err)
		}
		if plain.Settings().Size != 1 {
			t.Fatal("Configure failed and changed something")
		}
		return
	}
	effective := pool.Settings()
	if effective != plain.Settings() {
		t.Fatalf("New makes it\n%+v, Configure\n%+v", effective, plain.Settings())
	}
	if err := pool.Configure(func(*pools.Settings) {}); err != nil || pool.Settings() != effective {
		t.Fatalf("its own settings do not suit it: %v", err)
	}
	for _, p := range []*pools.Pool[*poolstest.Resource]{pool, plain} {
		if err := p.Use(t.Context(), func(r *poolstest.Resource) error { return r.Do(nil) }); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if server.IsOpen() != 0 {
		t.Fatalf("closed, and %d are open", server.IsOpen())
	}
}

// errorTree builds an error out of data: leaves, wrapped, joined, hidden and
// discarded. bad says whether a connection must not be lent again after it.
func errorTree(data []byte) (err error, bad bool) {
	leaves := []struct {
		err error
		bad bool
	}{
		{errRefused, false}, {os.ErrNotExist, false}, {errors.New("no such row"), false},
		{context.Canceled, true}, {context.DeadlineExceeded, true}, {os.ErrDeadlineExceeded, true},
		{io.EOF, true}, {io.ErrUnexpectedEOF, true}, {io.ErrClosedPipe, true}, {net.ErrClosed, true}, {driver.ErrBadConn, true},
		{&net.OpError{Op: "read", Err: errors.New("weather")}, true}, {syscall.ECONNRESET, true},
		{pools.Discard(nil), true}, {pools.Discard(errRefused), true},
	}
	err = errRefused
	for _, b := range data {
		leaf := leaves[int(b>>3)%len(leaves)]
		switch b & 7 {
		case 0, 1:
			err, bad = leaf.err, leaf.bad
		case 2, 3:
			err = fmt.Errorf("step %d: %w", b, err)
		case 4:
			err, bad = errors.Join(err, leaf.err), bad || leaf.bad
		case 5:
			err, bad = fmt.Errorf("%w, after %w", leaf.err, err), bad || leaf.bad
		case 6:
			err, bad = errors.New(err.Error()), false // only the text is left
		case 7:
			err, bad = pools.Discard(err), true
		}
	}
	return err, bad
}

// FuzzErrors: whatever a user's function returns comes back as it was, and
// decides rightly about the connection; whatever an Open returns never passes
// for the end of a ctx that has not ended.
func FuzzErrors(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{0x18, 2, 2})
	f.Add([]byte{0x08, 0x1c, 7, 2})
	f.Add([]byte{0x20, 6, 0x35, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 20 {
			return
		}
		told, bad := errorTree(data)
		synctest.Test(t, func(t *testing.T) {
			pool, server := poolstest.New(t, pools.Settings{Size: 1, ReconnectAttempts: 1})
			got := pool.Use(t.Context(), func(*poolstest.Resource) error { return told })
			if outer := discarded(told); got != outer {
				t.Fatalf("told %v, Use returned %v", told, got)
			}
			synctest.Wait()
			if closed := server.IsOpen() == 0; closed != bad {
				t.Fatalf("%#v: closed: %v, must be: %v", told, closed, bad)
			}
			if !bad {
				return
			}
			server.Open.Always(poolstest.Fail(told))
			time.Sleep(time.Minute) // it may have been its first use that broke it
			_, err := pool.Pop(t.Context())
			if e, ok := errors.AsType[*pools.PopError](err); !ok || !errors.Is(err, pools.ErrOpenFailed) || e.OpenErr.Error() != told.Error() {
				t.Fatalf("Open failed with %v, Pop with %v", told, err)
			}
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("it passes for the end of a ctx: %v", err)
			}
			ends := errors.Is(told, context.Canceled) || errors.Is(told, context.DeadlineExceeded)
			if !ends && !errors.Is(err, told) {
				t.Fatalf("the error of this wait's open cannot be reached: %v", err)
			}
			server.Open.Clear()
			time.Sleep(time.Minute)
			if err := pool.Use(t.Context(), func(*poolstest.Resource) error { return nil }); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// discarded is what Use returns for err.
func discarded(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok && reflect.TypeOf(err) == reflect.TypeOf(pools.Discard(nil)) {
		return u.Unwrap()
	}
	return err
}
