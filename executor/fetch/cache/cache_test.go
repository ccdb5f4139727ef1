package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/executor/fetch"
)

// box is a cache and the folder of a task beside it.
type box struct {
	*Cache
	t    *testing.T
	task *os.Root
	full bool
}

func newBox(t *testing.T, limit int64) *box {
	b := &box{t: t}
	var err error
	b.Cache, err = Open(filepath.Join(t.TempDir(), "kept"), limit, func(int64) error {
		if b.full {
			return errors.New("the disk is full")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.task, err = os.OpenRoot(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.task.Close() })
	return b
}

func originOf(content string) fetch.Origin {
	sum := sha256.Sum256([]byte(content))
	return fetch.Origin{Size: int64(len(content)), Sum: sum[:]}
}

// fetched has a task have fetched that, and it be kept.
func (b *box) fetched(key, content string) error {
	b.t.Helper()
	if err := b.task.WriteFile("f", []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.Add(key, b.task, "f", uint32(os.Getuid()), originOf(content))
}

func (b *box) copied(key string) string {
	b.t.Helper()
	is, ok := b.Copy(key, b.task, "copy", uint32(os.Getuid()), uint32(os.Getgid()))
	got, err := b.task.ReadFile("copy")
	if ok != (err == nil) || ok && !bytes.Equal(is.Sum, originOf(string(got)).Sum) {
		b.t.Fatalf("%s is there: %v; its copy: %q, %v", key, ok, got, err)
	}
	_ = b.task.Remove("copy")
	return string(got)
}

// onDisk is how many files there are, and of how many bytes.
func (b *box) onDisk() (n int, bytes int64) {
	all, err := os.ReadDir(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range all {
		fi, err := f.Info()
		if err != nil {
			b.t.Fatal(err)
		}
		bytes += fi.Size()
	}
	return len(all), bytes
}

// What was not used for the longest goes first, and no more is kept than may be.
func TestBound(t *testing.T) {
	b := newBox(t, 10)
	for _, key := range []string{"a", "b", "c"} {
		if err := b.fetched(key, "111"+key); key != "c" && err != nil || key == "c" && b.Has("b") {
			t.Fatalf("%s: %v", key, err)
		}
		b.copied("a")
	}
	if b.copied("a") != "111a" || b.copied("b") != "" || b.copied("c") != "111c" {
		t.Error("another one went")
	}
	if err := b.fetched("large", "12345678901"); err == nil || !b.Has("a") || !b.Has("c") {
		t.Errorf("what is too large: %v", err)
	}
	if err := b.fetched("a", "new"); err != nil || b.copied("a") != "new" || !b.Has("c") {
		t.Errorf("in place of another: %v", err)
	}
	if n, size := b.onDisk(); n != 2 || size != 7 || b.size != 7 {
		t.Errorf("on disk are %d files of %d bytes, of which %d are known", n, size, b.size)
	}
	b.Clear()
	if n, _ := b.onDisk(); n != 0 || b.size != 0 {
		t.Errorf("%d files are left, %d bytes", n, b.size)
	}
}

// What is being copied does not go, for others or with all.
func TestInUse(t *testing.T) {
	b := newBox(t, 10)
	if err := b.fetched("a", "12345678"); err != nil {
		t.Fatal(err)
	}
	f := b.pin("a")
	if err := b.fetched("b", "12345678"); err == nil {
		t.Error("another one came in its place")
	}
	if b.Clear(); b.copied("a") != "12345678" {
		t.Error("it went")
	}
	b.drop("a", f)
	if _, size := b.onDisk(); size != 8 || b.Has("a") {
		t.Errorf("%d bytes are there of what is dropped, while it is in use", size)
	}
	if b.unpin(f); b.size != 0 {
		t.Errorf("%d bytes are left", b.size)
	}
}

// What is not what its task fetched is not kept: that, or who else is that user, changed it,
// or put something of another user's in its place.
func TestUntrusted(t *testing.T) {
	b := newBox(t, 100)
	me := uint32(os.Getuid())
	for name, change := range map[string]func() error{
		"changed":      func() error { return b.task.WriteFile("f", []byte("evil"), 0o600) },
		"longer":       func() error { return b.task.WriteFile("f", []byte("good, and more"), 0o600) },
		"another name": func() error { return b.task.Link("f", "g") },
		"a folder":     func() error { return errors.Join(b.task.Remove("f"), b.task.Mkdir("f", 0o700)) },
		"nothing":      func() error { return b.task.Remove("f") },
	} {
		if err := errors.Join(b.task.WriteFile("f", []byte("good"), 0o600), change()); err != nil {
			t.Fatal(err)
		}
		if err := b.Add("a", b.task, "f", me, originOf("good")); err == nil || b.Has("a") {
			t.Errorf("%s: %v", name, err)
		}
		_, _ = b.task.Remove("f"), b.task.Remove("g")
	}
	if err := b.task.WriteFile("f", []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Add("a", b.task, "f", me+1, originOf("good")); err == nil {
		t.Error("it is of another user")
	}
	if n, _ := b.onDisk(); n != 0 || b.size != 0 {
		t.Errorf("left are %d files, %d bytes", n, b.size)
	}
}

// What the disk damaged is not used, nor what a daemon before left, and a disk that is
// full keeps nothing.
func TestDamaged(t *testing.T) {
	b := newBox(t, 100)
	if err := b.fetched("a", "good"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.files["a"].path, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.copied("a") != "" || b.Has("a") {
		t.Error("it is used")
	}
	b.full = true
	if err := b.fetched("b", "good"); err == nil {
		t.Error("it is kept on a disk that is full")
	}
	b.full = false
	if err := b.fetched("b", "good"); err != nil {
		t.Fatal(err)
	}
	next, err := Open(b.dir, 100, b.room)
	if err != nil || next.Has("b") {
		t.Errorf("the next has it: %v", err)
	}
	if n, _ := b.onDisk(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range [][4]string{{"f", "p", "u", "x"}, {"f", "p", "u", "y"}, {"f", "p", "v", "x"}, {"f", "q", "u", "x"}, {"f", "pu", "", "x"}, {"f", "", "pu", "x"}, {"g", "p", "u", "x"}} {
		seen[Key(k[0], k[1], k[2], k[3])] = true
	}
	if len(seen) != 7 {
		t.Errorf("%d keys", len(seen))
	}
}
