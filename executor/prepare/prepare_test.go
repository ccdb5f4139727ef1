package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// testRoot is a file system that is not the machine's: its users have other
// numbers, and its links lead to itself.
func testRoot(t *testing.T) *Preparer {
	t.Helper()
	dir := t.TempDir()
	folders, err := OpenFolders(filepath.Join(dir, "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	temps, err := OpenTemps(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nann:x:70001:70002:Ann:/home/ann:/bin/sh\nbad:x:n:0::/:\nshort:x\nann:x:9:9::/:\n",
		"etc/group":  "root:x:0:\nann:x:70002:\nred:x:70003:ann,bob\nblue:x:70004:annie\n70009:x:5:\n",
		"box/tool":   "#!",
		"box/plain":  "text",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(root, "box/plain"), 0o644), os.Symlink("/box", filepath.Join(root, "bin")), os.Symlink("../../../../box/tool", filepath.Join(root, "box/up")),
		os.Symlink("/etc/shadow", filepath.Join(root, "box/out"))); err != nil {
		t.Fatal(err)
	}
	return &Preparer{Node: "oak", CPUs: 2000, Root: root, Folders: folders, Temps: temps, Program: func(d, _ string) string { return "/blobs/" + d }}
}

var testTask = &api.Task{ID: "web.3", Job: "web", Index: 3, Attempt: 2, Partition: "ml", Ports: map[string]int{"http": 80}, Resources: api.Resources{CPUs: 250, Mem: 1 << 20}}

func TestUsersAreThoseOfTheRoot(t *testing.T) {
	p := testRoot(t)
	for who, want := range map[string]account{
		"":           {name: "root", home: "/root"},
		"ann":        {uid: 70001, gid: 70002, groups: []uint32{70002, 70003}, name: "ann", home: "/home/ann"},
		"70001":      {uid: 70001, gid: 70002, groups: []uint32{70002, 70003}, name: "ann", home: "/home/ann"},
		"4242":       {uid: 4242, gid: 4242, name: "4242", home: "/"},
		"ann:blue":   {uid: 70001, gid: 70004, groups: []uint32{70004}, name: "ann", home: "/home/ann"},
		"ann:9":      {uid: 70001, gid: 9, groups: []uint32{9}, name: "ann", home: "/home/ann"},
		"4242:70009": {uid: 4242, gid: 5, groups: []uint32{5}, name: "4242", home: "/"},
		"root:red":   {uid: 0, gid: 70003, groups: []uint32{70003}, name: "root", home: "/root"},
	} {
		if got, err := p.root().lookup(who); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", who, got, err, want)
		}
	}
	for who, says := range map[string]string{"bob": `user "bob" does not exist`, "bad": "without numbers", "ann:green": `group "green" does not exist`, "short": "does not exist"} {
		var own *Error
		if _, err := p.root().lookup(who); !errors.As(err, &own) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", who, err)
		}
	}
}

