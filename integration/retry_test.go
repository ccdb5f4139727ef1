package integration

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// waits are the names that a wait between two tries goes by.
var waits = regexp.MustCompile(`(?i)^(wait|delay|retry|pause|backoff|sleep)`)

// TestOneBackoff holds that whoever doubles a wait does it with the package
// backoff: a loop that doubles by hand has no jitter, and all who lost the
// same leader come back at the same moment.
func TestOneBackoff(t *testing.T) {
	for _, s := range sources(t, false) {
		switch {
		case s.pkg == "backoff", s.pkg == "fsm": // apply must not have chance
			continue
		case strings.HasPrefix(s.pkg, "isolation"): // waits for the kernel, which no crowd asks
			continue
		case strings.HasPrefix(s.pkg, "scripts"):
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if grows(n) {
				t.Errorf("%s: a wait that is doubled by hand: use the package backoff", s.fset.Position(n.Pos()))
			}
			return true
		})
	}
}

// grows reports whether a node multiplies or shifts something that is named as a
// wait by a number, as in 2*wait, delay *= 2 and pause << try.
func grows(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		return n.Op == token.MUL && (isWait(n.X) && isNumber(n.Y) || isWait(n.Y) && isNumber(n.X)) || n.Op == token.SHL && isWait(n.X)
	case *ast.AssignStmt:
		return (n.Tok == token.MUL_ASSIGN || n.Tok == token.SHL_ASSIGN) && isWait(n.Lhs[0])
	}
	return false
}

func isNumber(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && l.Kind == token.INT
}

func isWait(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.StarExpr:
		return isWait(e.X)
	case *ast.ParenExpr:
		return isWait(e.X)
	case *ast.SelectorExpr:
		return isWait(e.Sel)
	case *ast.Ident:
		return waits.MatchString(e.Name)
	}
	return false
}
