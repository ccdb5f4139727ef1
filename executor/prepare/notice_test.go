package prepare

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
)

// A task may put what it likes where its notice comes: that is written by root, and
// into nothing but the task's own folder.
func TestNoticeFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	folders, err := OpenFolders(filepath.Join(dir, "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	p := &Preparer{Node: "oak", Folders: folders}
	s := &api.TaskSpec{}
	own := folders.Dir("web.0/1")
	outside := filepath.Join(dir, "outside")
	path := p.noticePath("web.0/1", s)
	for name, put := range map[string]func() error{
		"a link at its place":     func() error { return os.Symlink(outside, path) },
		"a link beside it":        func() error { return os.Symlink(outside, path+".new") },
		"a file of a killed one":  func() error { return os.WriteFile(path+".new", []byte("half"), 0o600) },
		"an earlier notice":       func() error { return os.WriteFile(path, []byte("old"), 0o600) },
		"a second name of a file": func() error { return os.Link(outside, path+".new") },
	} {
		if err := os.MkdirAll(own, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(outside, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := p.Notify("web.0/1", s, []byte("yours")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(outside); err != nil || string(b) != "theirs" {
			t.Errorf("%s: outside is %q, %v", name, b, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "yours" {
			t.Errorf("%s: the task finds %q, %v", name, b, err)
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode() != 0o444 {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
		if err := os.RemoveAll(own); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Notify("web.0/1", s, nil); err == nil {
		t.Error("there is no folder, and that is not an error")
	}
}
