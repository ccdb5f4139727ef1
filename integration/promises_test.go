package integration

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// named finds a test that a document names: the packages, if it says which, and the
// pattern, if it says one.
var named = regexp.MustCompile("`(?:[A-Z_]+=\\S+ )*(?:go test(?: -race)?)?((?: ?\\./[\\w./]*)*)(?: ?-run (?:'([^'`]+)'|([^ `]+)))?(?: -timeout \\w+)?`")

// cited is a test that a document names.
type cited struct {
	pkgs    []string // from the root; … at the end stands for all below
	pattern string   // of -run; "" = all tests
	text    string
}

// citations are what a paragraph, or a row of a table, names. Where no package is
// said it is that of the one before.
func citations(paragraph string) (out []cited) {
	var before []string
	for _, m := range named.FindAllStringSubmatch(paragraph, -1) {
		c := cited{before, strings.ReplaceAll(m[2]+m[3], `\|`, "|"), m[0]}
		if m[1] != "" {
			c.pkgs = strings.Fields(m[1])
		}
		if c.pattern == "" && !strings.Contains(m[0], "go test") {
			continue // a path
		}
		for i, pkg := range c.pkgs {
			c.pkgs[i] = strings.TrimPrefix(pkg, "./")
		}
		before = c.pkgs
		out = append(out, c)
	}
	return out
}

// TestWhatDocumentsNameIsThere: a promise without its test is an opinion. Each test
// that SECURITY.md and ROBUSTNESS.md name exists, and each promise of SECURITY.md
// names one.
func TestWhatDocumentsNameIsThere(t *testing.T) {
	tests := map[string][]string{} // by package
	for _, s := range sources(t, true) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasSuffix(s.path, "_test.go") && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				tests[s.pkg] = append(tests[s.pkg], f.Name.Name)
			}
		}
	}
	for path, least := range map[string]int{"SECURITY.md": 60, "integration/ROBUSTNESS.md": 300} {
		b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for i, line := range strings.Split(string(b), "\n") {
			all := citations(line)
			count += len(all)
			for _, c := range all {
				if why := c.missing(tests); why != "" {
					t.Errorf("%s, line %d: %s: %s", path, i+1, c.text, why)
				}
			}
			row := strings.HasPrefix(line, "| ") && line != "| what | how |" && line != "| promise | shown by |"
			if path == "SECURITY.md" && row && len(all) == 0 {
				t.Errorf("%s, line %d: %.60s… names no test", path, i+1, line)
			}
		}
		if count < least {
			t.Errorf("%s names %d tests: does this test still know how they are written?", path, count)
		}
	}
}

// missing says what of it there is not, "" if all is there.
func (c cited) missing(tests map[string][]string) string {
	if len(c.pkgs) == 0 {
		return "it says no package"
	}
	var names []string
	for _, pkg := range c.pkgs {
		here := tests[pkg]
		if below, all := strings.CutSuffix(pkg, "..."); all {
			for p, t := range tests {
				if strings.HasPrefix(p+"/", below) {
					here = append(here, t...)
				}
			}
		}
		if len(here) == 0 {
			return "package " + pkg + " has no tests"
		}
		names = append(names, here...)
	}
	for one := range strings.SplitSeq(c.pattern, "|") {
		top, _, _ := strings.Cut(one, "/")
		like, err := regexp.Compile(top)
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(names, like.MatchString) {
			return "no test is called " + top
		}
	}
	return ""
}

// TestCitations: what is read of a document is what is written there.
func TestCitations(t *testing.T) {
	tests := map[string][]string{"fsm": {"TestApply"}, "cluster/audit": {"TestAMark"}, "api": {"FuzzText"}}
	for text, want := range map[string][]string{
		"(`go test ./fsm -run TestApply`)":                              {""},
		"(`./fsm -run TestAppl`, `-run TestApply/one`)":                 {"", ""},
		"`go test ./fsm ./cluster/audit -run 'TestApply\\|TestAMark'`":  {""},
		"`FLIPS=9 go test -race ./cluster/... -run TestA -timeout 60m`": {""},
		"`go test ./api`, `./fsm/x.go` and `go run ./integration`":      {""},
		"`go test ./fsm -run 'TestApply\\|TestGone'`":                   {"no test is called TestGone"},
		"`./fsm -run TestApply`, `./cluster/audit -run TestApply`":      {"", "no test is called TestApply"},
		"`-run TestApply`":          {"it says no package"},
		"`go test ./gone -run X`":   {"package gone has no tests"},
		"`--run-as` is not a test":  nil,
		"`go test ./api -run Fuzz`": {""},
	} {
		var got []string
		for _, c := range citations(text) {
			got = append(got, c.missing(tests))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
