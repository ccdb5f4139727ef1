package tree

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// look is all that is in a folder: modes, times, links and contents, by name.
func look(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, at)
		fmt.Fprint(&out, rel, " ", info.Mode())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %q %s", b, info.ModTime().UTC().Format(time.RFC3339Nano))
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(at)
			fmt.Fprint(&out, " ", to)
		default:
			fmt.Fprint(&out, " ", info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		out.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func withoutTimesOfFolders(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) == 3 && f[1][0] == 'd' {
			line = f[0] + " " + f[1] + "\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

func write(t *testing.T, at, text string, mode fs.FileMode, when time.Time) {
	t.Helper()
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(at, when, when); err != nil {
		t.Fatal(err)
	}
}

// What was packed is what is unpacked: bytes, modes, times, links and empty folders, also
// those that nothing may be written to; on top of what is there already, too, but folders
// that are there stay as they are.
func TestATreeComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()
	src, when := filepath.Join(dir, "src"), time.Date(2020, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for _, d := range []string{"", "empty", "closed"} {
		if err := os.Mkdir(filepath.Join(src, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(src, "a"), "text", 0o640, when)
	write(t, filepath.Join(src, "closed", strings.Repeat("long", 50)), strings.Repeat("x", 100_000), 0o755, when)
	write(t, filepath.Join(src, "none"), "", 0o600, when.Add(time.Hour))
	if err := os.Symlink("../elsewhere", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, "closed"), 0o555); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"empty", "closed", ""} {
		if err := os.Chtimes(filepath.Join(src, d), when, when); err != nil {
			t.Fatal(err)
		}
	}
	want := look(t, src)
	for _, name := range []string{"data", "."} {
		for i, at := range []string{"new", "new", "there"} {
			dst := filepath.Join(dir, at+strings.Trim(name, "."))
			_ = os.MkdirAll(filepath.Join(dir, "there"+strings.Trim(name, ".")), 0o700) // for the last
			var b bytes.Buffer
			sent, err := Pack(&b, src, name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Unpack(&b, name, Target{Path: dst})
			if err != nil || *got != *sent || sent.Bytes != 100_004 {
				t.Fatalf("%s: sent %+v, got %+v: %v", at, sent, got, err)
			}
			is, want := look(t, dst), want
			if at == "there" {
				want = strings.Replace(want, ". drwxr-xr-x", ". drwx------", 1)
			}
			if i > 0 {
				is, want = withoutTimesOfFolders(is), withoutTimesOfFolders(want)
			}
			if is != want {
				t.Errorf("%s as %q:\n%s\nwant:\n%s", at, name, is, want)
			}
		}
	}
	var b bytes.Buffer
	if _, err := Pack(&b, filepath.Join(src, "a"), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(&b, "b", Target{Path: filepath.Join(dir, "alone")}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "alone")); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
}

// Whatever comes as a tar, nothing beside the folder that it goes to changes, and nothing
// in it gives rights. What is refused is an error.
func TestNothingLeadsOut(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 4, Mode: 0o4777}
	}
	folder := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o700} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
	}
	for name, c := range map[string]struct {
		base    string
		entries []tar.Header
		fails   bool
	}{
		"a name above":                 {"d", []tar.Header{folder("d"), file("d/../../secret")}, true},
		"a name above, of the whole":   {".", []tar.Header{folder("."), file("../secret")}, true},
		"an absolute name":             {".", []tar.Header{folder("."), file("/tmp/x")}, true},
		"a sibling":                    {"d", []tar.Header{folder("d"), file("dd/x")}, true},
		"another name first":           {"d", []tar.Header{file("secret")}, true},
		"through a link":               {"d", []tar.Header{folder("d"), link("d/l", ".."), file("d/l/secret")}, true},
		"through an absolute link":     {"d", []tar.Header{folder("d"), link("d/l", "/tmp"), file("d/l/x")}, true},
		"through two links":            {"d", []tar.Header{folder("d"), link("d/l", "m/.."), link("d/m", ".."), file("d/l/secret")}, true},
		"over a link to a file":        {"d", []tar.Header{folder("d"), link("d/l", "../secret"), file("d/l")}, false},
		"a folder over a link":         {"d", []tar.Header{folder("d"), link("d/l", "../beside"), folder("d/l"), file("d/l/x")}, true},
		"a hard link above":            {"d", []tar.Header{folder("d"), hard("d/h", "../secret"), file("d/h")}, true},
		"a hard link through a link":   {"d", []tar.Header{folder("d"), link("d/l", ".."), hard("d/h", "d/l/secret")}, true},
		"more after a file":            {"d", []tar.Header{file("d"), file("d/x")}, true},
		"a link alone, and through it": {"d", []tar.Header{link("d", "beside"), file("d/secret")}, true},
		"a file over a folder":         {"d", []tar.Header{folder("d"), folder("d/x"), file("d/x")}, true},
		"a device and a pipe":          {"d", []tar.Header{folder("d"), {Name: "d/dev", Typeflag: tar.TypeBlock}, {Name: "d/pipe", Typeflag: tar.TypeFifo}}, false},
		"nothing":                      {"d", nil, true},
		"setuid":                       {"d", []tar.Header{folder("d"), file("d/s")}, false},
	} {
		dir := t.TempDir()
		beside := filepath.Join(dir, "beside")
		if err := os.Mkdir(beside, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{filepath.Join(dir, "secret"), filepath.Join(beside, "secret")} {
			write(t, at, "mine", 0o600, time.Unix(1, 0))
		}
		before := strings.SplitN(look(t, dir), "\n", 2)[1] // but for the time of the folder itself
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range c.entries {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				_, _ = w.Write([]byte("evil")) // into memory
			}
		}
		w.Close()
		_, err := Unpack(&b, c.base, Target{Path: filepath.Join(dir, "dst")})
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
		if err := filepath.WalkDir(filepath.Join(dir, "dst"), func(at string, e fs.DirEntry, _ error) error {
			if info, err := os.Lstat(at); err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
				t.Errorf("%s: %s is %s", name, at, info.Mode())
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "dst")); err != nil {
			t.Fatal(err)
		}
		if after := strings.SplitN(look(t, dir), "\n", 2)[1]; after != before {
			t.Errorf("%s: beside the folder there was\n%s\nand is\n%s", name, before, after)
		}
	}
}

// What ends too early is an error, wherever it ends.
func TestAShortCopyIsAnError(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), strings.Repeat("x", 2000), 0o600, time.Unix(1, 0))
	var b bytes.Buffer
	if _, err := Pack(&b, filepath.Join(dir, "a"), "a"); err != nil {
		t.Fatal(err)
	}
	whole := bytes.TrimRight(b.Bytes(), "\x00")
	for n := range len(whole) {
		if _, err := Unpack(bytes.NewReader(whole[:n]), "a", Target{Path: filepath.Join(dir, "b")}); err == nil {
			t.Fatalf("%d of %d bytes are taken for all", n, len(whole))
		}
	}
}
