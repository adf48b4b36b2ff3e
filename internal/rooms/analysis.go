package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
)

// pkg is a type-checked package and what was found in it. Files go by their
// base names, functions by name or Type.Method.
type pkg struct {
	fset  *token.FileSet
	types *types.Package
	info  types.Info

	lines    map[string]int
	declared map[string]*types.Func // functions and methods with a body
	uses     graph[*types.Func]
	fileUses graph[string]

	owners  map[string]string                 // struct type with an owner: its file
	owned   map[*types.Var]string             // field of such a type: the type
	writers map[string]map[string]set[string] // such a type: other files: fields they write
}

// load type-checks the package in dir, without its tests, and analyses it.
func load(dir string) (*pkg, error) {
	build.Default.CgoEnabled = false // so that importing from source needs no C compiler
	listed, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	p := &pkg{
		fset:     token.NewFileSet(),
		lines:    map[string]int{},
		declared: map[string]*types.Func{},
		uses:     graph[*types.Func]{},
		fileUses: graph[string]{},
		owners:   map[string]string{},
		owned:    map[*types.Var]string{},
		writers:  map[string]map[string]set[string]{},
	}
	p.info = types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Defs:       map[*ast.Ident]types.Object{},
		Uses:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	var files []*ast.File
	for _, name := range listed.GoFiles {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(p.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		p.lines[name] = bytes.Count(source, []byte("\n"))
	}
	config := types.Config{Importer: importer.ForCompiler(p.fset, "source", nil)}
	if p.types, err = config.Check(listed.Name, p.fset, files, &p.info); err != nil {
		return nil, fmt.Errorf("type-check: %w", err)
	}
	for _, file := range files {
		p.findOwned(file)
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			p.findUses(decl)
		}
		ast.Inspect(file, p.findWrites)
	}
	return p, nil
}

// file returns the file that contains at.
func (p *pkg) file(at interface{ Pos() token.Pos }) string {
	return p.fset.Position(at.Pos()).Filename
}

func funcName(f *types.Func) string {
	if recv := f.Signature().Recv(); recv != nil {
		if named, ok := deref(recv.Type()).(*types.Named); ok {
			return named.Obj().Name() + "." + f.Name()
		}
	}
	return f.Name()
}

// deref returns what t points to, or t if it is not a pointer.
func deref(t types.Type) types.Type {
	if pointer, ok := t.Underlying().(*types.Pointer); ok {
		return pointer.Elem()
	}
	return types.Unalias(t)
}

// findUses records which functions of the package decl uses.
func (p *pkg) findUses(decl ast.Decl) {
	var user *types.Func
	if decl, ok := decl.(*ast.FuncDecl); ok {
		user = p.info.Defs[decl.Name].(*types.Func)
		p.declared[funcName(user)] = user
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		used, ok := p.info.Uses[id].(*types.Func)
		if !ok || used.Pkg() != p.types {
			return true
		}
		used = used.Origin()
		p.fileUses.add(p.file(decl), p.file(used))
		if user != nil {
			p.uses.add(user, used)
		}
		return true
	})
}
