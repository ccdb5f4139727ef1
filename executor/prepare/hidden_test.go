package prepare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// What a user names and the task would not find is refused by name, with the
// remedy, through links too; and what is a task's own it finds.
func TestNothingHiddenIsUsed(t *testing.T) {
	dir := t.TempDir()
	folders, err := OpenFolders(filepath.Join(dir, "data/tasks"))
	if err != nil {
		t.Fatal(err)
	}
	link, tool := filepath.Join(dir, "link"), filepath.Join(dir, "data/tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", link); err != nil {
		t.Fatal(err)
	}
	p := &Preparer{Node: "oak", CPUs: 1000, Folders: folders, Hidden: []string{link}, Program: func(digest, _ string) string { return "/blobs/" + digest }}
	for what, s := range map[string]*api.TaskSpec{
		"working folder " + link:                         {Command: []string{"/bin/true"}, Dir: link},
		"working folder " + filepath.Dir(tool):           {Command: []string{"/bin/true"}, Dir: filepath.Dir(tool)},
		"program " + tool:                                {Command: []string{tool}},
		"program " + filepath.Join(link, "tool"):         {Command: []string{filepath.Join(link, "tool")}},
		"working folder " + filepath.Join(link, "tasks"): {Command: []string{"/bin/true"}, Dir: filepath.Join(link, "tasks")},
	} {
		_, err := p.Task("web.0/1", testTask, s)
		if err == nil || !strings.HasPrefix(err.Error(), what+" is in "+link) || !strings.Contains(err.Error(), "node oak") || !strings.Contains(err.Error(), "--unconfined data") {
			t.Errorf("%s: %v", what, err)
		}
		s.Unconfined = []string{api.PartData}
		if c, err := p.Task("web.1/1", testTask, s); err != nil || c.Covered != nil || c.Reached != nil {
			t.Errorf("%s, lifted: %+v, %v", what, c.Confinement, err)
		}
	}
	c, err := p.Task("web.2/1", testTask, &api.TaskSpec{Command: []string{"x"}, Program: "sum"})
	if want := []string{folders.Dir("web.2/1"), "/blobs/sum"}; err != nil || !slices.Equal(c.Covered, p.Hidden) || !slices.Equal(c.Reached, want) {
		t.Errorf("%+v, %v", c.Confinement, err)
	}
}