func TestProgramsAreThoseOfTheRoot(t *testing.T) {
	p := testRoot(t)
	for name, want := range map[string]string{"tool": "/bin/tool", "/box/tool": "/box/tool", "./tool": "/box/tool", "up": "/bin/up"} {
		if got, err := p.root().program(name, "/box", "/none:/bin"); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, says := range map[string]string{"/bin/sh": "does not exist", "plain": "is in none of the folders of PATH", "/box/plain": "is not executable", "/box": "is a folder", "out": "is in none"} {
		if _, err := p.root().program(name, "/box", "/none:/bin"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is prepared for a command beside a task is the task's own spec, but for
// the program.
func TestBesideIsTheTasksOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a folder away needs root")
	}
	p := testRoot(t)
	s := &api.TaskSpec{Command: []string{"tool", "{http}", "{index}"}, User: "ann:red", Pids: 7, Nice: 4, CPULimit: 300, HostPIDs: true, Privileged: true,
		Ulimits: []api.Ulimit{{Name: "nofile", Soft: 10, Hard: api.Unlimited}}}
	task, err := p.Task("web.3/2", testTask, s, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := isolation.Confinement{Limits: isolation.Limits{CPUWeight: 1250, Memory: 1 << 20, PIDs: 7}, PrivateMounts: true, AllowNewPrivileges: true, Nice: 4, MaxCPU: 300,
		Rlimits: []isolation.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 10, Hard: unix.RLIM_INFINITY}}}
	if !reflect.DeepEqual(task.Confinement, want) {
		t.Errorf("%+v", task.Confinement)
	}
	usual := *s
	usual.Privileged = false
	bound := want
	p.Hidden = []string{filepath.Dir(p.Folders.root)}
	bound.Covered, bound.Reached = p.Hidden, []string{p.Folders.Dir("web.4/2")}
	bound.PrivateMemory = true
	bound.AllowNewPrivileges, bound.PrivateIPC, bound.FilterSyscalls, bound.LimitDevices, bound.ReadOnlySystem, bound.Forbidden = false, true, true, true, true, ^isolation.UsualCapabilities
	confined, err := p.Task("web.4/2", testTask, &usual, 0)
	if dirs := p.Temps.Ended("web.4/2"); len(dirs) == 1 {
		bound.Temporary = dirs[0]
	}
	if err != nil || bound.Temporary == "" || !reflect.DeepEqual(confined.Confinement, bound) {
		t.Errorf("not privileged: %+v, %v", confined.Confinement, err)
	}
	for i, part := range api.Parts {
		less := usual
		less.Unconfined = []string{part.Name}
		got, err := p.Task(fmt.Sprintf("web.%d/2", 5+i), testTask, &less, 0)
		if got.Reached != nil {
			got.Reached = bound.Reached // its own folder
		}
		if got.Temporary != "" {
			got.Temporary = bound.Temporary
		}
		if err != nil || reflect.DeepEqual(got.Confinement, bound) {
			t.Errorf("without %s all is as with it: %v", part.Name, err)
		}
		usual.Unconfined = append(usual.Unconfined, part.Name)
	}
	if got, err := p.Task("web.99/2", testTask, &usual, 0); err != nil || !reflect.DeepEqual(got.Confinement, want) {
		t.Errorf("without all parts: %+v, %v", got.Confinement, err)
	}
	slices.Sort(task.Env)
	if task.Path != "/usr/bin/tool" && task.Path != "/bin/tool" || !slices.Equal(task.Args, []string{"tool", "80", "3"}) || task.UID != 70001 || task.GID != 70003 {
		t.Errorf("%+v", task.Program)
	}
	if fi, err := os.Stat(task.Dir); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 70001 || fi.Sys().(*syscall.Stat_t).Gid != 70003 {
		t.Errorf("the folder: %v, %v", fi, err)
	}
	beside, err := p.Beside("web.3/2", testTask, s, Command{Args: []string{"/box/tool", "{attempt}"}, TTY: true, Env: map[string]string{"HOME": "/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(beside.Confinement, want) || beside.UID != task.UID || beside.GID != task.GID || !slices.Equal(beside.Groups, task.Groups) || beside.Dir != task.Dir {
		t.Errorf("%+v beside %+v", beside, task)
	}
	if !slices.Equal(beside.Args, []string{"/box/tool", "2"}) || !beside.TTY || variable(beside.Env, "HOME") != "/x" || variable(beside.Env, "MESITA_PORT_HTTP") != "80" {
		t.Errorf("%+v", beside.Program)
	}
}

// Each limit that a spec may name is one that the kernel has.
func TestUlimitsAreKnown(t *testing.T) {
	for _, name := range api.UlimitNames {
		if _, err := isolation.NewRlimit(name, 1, 2); err != nil {
			t.Error(err)
		}
	}
}

// What a node adds to the environment is below what the task's spec says, and tells where
// the task works.
func TestNodesPartOfTheEnvironment(t *testing.T) {
	p := &Preparer{Node: "oak", Env: func(*api.Task, *api.TaskSpec, string) map[string]string {
		return map[string]string{"A": "node", "B": "node"}
	}}
	env := p.environ("", "/d", testTask, &api.TaskSpec{Env: map[string]string{"A": "spec"}}, account{})
	if variable(env, "A") != "spec" || variable(env, "B") != "node" || slices.Contains(env, "A=node") {
		t.Errorf("%v", env)
	}
	p.Env = func(_ *api.Task, _ *api.TaskSpec, dir string) map[string]string { return map[string]string{"DIR": dir} }
	if env := p.environ("", "/d", testTask, &api.TaskSpec{}, account{}); variable(env, "DIR") != "/d" {
		t.Errorf("%v", env)
	}
}

// What fetches the files of a task may need more memory than that holds: when the node has no
// more, it is killed before those who use their own.
func TestFetchersGoFirst(t *testing.T) {
	p := testRoot(t)
	for mem, first := range map[api.Bytes]bool{32 << 20: true, 1 << 30: false} {
		task := *testTask
		task.Resources.Mem = mem
		proc, err := p.Fetch("web.3/2", &task, &api.TaskSpec{Command: []string{"x"}}, "/bin/true", []string{"fetch"})
		if err != nil || (proc.OOMScore > 0) != first || proc.Limits.Memory != max(int64(mem), fetchMem) {
			t.Errorf("%s: %d, %d, %v", mem, proc.OOMScore, proc.Limits.Memory, err)
		}
	}
}
