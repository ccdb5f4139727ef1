package blobs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A program is executed by its own name, whatever that is, from below the cache
// and nowhere else; what cannot be a name is called by the digest, as is what
// comes after so many.
func TestAProgramHasItsName(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 250)
	b := []byte("#!/bin/sh\nprintf '%s\\n' \"${0##*/}\"; cat /proc/$$/comm\n")
	d := digest(b)
	if got := c.Named(d, "server"); got != c.Path(d) {
		t.Errorf("one that is not here is executed by %s", got)
	}
	if err := put(c, d, b); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 255)
	for command, name := range map[string]string{
		"server": "server", "./bin/server": "server", "/opt/server": "server", "../x": "x", "a b": "a b", "a\nb": "a\nb", "-n": "-n", long: long, "\xff": "\xff",
		"": "", ".": "", "..": "", "/": "", "a/": "", "a/..": "", long + "x": "", "a\x00b": "",
	} {
		want := c.Path(d)
		if name != "" {
			want = filepath.Join(dir, "as", filepath.Base(want), name)
		}
		for range 2 {
			if got := c.Named(d, command); got != want {
				t.Errorf("%.20q is executed by %s", command, got)
			}
		}
		if name == "" {
			name = filepath.Base(want)
		}
		out, err := exec.Command(want).Output()
		if said := fmt.Sprintf("%s\n%.15s\n", name, name); err != nil || string(out) != said {
			t.Errorf("%.20q says that it is %q: %v", command, out, err)
		}
	}
	of := func() []os.DirEntry {
		all, _ := os.ReadDir(filepath.Join(dir, "as", filepath.Base(c.Path(d))))
		return all
	}
	server := c.Named(d, "server")
	if err := os.Remove(server); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", server); err != nil {
		t.Fatal(err)
	}
	if got := c.Named(d, "server"); got != server {
		t.Error(got)
	}
	if fi, err := os.Stat(server); err != nil || fi.Size() != int64(len(b)) {
		t.Errorf("a link to elsewhere is executed: %v, %v", fi, err)
	}
	for i := range 100 {
		c.Named(d, fmt.Sprint("n", i))
	}
	if len(of()) != 64 {
		t.Errorf("%d names", len(of()))
	}
	if err := put(c, digest(bytes.Repeat([]byte{1}, 240)), bytes.Repeat([]byte{1}, 240)); err != nil || c.Has(d) || len(of()) != 0 {
		t.Errorf("the names of a program that was evicted are there: %v, %v", of(), err)
	}
}

// Names that a crash left without their program are removed at the next start.
func TestNamesOfNothing(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<20)
	kept, gone := []byte("kept"), []byte("gone")
	for _, b := range [][]byte{kept, gone} {
		if err := put(c, digest(b), b); err != nil || c.Named(digest(b), "n") == c.Path(digest(b)) {
			t.Fatal(err)
		}
	}
	if err := os.Remove(c.Path(digest(gone))); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, 1<<20)
	if all, err := os.ReadDir(filepath.Join(dir, "as")); err != nil || len(all) != 1 || all[0].Name() != filepath.Base(c.Path(digest(kept))) {
		t.Errorf("%v, %v", all, err)
	}
}
