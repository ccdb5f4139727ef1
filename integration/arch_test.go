package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mesita/mesita/"

// imports is the map of the house: what each folder may import of ours. A
// sub-folder may import what its folder may, its siblings and its parent. A
// new package has to be added here, which is the moment to think about it.
var imports = map[string][]string{
	"":                  {"api/cli", "isolation"},
	"api":               {},
	"api/backoff":       {},
	"api/program":       {},
	"api/docs":          {"api"},
	"executor/clock":    {},
	"executor/boltfile": {},
	"executor/sealed":   {},
	"api/client":        {"api", "api/backoff"},
	"api/budget":        {"api"},

	"api/client/framework": {"api", "api/backoff", "api/client", "api/mesos/v1", "api/mesos/wire"},
	"api/exchange":         {"api", "api/auth", "api/budget", "fsm"},
	"api/admit":            {"api", "api/auth", "fsm"},
	"api/mesos":            {"api", "api/auth", "api/budget", "api/exchange", "api/admit", "fsm", "api/mesos/call", "api/mesos/legacy", "api/mesos/outbox", "api/mesos/reply", "api/mesos/reserve", "api/mesos/rows", "api/mesos/v1", "api/mesos/wire", "api/backoff"},
	"api/mesos/agent":      {"api", "api/backoff", "api/budget", "api/mesos/call", "api/mesos/outbox", "api/mesos/v1", "api/mesos/wire"},
	"api/mesos/call":       {"api/mesos/wire"},
	"api/mesos/legacy":     {"api", "api/admit", "api/auth", "api/exchange", "api/mesos/call", "api/mesos/reply", "api/mesos/rows", "api/mesos/v1", "api/mesos/wire", "fsm"},
	"api/mesos/outbox":     {"api/mesos/wire"},
	"api/mesos/reply":      {"api", "api/auth", "api/exchange", "api/mesos/call"},
	"api/mesos/rows":       {"api", "api/admit", "api/auth", "fsm", "api/mesos/v1", "api/mesos/wire"},
	"api/mesos/operator":   {"api", "api/admit", "api/auth", "api/exchange", "fsm", "api/mesos/call", "api/mesos/outbox", "api/mesos/reply", "api/mesos/reserve", "api/mesos/rows", "api/mesos/v1", "api/mesos/wire"},
	"api/mesos/node":       {"api", "api/admit", "api/auth", "api/budget", "api/exchange", "fsm", "api/mesos/call", "api/mesos/reply", "api/mesos/rows", "api/mesos/v1", "api/mesos/wire"},
	"api/server":           {"api", "api/docs", "api/server/meter", "api/auth", "api/budget", "api/exchange", "api/admit", "fsm"},
	"api/auth":             {"api", "api/budget"},
	"api/mesos/v1":         {},
	"api/mesos/wire":       {},
	"api/cli":              {"cluster/simulate", "cluster/tlsconf", "api", "api/docs", "api/auth", "api/program", "api/client", "api/backoff", "cluster"},
	"fsm":                  {"api"},
	"gossip":               {"api/backoff"},
	"isolation":            {},
	"executor":             {"api", "api/backoff", "api/program", "executor/clock", "executor/boltfile", "executor/sealed", "isolation"},
	"cluster":              {"api", "api/backoff", "api/budget", "executor/clock", "api/auth", "api/server", "api/server/meter", "api/mesos", "api/mesos/agent", "api/mesos/node", "api/mesos/operator", "api/mesos/v1", "fsm", "gossip", "isolation", "executor", "executor/sealed", "cluster"},
	"cluster/consensus":    {"api", "api/backoff", "executor/boltfile", "fsm"},
	"cluster/allocator":    {"api", "fsm", "cluster/loop"},
	"cluster/scheduler":    {"api", "fsm", "cluster/loop", "cluster/scheduler/reserve"},
	"cluster/controller":   {"api", "fsm", "cluster/loop"},
	"cluster/loop":         {"fsm"},
	"cluster/foresee":      {"api", "fsm", "cluster/allocator", "cluster/scheduler", "cluster/controller"},
	"cluster/simulate":     {"api", "fsm", "cluster/allocator", "cluster/scheduler", "cluster/controller", "cluster/loop"},
	"cluster/ages":         {},
	"cluster/datadir":      {"api", "cluster/ages", "cluster/consensus", "executor/sealed"},
	"cluster/calm":         {},
	"cluster/localip":      {},
	"cluster/doctor":       {"api"},
	"cluster/tlsconf":      {"api", "api/backoff", "api/budget", "cluster/calm"},
	"cluster/history":      {"api"},
	"cluster/audit":        {"api"},
	"cluster/skew":         {"api", "api/backoff", "fsm"},
	"integration":          {"*"},
	"scripts":              {"*"},

	"cluster/scheduler/reserve": {"api"},

	"api/server/meter": {"api"},

	"api/server/openapi/conform": {}, // for tests alone, so nobody's to import
}

// rule is the entry of the nearest folder in the map.
func rule(pkg string) (key string, ok bool) {
	for key = pkg; ; key = key[:strings.LastIndexByte(key, '/')] {
		if _, ok := imports[key]; ok {
			return key, true
		}
		if !strings.Contains(key, "/") {
			return "", false
		}
	}
}

