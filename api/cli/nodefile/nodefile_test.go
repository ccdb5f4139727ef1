package nodefile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

var keys = []string{"listen", "attr", "allow-root"}

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is wrong in a file is said with its line and key.
func TestWrongFilesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"listen: a\nlistn: b\n":            ":2: unknown setting \"listn\": did you mean listen?",
		"zzz: 1\n":                         ":1: unknown setting \"zzz\": there are listen, attr, allow-root",
		"# a\nlisten: a\nlisten: b\n":      ":3: listen: is there twice",
		"listen:\n":                        ":1: listen: has no value",
		"attr:\n  - a=b\n  - [c]\n":        ":3: attr: is not a plain value",
		"attr: &x [a=b]\nlisten: *x\n":     ":2: listen: write the value out",
		"- a\n":                            ":1: is not a map of settings",
		"listen: [\n":                      ": is not valid YAML: ",
		"listen: a\n---\nlisten: b\n":      ": holds more than one document",
		strings.Repeat("# long\n", 50<<10): "has more than 256KiB",
		"<<: {listen: a}\n":                ":1: unknown setting \"<<\"",
		"? {a: b}\n: c\n":                  ":1: unknown setting \"\"",
		"attr: {a: {b: c}}\n":              ":1: attr: is not a plain value",
		"listen: a\n\nallow-root: ~\n":     ":3: allow-root: has no value",
	} {
		path := written(t, text)
		_, err := Read(path, keys)
		if api.ErrorCode(err) != api.CodeInvalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// A change keeps what a person wrote beside it, and what was written is read again.
func TestChangesKeepTheRest(t *testing.T) {
	path := written(t, "# ours\nlisten: 10.0.0.1 # the inner one\n\n# racks\nattr: {rack: a}\n")
	f, err := Read(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	if v, line := f.Values("attr"); !slices.Equal(v, []string{"rack=a"}) || line != 5 {
		t.Errorf("attr is %q at %d", v, line)
	}
	f.Set("listen", []string{"10.0.0.2"}, false)
	f.Set("attr", []string{"rack=b", "note=a: b # c"}, true)
	f.Set("allow-root", []string{"true"}, false)
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	for _, want := range []string{"# ours\n", "listen: 10.0.0.2 # the inner one\n", "# racks\n", "allow-root: true\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in:\n%s", want, b)
		}
	}
	if f, err = Read(path, keys); err != nil {
		t.Fatal(err)
	}
	if v, _ := f.Values("attr"); !slices.Equal(v, []string{"rack=b", "note=a: b # c"}) {
		t.Errorf("attr is %q", v)
	}
	if !f.Unset("attr") || f.Unset("attr") || !f.Unset("listen") || !f.Unset("allow-root") {
		t.Error("not unset")
	}
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	if f, err = Read(path, keys); err != nil {
		t.Errorf("empty: %v", err)
	}
	if _, line := f.Values("listen"); line >= 0 {
		t.Error("it is there still")
	}
	if f, err = Read(path+"x", keys); f != nil || err != nil {
		t.Errorf("none: %v, %v", f, err)
	}
}

// Whatever a value has in it, it is what it was when it is read again.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "a", "yes", "~", "1", "a: b", "# c", "- x", "'", "\"", "é\n", " a ", "|", "*x", "!!int 3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		file := &File{Path: filepath.Join(t.TempDir(), "node.yaml"), Head: "# head"}
		file.Set("listen", []string{s}, false)
		file.Set("attr", []string{s, "x"}, true)
		if err := file.Write(); err != nil {
			t.Skip(err) // what YAML cannot have is not written
		}
		again, err := Read(file.Path, keys)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		one, _ := again.Values("listen")
		two, _ := again.Values("attr")
		if !slices.Equal(one, []string{s}) || !slices.Equal(two, []string{s, "x"}) {
			b, _ := os.ReadFile(file.Path)
			t.Errorf("%q: %q, %q of\n%s", s, one, two, b)
		}
	})
}

// A disk without room leaves the file as it was.
func TestAFullDiskKeepsTheFile(t *testing.T) {
	const text = "listen: a\n"
	path := written(t, text)
	f, err := Read(path, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", path+".new"); err != nil {
		t.Fatal(err)
	}
	f.Set("listen", []string{"b"}, false)
	if err := f.Write(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("written to a full disk: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != text {
		t.Errorf("left is %q", b)
	}
}
