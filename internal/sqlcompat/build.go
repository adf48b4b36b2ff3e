package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/utopia-go/pools/internal/suites"
)

//go:embed below/below.go
var below string

// builder compiles tests with a database/sql whose OpenDB asks the package below first:
// so each *sql.DB of the test binary gets a pool, whatever makes it.
type builder struct {
	folder  string // of the module with the package below
	sql     string // the source of database/sql
	overlay map[string]string
	work    string // the go.work lines that each suite has
}

const importBelow = "import _ \"sqlcompat/below\"\n"

func newBuilder(ctx context.Context, folder string) (*builder, error) {
	var out bytes.Buffer
	if err := suites.Go(ctx, "", nil, &out, "list", "-f", "{{.Dir}}", "database/sql"); err != nil {
		return nil, err
	}
	b := &builder{folder: folder, sql: strings.TrimSpace(out.String())}
	root, err := suites.Folder(ctx, "github.com/utopia-go/pools")
	if err != nil {
		return nil, err
	}
	ours, err := suites.Folder(ctx, "github.com/utopia-go/pools/sqlpools")
	if err != nil {
		return nil, err
	}
	b.work = "go 1.26.0\n\nuse (\n\t" + root + "\n\t" + ours + "\n\t" + folder + "\n)\n\n" +
		"replace (\n\tgithub.com/utopia-go/pools v0.1.0 => " + root + "\n\tgithub.com/utopia-go/pools/sqlpools v0.1.0 => " + ours + "\n)\n"

	source, err := os.ReadFile(filepath.Join(b.sql, "sql.go"))
	if err != nil {
		return nil, err
	}
	patched, err := hook(string(source))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "sql.go.txt")
	b.overlay = map[string]string{filepath.Join(b.sql, "sql.go"): file}
	return b, errors.Join(
		os.MkdirAll(filepath.Join(folder, "below"), 0o700),
		os.WriteFile(file, []byte(patched), 0o600),
		os.WriteFile(filepath.Join(folder, "below", "below.go"), []byte(below), 0o600),
		os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module sqlcompat\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/utopia-go/pools v0.1.0\n\tgithub.com/utopia-go/pools/sqlpools v0.1.0\n)\n"), 0o600),
	)
}

// hook has OpenDB of database/sql's sql.go ask the variable Below. Own is for tests that
// want the driver's own connection.
func hook(source string) (string, error) {
	const open = "\nfunc OpenDB(c driver.Connector) *DB {\n"
	before, after, found := strings.Cut(source, open)
	if !found || strings.Contains(after, open) {
		return "", errors.New("this version of database/sql has no such OpenDB")
	}
	return before + open + "\tif Below != nil {\n\t\tif db := Below(c); db != nil {\n\t\t\treturn db\n\t\t}\n\t}\n" + after +
		"\nvar Below func(driver.Connector) *DB\n\nvar Own = func(conn any) any { return conn }\n", nil
}

// build compiles a suite's tests in a copy of its module. It returns the test binary
// and the folder in which to run it.
func (b *builder) build(ctx context.Context, s suite, folder string) (binary, source string, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", "", err
	}
	overlay := map[string]string{}
	maps.Copy(overlay, b.overlay)
	work, target := b.work, ""
	imports := filepath.Join(folder, "import.go.txt")
	if s.module == "" {
		// Tests within database/sql cannot import what imports it, those beside it can.
		source, target = b.sql, "database/sql"
		overlay[filepath.Join(source, "sqlcompat_test.go")] = imports
		err = os.WriteFile(imports, []byte("package sql_test\n\n"+importBelow), 0o600)
		for file, e := range s.own {
			to := filepath.Join(folder, file+".txt")
			overlay[filepath.Join(source, file)] = to
			err = errors.Join(err, e.apply(filepath.Join(source, file), to))
		}
	} else {
		theirs, downloadErr := suites.Download(ctx, s.module)
		if downloadErr != nil {
			return "", "", downloadErr
		}
		module := filepath.Join(folder, "module")
		if err := copyFolder(module, theirs); err != nil {
			return "", "", err
		}
		source, target = filepath.Join(module, s.folder), "."
		work = strings.Replace(work, "use (\n", "use (\n\t"+module+"\n", 1)
		var name bytes.Buffer
		if err := suites.Go(ctx, source, []string{"GOWORK=off", "GOFLAGS=-mod=mod"}, &name, "list", "-f", "{{.Name}}", "."); err != nil {
			return "", "", err
		}
		err = os.WriteFile(filepath.Join(source, "sqlcompat_test.go"), []byte("package "+strings.TrimSpace(name.String())+"\n\n"+importBelow), 0o600)
		for file, e := range s.own {
			err = errors.Join(err, e.apply(filepath.Join(source, file), filepath.Join(source, file)))
		}
	}
	if err != nil {
		return "", "", err
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", "", err
	}
	overlayFile, workFile := filepath.Join(folder, "overlay.json"), filepath.Join(folder, "go.work")
	if err := errors.Join(os.WriteFile(overlayFile, replace, 0o600), os.WriteFile(workFile, []byte(work), 0o600)); err != nil {
		return "", "", err
	}
	binary = filepath.Join(folder, "tests")
	args := []string{"test", "-c", "-tags", "sqlcompat", "-overlay", overlayFile, "-race", "-o", binary}
	from := source
	if s.module == "" {
		from = b.folder
	}
	var out bytes.Buffer
	if err := suites.Go(ctx, from, []string{"GOWORK=" + workFile, "GOFLAGS="}, &out, append(args, target)...); err != nil {
		return "", "", fmt.Errorf("%w\n%s", err, out.String())
	}
	return binary, source, nil
}

// edit has a test take the driver's own connection where it asserts the type of one, as
// users do by sqlpools.Raw and Unwrap.
type edit struct {
	types string // the types, as a regular expression
	own   string // the function
}

func (e edit) apply(from, to string) error {
	source, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	assertion := regexp.MustCompile(`([\w.\[\]]+)\.\((` + e.types + `)\)`)
	if !assertion.Match(source) {
		return fmt.Errorf("%s asserts no %s", from, e.types)
	}
	return os.WriteFile(to, assertion.ReplaceAll(source, []byte(e.own+"($1).($2)")), 0o600)
}

// copyFolder is os.CopyFS, but what it makes can be written.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name = filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}