func allowed(pkg, target string) bool {
	key, _ := rule(pkg)
	for _, a := range imports[key] {
		if a == "*" || target == a || a == "cluster" && key == "cluster" && strings.HasPrefix(target, "cluster/") {
			return true
		}
		// A folder that may be imported brings its sub-folders, unless those
		// have a rule of their own.
		if k, ok := rule(target); ok && k == a && strings.HasPrefix(target, a+"/") {
			return true
		}
	}
	return strings.HasPrefix(target, key+"/") && key == pkg && imports[target] == nil || // its own sub-folder
		key != pkg && (target == key || strings.HasPrefix(target, key+"/")) // parent and siblings
}

type source struct {
	pkg  string // folder from the root, "" for the root
	path string
	file *ast.File
	fset *token.FileSet
}

// sources parses all Go files of the repository.
func sources(t *testing.T, tests bool) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") && !tests {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		if rel == "." {
			rel = ""
		}
		out = append(out, source{rel, path, f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found %d files only: is the test in the right place?", len(out))
	}
	return out
}

func TestImportMap(t *testing.T) {
	for _, s := range sources(t, false) {
		if _, ok := rule(s.pkg); !ok {
			t.Errorf("%s: package %q is not in the import map", s.path, s.pkg)
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			target, ours := strings.CutPrefix(path, module)
			if ours && target != s.pkg && !allowed(s.pkg, target) {
				t.Errorf("%s: %q must not import %q", s.path, s.pkg, target)
			}
			if s.pkg == "api" && strings.Contains(strings.Split(path, "/")[0], ".") {
				t.Errorf("%s: api imports the standard library only, not %s", s.path, path)
			}
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t, false) {
		if s.file.Doc != nil && (strings.HasPrefix(s.file.Doc.Text(), "Package ") || strings.HasPrefix(s.file.Doc.Text(), "Command ")) {
			has[s.pkg] = true
		} else if !has[s.pkg] {
			has[s.pkg] = false
		}
	}
	for pkg, ok := range has {
		if !ok {
			t.Errorf("package %q has no doc comment", pkg)
		}
	}
}

func TestRootFolders(t *testing.T) {
	allowed := []string{"main.go", "cluster", "fsm", "gossip", "executor", "isolation", "api", "scripts", "integration", "go.mod", "go.sum",
		"LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "bin"}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong in the root folder", e.Name())
		}
	}
}

// Apply must give the same bytes everywhere, so it may not look at the clock,
// at chance, at the machine or at the network.
func TestFSMIsPure(t *testing.T) {
	banned := map[string][]string{
		"time":    {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"},
		"os":      {"*"},
		"net":     {"*"},
		"rand":    {"*"},
		"syscall": {"*"},
		"unix":    {"*"},
		"http":    {"*"},
		"slog":    {"*"},
		"log":     {"*"},
	}
	for _, s := range sources(t, false) {
		if s.pkg != "fsm" {
			continue
		}
		s.uses(banned, func(at token.Position, name string) { t.Errorf("%s: fsm uses %s", at, name) })
	}
}

// uses tells where the file names something of a package of the list, by what
// it calls the package; "*" stands for all that it has.
func (s source) uses(names map[string][]string, found func(at token.Position, name string)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok || pkg.Obj != nil {
			return true
		}
		if list := names[pkg.Name]; slices.Contains(list, "*") || slices.Contains(list, sel.Sel.Name) {
			found(s.fset.Position(n.Pos()), pkg.Name+"."+sel.Sel.Name)
		}
		return true
	})
}

// Tests wait for a condition, or run on fake time; they do not sleep.
func TestNoSleepInTests(t *testing.T) {
	for _, s := range sources(t, true) {
		if !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		fake := slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool {
			return i.Path.Value == `"testing/synctest"` || i.Path.Value == `"github.com/mesita/mesita/gossip/gossiptest"`
		}) // whose network exists in a bubble only
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" && !fake {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
					t.Errorf("%s: sleeps outside a fake-time bubble", s.fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// What a test draws is the same in each run (integration/draw): one that fails
// fails again, and one that passed is not news of luck.
func TestTestsDrawTheSame(t *testing.T) {
	banned := map[string][]string{
		"math/rand":          {"*"},
		"math/rand/v2":       {"ExpFloat64", "Float32", "Float64", "Int", "Int32", "Int32N", "Int64", "Int64N", "IntN", "N", "NormFloat64", "Perm", "Shuffle", "Uint32", "Uint32N", "Uint64", "Uint64N"},
		"pgregory.net/rapid": {"Check", "MakeCheck"},
	}
	for _, s := range sources(t, true) {
		if !strings.HasSuffix(s.path, "_test.go") || s.pkg == "integration/draw" {
			continue
		}
		local := map[string][]string{} // by what the file calls the package
		for _, i := range s.file.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			name := strings.TrimSuffix(path, "/v2")
			name = name[strings.LastIndexByte(name, '/')+1:]
			if i.Name != nil {
				name = i.Name.Name
			}
			if names := banned[path]; names != nil {
				local[name] = names
			}
		}
		s.uses(local, func(at token.Position, name string) {
			t.Errorf("%s: %s is another each run: use integration/draw", at, name)
		})
	}
}
