package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// numbers are those in a file's constants SYS_…, by their names.
func numbers(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			if name := s.(*ast.ValueSpec).Names[0].Name; strings.HasPrefix(name, "SYS_") && name != "SYS_ARCH_SPECIFIC_SYSCALL" {
				out = append(out, name)
			}
		}
	}
	return out
}

// decisions count how often each number is named by a file of the policy.
func decisions(t *testing.T, into map[string]int, path string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "SYS_") {
			into[s.Sel.Name]++
		}
		return true
	})
}

// Each system call of the kernels that x/sys knows is decided on purpose, and
// once: by this test a newer x/sys asks for a decision of what is new in it.
func TestEachCallIsDecided(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join("..", "isolation", "syscalls")
	for _, machine := range []string{"amd64", "arm64"} {
		decided := map[string]int{}
		decisions(t, decided, filepath.Join(policy, "policy.go"))
		decisions(t, decided, filepath.Join(policy, fmt.Sprintf("policy_%s.go", machine)))
		all := numbers(t, filepath.Join(strings.TrimSpace(string(dir)), "unix", fmt.Sprintf("zsysnum_linux_%s.go", machine)))
		if len(all) < 300 {
			t.Fatalf("%s has %d calls only", machine, len(all))
		}
		for _, name := range all {
			if decided[name] != 1 {
				t.Errorf("%s: %s is decided %d times: it belongs in one list of the policy", machine, name, decided[name])
			}
			delete(decided, name)
		}
		if left := slices.Collect(maps.Keys(decided)); len(left) > 0 {
			t.Errorf("%s has no %s", machine, left)
		}
	}
}
