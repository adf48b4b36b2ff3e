// Package redistest starts a Redis for a test, from the installed redis-server.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Start starts the installed redis-server for this test alone and returns
// its address and a connection beside all pools.
func Start(t *testing.T) (address string, admin redis.Conn) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed, and CI must not pass without it: ", err)
		}
		t.Skip("redis-server is not installed: ", err)
	}
	// Somebody else may take the port between FreePort and the server.
	for range 5 {
		if address, admin, err = launch(t, binary); err == nil {
			return address, admin
		}
	}
	t.Fatal("redis-server: ", err)
	return "", nil
}

func launch(t *testing.T, binary string) (address string, admin redis.Conn, err error) {
	t.Helper()
	port := FreePort(t)
	cmd := exec.Command(binary, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	stop := func() {
		_ = cmd.Process.Kill()
		<-gone
	}

	address = fmt.Sprintf("127.0.0.1:%d", port)
	refused := Eventually(t.Context(), 10*time.Second, func() error {
		select {
		case <-gone:
			return nil
		default:
		}
		admin, err = redis.DialContext(t.Context(), "tcp", address, redis.DialReadTimeout(10*time.Second))
		return err
	})
	if refused != nil || err != nil {
		stop()
		return "", nil, fmt.Errorf("no server on %s: %w\n%s", address, errors.Join(refused, err), output.String())
	}
	if pid := Info(t, admin, "server", "process_id"); admin == nil || pid != cmd.Process.Pid {
		stop()
		return "", nil, fmt.Errorf("another server took %s", address)
	}
	t.Cleanup(func() {
		admin.Close()
		stop()
	})
	return address, admin, nil
}

// FreePort returns a port on which nobody listens.
func FreePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Eventually calls try again and again until it returns nil; when that takes
// longer than limit, it returns try's last error. For what a server does in
// its own time.
func Eventually(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Info returns a number that the server's INFO gives.
func Info(t *testing.T, conn redis.Conn, section, field string) int {
	t.Helper()
	text, err := redis.String(redis.DoContext(conn, t.Context(), "INFO", section))
	if err != nil {
		t.Fatal("INFO: ", err)
	}
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				t.Fatal("INFO: ", err)
			}
			return n
		}
	}
	t.Fatalf("INFO %s says nothing of %s:\n%s", section, field, text)
	return 0
}

// Others returns how many clients the server has beside conn.
func Others(t *testing.T, conn redis.Conn) int {
	t.Helper()
	list, err := redis.String(redis.DoContext(conn, t.Context(), "CLIENT", "LIST"))
	if err != nil {
		t.Fatal("CLIENT LIST: ", err)
	}
	return strings.Count(list, "\n") - 1
}

// WantOthers waits until the server has at most n clients beside conn.
func WantOthers(t *testing.T, conn redis.Conn, n int) {
	t.Helper()
	err := Eventually(t.Context(), 10*time.Second, func() error {
		if got := Others(t, conn); got > n {
			return fmt.Errorf("the server has %d clients, want at most %d", got, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
