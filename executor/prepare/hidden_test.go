package prepare

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	temps, err := OpenTemps(filepath.Join(dir, "data/tmp"))
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
	p := &Preparer{Node: "oak", CPUs: 1000, Folders: folders, Temps: temps, Hidden: []string{link}, Program: func(digest, _ string) string { return "/blobs/" + digest }}
	for what, s := range map[string]*api.TaskSpec{
		"working folder " + link:                         {Command: []string{"/bin/true"}, Dir: link},
		"working folder " + filepath.Dir(tool):           {Command: []string{"/bin/true"}, Dir: filepath.Dir(tool)},
		"program " + tool:                                {Command: []string{tool}},
		"program " + filepath.Join(link, "tool"):         {Command: []string{filepath.Join(link, "tool")}},
		"working folder " + filepath.Join(link, "tasks"): {Command: []string{"/bin/true"}, Dir: filepath.Join(link, "tasks")},
	} {
		_, err := p.Task("web.0/1", testTask, s, 0)
		if err == nil || !strings.HasPrefix(err.Error(), what+" is in "+link) || !strings.Contains(err.Error(), "node oak") || !strings.Contains(err.Error(), "--unconfined data") {
			t.Errorf("%s: %v", what, err)
		}
		s.Unconfined = []string{api.PartData, api.PartTmp}
		if c, err := p.Task("web.1/1", testTask, s, 0); err != nil || c.Covered != nil || c.Reached != nil {
			t.Errorf("%s, lifted: %+v, %v", what, c.Confinement, err)
		}
	}
	c, err := p.Task("web.2/1", testTask, &api.TaskSpec{Command: []string{"x"}, Program: "sum"}, 0)
	if want := []string{folders.Dir("web.2/1"), "/blobs/sum"}; err != nil || !slices.Equal(c.Covered, p.Hidden) || !slices.Equal(c.Reached, want) {
		t.Errorf("%+v, %v", c.Confinement, err)
	}
}

// What a user names in /tmp is there for the task, by that name; by a link it is
// refused, with the remedy. The data folder is in /tmp for whom nothing of it is
// covered.
func TestWhatIsNamedInTmp(t *testing.T) {
	p := testRoot(t)
	p.Root = ""
	dir := t.TempDir()
	elsewhere, err := os.MkdirTemp("/var/tmp", "mesita-link-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	tool, link, out := filepath.Join(dir, "tool"), filepath.Join(dir, "link"), filepath.Join(elsewhere, "link")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{link, out} {
		if err := os.Symlink(dir, l); err != nil {
			t.Fatal(err)
		}
	}
	c, err := p.Task("web.0/1", testTask, &api.TaskSpec{Command: []string{"./tool"}, Dir: dir}, 0)
	if want := []string{dir + "/", tool}; err != nil || !slices.Equal(c.Named, want) {
		t.Errorf("%v, %v", c.Named, err)
	}
	for i, dir := range []string{"/tmp", "/dev/shm", "/", "/var/tmp", "/tmpfiles"} {
		if c, err := p.Task("dir.0/"+strconv.Itoa(i), testTask, &api.TaskSpec{Command: []string{"/bin/true"}, Dir: dir}, 0); c.Named != nil {
			t.Errorf("%s: %v, %v", dir, c.Named, err)
		}
	}
	for what, s := range map[string]*api.TaskSpec{
		"working folder " + link:                 {Command: []string{"/bin/true"}, Dir: link},
		"working folder " + out:                  {Command: []string{"/bin/true"}, Dir: out},
		"program " + filepath.Join(link, "tool"): {Command: []string{filepath.Join(link, "tool")}},
	} {
		_, err := p.Task("web.1/1", testTask, s, 0)
		if err == nil || !strings.HasPrefix(err.Error(), what+" leads to "+dir) || !strings.Contains(err.Error(), "--unconfined tmp") {
			t.Errorf("%s: %v", what, err)
		}
		s.Unconfined = []string{api.PartTmp}
		if c, err := p.Task("web.2/1", testTask, s, 0); err != nil || c.Named != nil || c.Temporary != "" || c.PrivateMemory {
			t.Errorf("%s, lifted: %+v, %v", what, c.Confinement, err)
		}
	}
	// What is in its own /tmp nobody else can look up.
	b, err := p.Beside("web.0/1", testTask, &api.TaskSpec{Command: []string{"x"}}, Command{Args: []string{"/tmp/made/by-the-task"}})
	if err != nil || b.Path != "/tmp/made/by-the-task" {
		t.Errorf("%q, %v", b.Path, err)
	}
	p.Hidden = []string{dir}
	c, err = p.Task("web.3/1", testTask, &api.TaskSpec{Command: []string{"/bin/true"}, Dir: "/", Unconfined: []string{api.PartData}}, 0)
	if err != nil || c.Covered != nil || !slices.Equal(c.Reached, p.Hidden) {
		t.Errorf("%+v, %v", c.Confinement, err)
	}
}

// Where links in the data folder lead is hidden as well, unless that is not a folder or
// the data folder is in it, which is said.
func TestLinksInTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	data, disk := filepath.Join(dir, "data"), filepath.Join(dir, "disk")
	for _, d := range []string{data, filepath.Join(disk, "executor"), filepath.Join(disk, "blobs")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disk, "key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	executor := filepath.Join(data, "executor")
	for link, to := range map[string]string{
		executor: filepath.Join(disk, "executor"), filepath.Join(disk, "executor/blobs"): filepath.Join(disk, "blobs"), filepath.Join(data, "key"): filepath.Join(disk, "key"),
		filepath.Join(data, "up"): dir, filepath.Join(data, "gone"): filepath.Join(dir, "gone"), filepath.Join(data, "same"): data,
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	hidden, seen, err := HiddenFolders(data, executor)
	if want := []string{data, executor, filepath.Join(disk, "blobs")}; err != nil || !slices.Equal(hidden, want) {
		t.Errorf("hidden: %v and not %v, %v", hidden, want, err)
	}
	if want := []string{filepath.Join(data, "key"), filepath.Join(data, "up")}; !slices.Equal(seen, want) {
		t.Errorf("seen: %v and not %v", seen, want)
	}
}
