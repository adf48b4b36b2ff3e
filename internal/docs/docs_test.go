package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/utopia-go/pools"
)

const root = "../.."

func TestLinks(t *testing.T) {
	for _, fault := range checkLinks(t, readDocuments(t, os.DirFS(root)), os.DirFS(root)) {
		t.Error(fault)
	}
}

func TestCode(t *testing.T) {
	documents := readDocuments(t, os.DirFS(root))
	readme := documents["README.md"]
	if len(readme.code) == 0 {
		t.Fatal("README.md has no Go code")
	}
	if first := readme.code[0].line; first > 40 {
		t.Errorf("the README's first code is in line %d", first)
	}
	if out := vet(t, documents); out != "" {
		t.Errorf("the documents' code does not compile:\n%s", out)
	}
}

// A document is a Markdown file, parsed as far as the tests need it.
type document struct {
	lines    []string // of prose; lines of code blocks are empty
	code     []code   // the ```go blocks
	headings map[string]bool
}

type code struct {
	line int // of the first line of code, from 1
	text string
}

func readDocuments(t *testing.T, repository fs.FS) map[string]document {
	t.Helper()
	documents := map[string]document{}
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name == ".git":
			return fs.SkipDir
		case path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(repository, name)
		documents[name] = parse(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

var (
	fence   = regexp.MustCompile("^( *)(```+)(.*)$")
	heading = regexp.MustCompile(`^#{1,6} +(.*?)[ #]*$`)
	link    = regexp.MustCompile(`\]\(([^)\s]*)|^\[[^\]]+\]: +(\S+)|<(?:a|img)\s[^>]*(?:href|src)="([^"]*)"`)
	span    = regexp.MustCompile("`[^`]+`")
	linked  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{M}\p{N}\p{Pc} -]`)
)

func parse(text string) document {
	d := document{headings: map[string]bool{}}
	open, indent, isGo := "", "", false
	for i, line := range strings.Split(text, "\n") {
		prose := ""
		switch m := fence.FindStringSubmatch(line); {
		case open == "" && m != nil:
			indent, open, isGo = m[1], m[2], m[3] == "go"
			if isGo {
				d.code = append(d.code, code{line: i + 2})
			}
		case open == "":
			prose = line
		case m != nil && m[2] == open && m[3] == "":
			open = ""
		case isGo:
			d.code[len(d.code)-1].text += strings.TrimPrefix(line, indent) + "\n"
		}
		d.lines = append(d.lines, prose)
		if m := heading.FindStringSubmatch(prose); m != nil {
			name := slug(m[1])
			for n := 1; d.headings[name]; n++ {
				name = fmt.Sprintf("%s-%d", slug(m[1]), n)
			}
			d.headings[name] = true
		}
	}
	return d
}

// slug returns the anchor that GitHub gives a heading.
func slug(heading string) string {
	heading = linked.ReplaceAllString(heading, "$1")
	return strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// checkLinks returns a fault for each link or image that leads to no file, folder
// or heading of the repository. It does not follow links to other sites.
func checkLinks(t *testing.T, documents map[string]document, repository fs.FS) (faults []string) {
	t.Helper()
	checked := 0
	for name, d := range documents {
		for i, line := range d.lines {
			for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(line, "code"), -1) {
				target := m[1] + m[2] + m[3] // one of them
				if strings.Contains(target, ":") {
					continue
				}
				checked++
				file, anchor, hasAnchor := strings.Cut(target, "#")
				to := name
				if file != "" {
					to = path.Join(path.Dir(name), file)
				}
				if _, err := fs.Stat(repository, to); err != nil {
					faults = append(faults, fmt.Sprintf("%s:%d: there is no file %s: %v", name, i+1, target, err))
				} else if hasAnchor && !documents[to].headings[anchor] {
					faults = append(faults, fmt.Sprintf("%s:%d: there is no heading %s", name, i+1, target))
				}
			}
		}
	}
	if checked == 0 {
		t.Error("the documents have no link")
	}
	slices.Sort(faults)
	return faults
}

// imports has the packages that a block may use without an import. Add to it what a
// document needs.
var imports = map[string]string{
	"amqp": "github.com/rabbitmq/amqp091-go", "bufio": "bufio", "bytes": "bytes", "context": "context",
	"errors": "errors", "fmt": "fmt", "http": "net/http", "io": "io", "json": "encoding/json", "log": "log",
	"net": "net", "os": "os", "pgx": "github.com/jackc/pgx/v5", "pgxpool": "github.com/jackc/pgx/v5/pgxpool",
	"puddle": "github.com/jackc/puddle/v2", "redis": "github.com/gomodule/redigo/redis", "signal": "os/signal", "slog": "log/slog",
	"sql": "database/sql", "strings": "strings", "sync": "sync", "syscall": "syscall", "testing": "testing",
	"textproto": "net/textproto", "time": "time", "tls": "crypto/tls",
	"pools": "github.com/utopia-go/pools",
}

func init() {
	for _, pkg := range []string{"amqpchan", "netconn", "otelpools", "pgxconn", "poolsdebug", "poolstest", "prompools", "redisconn", "sqlpools"} {
		imports[pkg] = imports["pools"] + "/" + pkg
	}
}

// program makes a file of a block. A block is a program, declarations, or
// statements in a function that has a ctx, a pool and a connector of net.Conn, and
// returns an error.
func program(name string, c code) (string, error) {
	line := fmt.Sprintf("//line %s:%d\n", name, c.line)
	if strings.HasPrefix(c.text, "package ") {
		return line + c.text, nil
	}
	body := "\n" + line + c.text
	file, err := parser.ParseFile(token.NewFileSet(), "", "package block;"+body, 0)
	if err != nil {
		// The if makes the last return reachable, which vet demands, and lets a
		// block declare a pool of its own.
		body = "\nfunc block(ctx context.Context, pool *pools.Pool[net.Conn], connector pools.Connector[net.Conn]) error {\nif true {" +
			body + "}\nreturn nil\n}\n"
		file, err = parser.ParseFile(token.NewFileSet(), "", "package block;"+body, 0)
		if err != nil {
			return "", err
		}
	}
	head := []string{"package block"}
	imported := map[string]bool{}
	for _, spec := range file.Imports {
		imported[strings.Trim(spec.Path.Value, `"`)] = true
	}
	for _, id := range file.Unresolved {
		if pkg := imports[id.Name]; pkg != "" && !imported[pkg] {
			imported[pkg] = true
			head = append(head, fmt.Sprintf("import %s %q", id.Name, pkg))
		}
	}
	return strings.Join(head, ";") + ";" + body, nil
}

