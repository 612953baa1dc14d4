package tokend_test

import (
	"go/ast"
	"go/types"
)

// boxes calls f for every expression of another type that becomes an interface value,
// and for what: as an argument, in an assignment, a declaration, a return, a composite
// literal, a conversion, or on its way into a channel.
func (p *typed) boxes(f func(e ast.Expr, by string)) {
	box := func(to types.Type, e ast.Expr, by string) {
		if to == nil || e == nil || !types.IsInterface(to) {
			return
		}
		if _, generic := to.(*types.TypeParam); generic {
			return
		}
		if from := p.info.TypeOf(e); from != nil && !types.IsInterface(from) {
			f(e, by)
		}
	}
	for _, file := range p.files {
		var results []*types.Tuple // of the functions around
		var walk func(ast.Node) bool
		walk = func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				results = append(results, p.info.Defs[n.Name].Type().(*types.Signature).Results())
				ast.Inspect(n.Body, walk)
				results = results[:len(results)-1]
				return false
			case *ast.FuncLit:
				results = append(results, p.info.TypeOf(n).(*types.Signature).Results())
				ast.Inspect(n.Body, walk)
				results = results[:len(results)-1]
				return false
			case *ast.ReturnStmt:
				p.returned(n, results[len(results)-1], box)
			case *ast.CallExpr:
				p.called(n, box)
			case *ast.AssignStmt:
				if len(n.Lhs) == len(n.Rhs) {
					for i := range n.Lhs {
						box(p.info.TypeOf(n.Lhs[i]), n.Rhs[i], n.Tok.String())
					}
				}
			case *ast.ValueSpec:
				for _, e := range n.Values {
					box(p.info.TypeOf(n.Type), e, "var")
				}
			case *ast.SendStmt:
				if c, ok := p.info.TypeOf(n.Chan).Underlying().(*types.Chan); ok {
					box(c.Elem(), n.Value, "<-")
				}
			case *ast.CompositeLit:
				p.composed(n, box)
			}
			return true
		}
		ast.Inspect(file, walk)
	}
}

// boxer is told of an expression, the type of where it goes, and what takes it there.
type boxer func(to types.Type, e ast.Expr, by string)

func (p *typed) returned(n *ast.ReturnStmt, results *types.Tuple, box boxer) {
	if len(n.Results) == results.Len() {
		for i, e := range n.Results {
			box(results.At(i).Type(), e, "return")
		}
	}
}

func (p *typed) called(n *ast.CallExpr, box boxer) {
	by := types.ExprString(n.Fun)
	if p.info.Types[n.Fun].IsType() { // a conversion
		box(p.info.TypeOf(n.Fun), n.Args[0], by)
		return
	}
	if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "panic" {
		box(types.NewInterfaceType(nil, nil), n.Args[0], by)
		return
	}
	s, ok := p.info.TypeOf(n.Fun).Underlying().(*types.Signature)
	if !ok {
		return // built in
	}
	last := s.Params().Len() - 1
	for i, e := range n.Args {
		switch {
		case s.Variadic() && i >= last && !n.Ellipsis.IsValid():
			box(s.Params().At(last).Type().(*types.Slice).Elem(), e, by)
		case i <= last:
			box(s.Params().At(i).Type(), e, by)
		}
	}
}

func (p *typed) composed(n *ast.CompositeLit, box boxer) {
	for i, e := range n.Elts {
		kv, keyed := e.(*ast.KeyValueExpr)
		if keyed {
			e = kv.Value
		}
		switch u := p.info.TypeOf(n).Underlying().(type) {
		case *types.Struct:
			if !keyed {
				box(u.Field(i).Type(), e, "{}")
			} else if field, ok := p.info.Uses[kv.Key.(*ast.Ident)]; ok {
				box(field.Type(), e, "{}")
			}
		case *types.Map:
			box(u.Elem(), e, "{}")
		case interface{ Elem() types.Type }:
			box(u.Elem(), e, "{}")
		}
	}
}
