package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// Each kind of event that there is is listed, in the same order, and once.
func TestEventKindsAreListed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []EventKind
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "EventKind" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, EventKind(s))
			}
		}
		return true
	})
	if got := Names(EventKinds()); len(want) < 40 || !slices.Equal(got, want) {
		t.Errorf("listed are %q\nof %q", got, want)
	}
	for _, c := range EventKinds() {
		if c.Help == "" {
			t.Errorf("nothing says what %s is", c.Name)
		}
	}
}
