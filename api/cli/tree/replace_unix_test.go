//go:build unix

package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// alone is a tar of one file.
func alone(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is there stays until the new one is whole: wherever a copy ends too early, also
// when all bytes came and the other side then says that they are wrong, nothing is changed
// or left beside it.
func TestAnOldFileIsKeptUntilTheNewOneIsWhole(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "old", 0o600, time.Unix(1, 0))
	before := withoutTimesOfFolders(look(t, dir))
	whole := alone(t, "f", strings.Repeat("new", 500))
	failed := errors.New("the other side failed")
	for _, n := range []int{0, 1, 511, 512, 513, 2011, 2012, 2048, len(whole)} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), failing{failed})
		if _, err := Unpack(r, "f", Target{Path: filepath.Join(dir, "f")}); !errors.Is(err, failed) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if after := withoutTimesOfFolders(look(t, dir)); after != before {
			t.Errorf("after %d bytes there is\n%s\nand was\n%s", n, after, before)
		}
	}
	if _, err := Unpack(bytes.NewReader(whole), "f", Target{Path: filepath.Join(dir, "f")}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || len(b) != 1500 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What is not a file is not replaced by one: not where it was named and not in a folder.
func TestADeviceIsNotReplaced(t *testing.T) {
	for kind, make := range map[string]func(string) error{
		"pipe":   func(at string) error { return syscall.Mkfifo(at, 0o600) },
		"socket": func(at string) error { return syscall.Mknod(at, syscall.S_IFSOCK|0o600, 0) },
		"folder": func(at string) error { return os.Mkdir(at, 0o700) },
	} {
		for _, base := range []string{"x", "."} {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, "x")); err != nil {
				t.Fatal(err)
			}
			before := withoutTimesOfFolders(look(t, dir))
			dst := filepath.Join(dir, strings.Trim(base, "."))
			_, err := Unpack(bytes.NewReader(alone(t, "x", "text")), base, Target{Path: dst})
			if err == nil || !strings.Contains(err.Error(), "x is a ") {
				t.Errorf("a %s, base %q: %v", kind, base, err)
			}
			if after := withoutTimesOfFolders(look(t, dir)); after != before {
				t.Errorf("a %s, base %q: there is\n%s\nand was\n%s", kind, base, after, before)
			}
		}
	}
}

// A stream gets the bytes of a file, and nothing else is taken for them.
func TestAStreamGetsAFileOnly(t *testing.T) {
	var b, folder bytes.Buffer
	done, err := Unpack(bytes.NewReader(alone(t, "x", "text")), "x", Target{Path: "/dev/null", Stream: &b})
	if err != nil || b.String() != "text" || done.Bytes != 4 {
		t.Errorf("%q, %+v, %v", b.String(), done, err)
	}
	if _, err := Pack(&folder, t.TempDir(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(&folder, "x", Target{Path: "/dev/null", Stream: &b}); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Error(err)
	}
}

// A file that is refused changes nothing.
func TestWhatIsRefusedChangesNothing(t *testing.T) {
	dir, no := t.TempDir(), errors.New("no")
	write(t, filepath.Join(dir, "f"), "old", 0o600, time.Unix(1, 0))
	before := look(t, dir)
	_, err := Unpack(bytes.NewReader(alone(t, "f", "")), "f", Target{Path: filepath.Join(dir, "f"), Refuse: func(_ string, size int64) error {
		if size == 0 {
			return no
		}
		return nil
	}})
	if after := look(t, dir); !errors.Is(err, no) || after != before {
		t.Errorf("%v, there is\n%s\nand was\n%s", err, after, before)
	}
}

// No rights come with what is packed, whoever unpacks it.
func TestNoSetuidIsPacked(t *testing.T) {
	at := filepath.Join(t.TempDir(), "f")
	write(t, at, "", 0o755|fs.ModeSetuid|fs.ModeSetgid, time.Unix(1, 0))
	var b bytes.Buffer
	if _, err := Pack(&b, at, "f"); err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(&b).Next(); err != nil || h.Mode != 0o755 {
		t.Errorf("%+v, %v", h, err)
	}
}