var folder = regexp.MustCompile(`(?m)(\s)(\.\S*)$`) // in go.work

// vet compiles the code of all documents and returns what is wrong with it. The
// code becomes a module in a copy of this workspace, so it may import what any
// module of the workspace requires.
func vet(t *testing.T, documents map[string]document) (faults string) {
	t.Helper()
	temp := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(temp, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	home, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	write("go.work", folder.ReplaceAllString(read("go.work"), `$1"`+home+`/$2"`)+"\nuse ./code\n")
	write("go.work.sum", read("go.work.sum"))
	write("code/go.mod", "module code\n\ngo 1.26\n")
	for name, d := range documents {
		for i, c := range d.code {
			text, err := program(filepath.Join(home, name), c)
			if err != nil {
				faults += err.Error() + "\n"
			} else {
				write(fmt.Sprintf("code/%s/block%d/block.go", name, i), text)
			}
		}
	}
	command := exec.Command("go", "vet", "./...")
	command.Dir = filepath.Join(temp, "code")
	command.Env = append(os.Environ(), "PWD="+command.Dir, "GOWORK="+filepath.Join(temp, "go.work"))
	if out, err := command.CombinedOutput(); err != nil {
		faults += fmt.Sprintf("%s%v\n", out, err)
	}
	return faults
}

// settings.md has every setting.
func TestSettings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "settings.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[pools.Settings]()) {
		if !strings.Contains(string(text), "`"+field.Name+"`") {
			t.Errorf("docs/settings.md lacks %s", field.Name)
		}
	}
}

func TestFaultsAreFound(t *testing.T) {
	const text = "# One `two` [three](a.md): Four\n\n[x](#one-two-three-four) [x](#one)\n" +
		"[x](b/) [x](b/c.md#d-1) [x](../a.md)\n[x](b/none.md) [![x](none.png)](b) `[x](code)`\n" +
		"```\n[x](code)\n```\n[x](https://none.example) [x](b/c.md#none)\n[x]: none\n"
	repository := fstest.MapFS{"a.md": {Data: []byte(text)}, "b/c.md": {Data: []byte("## d\n## d\n[x](../a.md)\n[x](a.md)")}}
	faults := checkLinks(t, readDocuments(t, repository), repository)
	for i, place := range []string{
		"a.md:10: there is no file none:", "a.md:3: there is no heading #one", "a.md:4: there is no file ../a.md",
		"a.md:5: there is no file b/none.md", "a.md:5: there is no file none.png", "a.md:9: there is no heading b/c.md#none",
		"b/c.md:4: there is no file a.md", "",
	} {
		switch {
		case place == "" && len(faults) > i, place != "" && len(faults) <= i,
			place != "" && !strings.HasPrefix(faults[i], place):
			t.Fatalf("fault %d is not %q: %q", i, place, faults)
		}
	}

	const codes = "```go\npackage main\n\nfunc main() {}\n```\n" + // line 2
		"```go\nimport \"fmt\"\nfunc ask(s pools.Settings) { fmt.Print(s) }\n```\n" + // 7
		"```go\npool, err := pools.New(\"\", connector, pools.Settings{})\nif err != nil {\n\treturn err\n}\nreturn pool.Close(ctx)\n```\n" + // 11
		"- x\n\n  ```go\n  none()\n  ```\n" + // 20
		"```go\npool.Pop(1)\n```\n" + // 23
		"```go\nif {\n```\n" // 26
	out := vet(t, map[string]document{"x.md": parse(codes)})
	for _, place := range []string{"x.md:20:", "x.md:23:", "x.md:26:"} {
		if !strings.Contains(out, place) {
			t.Errorf("vet finds nothing in %s\n%s", place, out)
		}
	}
	if strings.Count(out, "x.md:") != 3 {
		t.Errorf("vet finds something else:\n%s", out)
	}
}
