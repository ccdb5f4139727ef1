package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWritable(t *testing.T) {
	module := t.TempDir()
	pkg := filepath.Join(module, "a", "b")
	if err := os.MkdirAll(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VM_RW", "/srv/x:/srv/x/")
	t.Setenv("GOCOVERDIR", "")
	got := writable("/tmp/go-build1/b.test", pkg, []string{"-test.v", "-test.coverprofile=/srv/p/c.out", "-test.outputdir=/srv/o", "-test.run="})
	want := []string{"/srv/x", module, "/tmp/go-build1", "/srv/p", "/srv/o"}
	if !slices.Equal(got, want) {
		t.Errorf("writable = %v, want %v", got, want)
	}
	if got := writable("/usr/bin/true", "/", nil); slices.Contains(got, "/") {
		t.Errorf("the whole root is shared for writing: %v", got)
	}
}
