// Package suites runs test suites of other modules, for internal/compat and
// internal/sqlcompat.
package suites

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Go runs the Go client in a folder, with the variables of env beside those of this
// process. What it prints goes to stdout; what it says beside that does too if it
// tests, and otherwise to os.Stderr.
func Go(ctx context.Context, folder string, env []string, stdout io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	if args[0] == "test" {
		cmd.Stderr = stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Alone are the variables with which Go takes no workspace into account, and writes
// what is missing in go.mod and go.sum.
func Alone() []string { return []string{"GOWORK=off", "GOFLAGS=-mod=mod"} }

// Folder returns where the source of a module is that the workspace has.
func Folder(ctx context.Context, module string) (string, error) {
	var out bytes.Buffer
	if err := Go(ctx, "", nil, &out, "list", "-m", "-f", "{{.Dir}}", module); err != nil {
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

// Download fetches a public module, given as path@version, and returns the folder of
// its source. Nothing there may be changed.
func Download(ctx context.Context, module string) (string, error) {
	var out bytes.Buffer
	if err := Go(ctx, os.TempDir(), []string{"GOWORK=off"}, &out, "mod", "download", "-json", module); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out.String())
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || found.Dir == "" {
		return "", fmt.Errorf("where is %s? %v %s", module, err, out.String())
	}
	return found.Dir, nil
}
