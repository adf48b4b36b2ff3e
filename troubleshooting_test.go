package pools_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTroubleshootingIsComplete finds in the page the texts that users may meet: of
// errors, panics and log lines, without what is inserted into them; and the names of
// the exported errors and of the kinds of events that are logged.
func TestTroubleshootingIsComplete(t *testing.T) {
	page, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder, least := range map[string]int{".": 90, "netconn": 6, "redisconn": 25, "pgxconn": 15, "amqpchan": 15, "sqlpools": 3} {
		if _, err := os.Stat(folder); folder != "." && err != nil {
			continue // a module of its own, and this one was copied without
		}
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				found = append(found, shownBy(n)...)
				return true
			})
		}
		slices.Sort(found)
		found = slices.Compact(found)
		if len(found) < least {
			t.Errorf("%s: only %d texts and names were found: is the test still right?", folder, len(found))
		}
		for _, text := range found {
			if !strings.Contains(string(page), text) {
				t.Errorf("%s: docs/troubleshooting.md lacks %q", folder, text)
			}
		}
	}
}

// shownBy returns the texts and names that a part of a program shows to users.
func shownBy(n ast.Node) (found []string) {
	switch n := n.(type) {
	case *ast.FuncDecl:
		if n.Name.Name == "Error" {
			return literals(n.Body)
		}
	case *ast.AssignStmt:
		if types.ExprString(n.Lhs[len(n.Lhs)-1]) == "message" { // of a log line
			return literals(n)
		}
	case *ast.CaseClause:
		if slices.ContainsFunc(n.Body, func(s ast.Stmt) bool { a, ok := s.(*ast.AssignStmt); return ok && shownBy(a) != nil }) {
			for _, kind := range n.List {
				found = append(found, types.ExprString(kind))
			}
		}
	case *ast.ValueSpec:
		for i, name := range n.Names {
			isError := strings.HasPrefix(strings.ToLower(name.Name), "err")
			if isError && name.IsExported() {
				found = append(found, name.Name)
			}
			if i < len(n.Values) && (isError || name.Name == "refusals" || name.Name == "remedies") {
				found = append(found, literals(n.Values[i])...)
			}
		}
	case *ast.CompositeLit:
		if n.Type != nil && types.ExprString(n.Type) == "hidden" {
			return literals(n)
		}
	case *ast.CallExpr:
		name := types.ExprString(n.Fun)
		switch name[strings.LastIndexByte(name, '.')+1:] {
		case "New", "Errorf", "fieldError", "fault", "panic":
			return literals(n)
		case "Error", "Warn", "Info", "Debug": // of a Logger
			return literals(&ast.CallExpr{Fun: n.Fun, Args: n.Args[:min(len(n.Args), 1)]})
		}
	}
	return found
}

// literals returns the parts of the texts in n. A short one tells nothing.
func literals(n ast.Node) (parts []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value)
			for _, part := range regexp.MustCompile(`%[+#]?[a-zA-Z]|\n`).Split(text, -1) {
				if part = strings.Trim(strings.TrimPrefix(part, "pools: "), " ,;:()"); len(part) >= 8 {
					parts = append(parts, part)
				}
			}
		}
		return true
	})
	return parts
}
