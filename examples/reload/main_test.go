//go:build unix

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The program is this process, so the signal is a real one.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"Size": 3, "IdleTimeout": "5s"}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, path, in)
		in.Close()
	}()
	lines := make(chan string)
	go func() {
		text := make([]byte, 4096)
		for {
			n, err := out.Read(text)
			if err != nil {
				close(lines)
				return
			}
			lines <- string(text[:n])
		}
	}()
	want := func(part string) {
		t.Helper()
		select {
		case line := <-lines:
			if !strings.Contains(line, part) {
				t.Errorf("it says %q, want %q", line, part)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("it does not say %q", part)
		}
	}
	want("size 3")
	for _, step := range []struct{ file, says string }{
		{`{"Size": 20, "IdleTimeout": "90s"}`, "size 20, idle timeout 1m30s"},
		{`{"Size": 20, "IdleTimeout": 90, "Sise": 3}`, "Settings.Sise"},
		{`{"Size": 20, "MinIdle": 30}`, "Settings.MinIdle"},
		{`{"Size": 2}`, "size 2, idle timeout 10m0s"},
	} {
		write(step.file)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		want(step.says)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestReloadNeedsAFile(t *testing.T) {
	if err := run(t.Context(), filepath.Join(t.TempDir(), "none.json"), io.Discard); err == nil {
		t.Error("no error")
	}
}
