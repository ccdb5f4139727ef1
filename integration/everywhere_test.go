package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program is a client everywhere, and a node on Linux. Its code is of one system here,
// so that of the others is looked at by the compiler's front end alone, from source: that
// takes seconds, where compiling the standard library for each takes minutes. Whether it
// can be built and started scripts/release finds out.
func TestTheProgramIsForAllSystems(t *testing.T) {
	clients := []string{"./api/cli/...", "./api/client", "./api/program"}
	all := []string{"./..."}
	for _, c := range []struct {
		os, arch string
		packages []string
		tests    []string // packages whose tests are looked at, too
	}{
		{"darwin", "arm64", []string{"."}, clients},
		{"darwin", "amd64", []string{"."}, nil},
		{"windows", "amd64", []string{"."}, clients},
		{"windows", "arm64", []string{"."}, nil},
		{"linux", "arm64", all, all},
		{"linux", "arm", all, nil},
	} {
		t.Run(c.os+"/"+c.arch, func(t *testing.T) {
			t.Parallel()
			for _, err := range typeErrors(t, c.os, c.arch, c.packages, c.tests) {
				t.Error(err)
			}
		})
	}
}

// listed is what `go list` says of a package.
type listed struct {
	Dir, ImportPath, ForTest string
	Standard                 bool
	GoFiles, CgoFiles        []string
	ImportMap                map[string]string
	Error                    *struct{ Err string }
}

// typeErrors are what is wrong with packages, or with their tests, on another system.
func typeErrors(t *testing.T, system, arch string, packages, tests []string) (wrong []error) {
	all := list(t, system, arch, append([]string{"-deps"}, packages...))
	if tests != nil {
		all = append(all, list(t, system, arch, append([]string{"-deps", "-test"}, tests...))...)
	}
	done := map[string]*types.Package{"unsafe": types.Unsafe}
	fset, ours := token.NewFileSet(), 0
	for _, p := range all {
		if done[p.ImportPath] != nil || strings.HasSuffix(p.ImportPath, ".test") {
			continue
		}
		if p.Error != nil {
			return []error{fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err)}
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return []error{err}
			}
			files = append(files, f)
		}
		own := strings.HasPrefix(p.ImportPath, strings.TrimSuffix(module, "/"))
		if own {
			ours++
		}
		conf := types.Config{
			IgnoreFuncBodies: !own, FakeImportC: true, Sizes: types.SizesFor("gc", arch),
			Importer: importer(func(path string) (*types.Package, error) {
				if to := p.ImportMap[path]; to != "" {
					path = to
				}
				if got := done[path]; got != nil {
					return got, nil
				}
				return nil, errors.New("it was not listed")
			}),
			Error: func(err error) {
				if own && len(wrong) < 20 {
					wrong = append(wrong, err)
				}
			},
		}
		done[p.ImportPath], _ = conf.Check(p.ImportPath, fset, files, nil) // what is wrong was noted
	}
	if ours < 20 {
		t.Errorf("only %d packages of ours were looked at", ours)
	}
	return wrong
}

type importer func(path string) (*types.Package, error)

func (i importer) Import(path string) (*types.Package, error) { return i(path) }

func list(t *testing.T, system, arch string, args []string) (all []*listed) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=Dir,ImportPath,ForTest,Standard,GoFiles,CgoFiles,ImportMap,Error"}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "GOARM=7", "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s/%s: %v: %s", system, arch, err, said.String())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(listed)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
