package pools_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's Go blocks are bodies of a function that has a ctx and returns
// an error, and that has a pool of net.Conn unless the block makes one.
const readmeProgram = `package readme

import (
	%s

	"github.com/utopia-go/pools"
)

func block(ctx context.Context%s) error {
%s
	return nil
}
`

func TestReadmeCompiles(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go code")
	}
	first := strings.Count(string(text)[:strings.Index(string(text), "```go")], "\n") + 2
	if first > 15 {
		t.Errorf("the first code is in line %d", first)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module readme\n\ngo 1.26\n\nrequire github.com/utopia-go/pools v0.0.0\n\nreplace github.com/utopia-go/pools => "+root+"\n")
	for i, block := range blocks {
		code := block[1]
		imports := []string{`"context"`}
		for _, path := range []string{"bufio", "errors", "fmt", "log", "net", "net/http", "time", "github.com/utopia-go/pools/poolsdebug"} {
			if regexp.MustCompile(`\b` + filepath.Base(path) + `\.`).MatchString(code) {
				imports = append(imports, `"`+path+`"`)
			}
		}
		pool := ""
		if !strings.Contains(code, "pools.New(") {
			pool = ", pool *pools.Pool[net.Conn]"
			if !strings.Contains(code, "net.") {
				imports = append(imports, `"net"`)
			}
		}
		code = strings.TrimSpace(code)
		if last := code[strings.LastIndex(code, "\n")+1:]; last == "})" || strings.HasPrefix(last, "return ") {
			code = "if true {\n" + code + "\n}" // vet: the return nil after it can be reached
		}
		write(fmt.Sprintf("block%d/block.go", i+1), fmt.Sprintf(readmeProgram, strings.Join(imports, "\n\t"), pool, code))
	}
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("the README's code does not compile: %v\n%s", err, out)
	}
}
