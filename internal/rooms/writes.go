package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"
)

// ownership matches the doc comment of a struct type that has an owner.
var ownership = regexp.MustCompile(`\bOnly this file writes its fields\b`)

// findOwned records the struct types of file that have an owner.
func (p *pkg) findOwned(file *ast.File) {
	for _, decl := range file.Decls {
		decl, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			spec, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			doc := strings.Join(strings.Fields(decl.Doc.Text()+spec.Doc.Text()), " ")
			fields, ok := p.info.Defs[spec.Name].Type().Underlying().(*types.Struct)
			if !ok || !ownership.MatchString(doc) {
				continue
			}
			p.owners[spec.Name.Name] = p.file(spec)
			for field := range fields.Fields() {
				p.owned[field] = spec.Name.Name
			}
		}
	}
}

// findWrites records the fields of owned structs that n writes. Assigning to a
// field or a part of it, taking its address and setting it in a composite
// literal count as writes.
func (p *pkg) findWrites(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for _, place := range n.Lhs {
			p.written(place, false)
		}
	case *ast.IncDecStmt:
		p.written(n.X, false)
	case *ast.RangeStmt:
		p.written(n.Key, false)
		p.written(n.Value, false)
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			p.written(n.X, true)
		}
	case *ast.CompositeLit:
		fields, ok := deref(p.info.TypeOf(n)).Underlying().(*types.Struct)
		if !ok {
			return true
		}
		for i, element := range n.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok {
				p.wrote(p.info.Uses[pair.Key.(*ast.Ident)].(*types.Var), n)
			} else {
				p.wrote(fields.Field(i), n)
			}
		}
	}
	return true
}

// written records the owned fields that contain place, which is assigned to or
// whose address is taken: the f of x.f, of x.f[i] and of x.f.g. What f
// points to is not part of f. Neither is an element of a slice if only its
// address is taken.
func (p *pkg) written(place ast.Expr, address bool) {
	switch place := place.(type) {
	case *ast.ParenExpr:
		p.written(place.X, address)
	case *ast.IndexExpr:
		if _, slice := p.info.TypeOf(place.X).Underlying().(*types.Slice); !slice || !address {
			p.written(place.X, address)
		}
	case *ast.SelectorExpr:
		selection := p.info.Selections[place]
		if selection == nil || selection.Kind() != types.FieldVal {
			return
		}
		within := selection.Recv()
		var path []*types.Var // through embedded structs to the field
		for _, i := range selection.Index() {
			field := deref(within).Underlying().(*types.Struct).Field(i)
			path, within = append(path, field), field.Type()
		}
		for i, field := range slices.Backward(path) {
			p.wrote(field, place)
			if i > 0 && isPointer(path[i-1].Type()) {
				return
			}
		}
		if !isPointer(selection.Recv()) {
			p.written(place.X, address)
		}
	}
}

func isPointer(t types.Type) bool {
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}

// wrote records that the code at n writes field.
func (p *pkg) wrote(field *types.Var, n ast.Node) {
	owned, ok := p.owned[field.Origin()]
	file := p.file(n)
	if !ok || file == p.owners[owned] {
		return
	}
	if p.writers[owned] == nil {
		p.writers[owned] = map[string]set[string]{}
	}
	if p.writers[owned][file] == nil {
		p.writers[owned][file] = set[string]{}
	}
	p.writers[owned][file][field.Name()] = true
}
