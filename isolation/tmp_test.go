package isolation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation/process"
)

// ownTmp is a folder to be a task's /tmp.
func ownTmp(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "own")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// left is a file of the machine in a folder for what is of passing use.
func left(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "mesita-left-")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() { os.Remove(f.Name()) })
	return f.Name()
}

// A task's /tmp and /dev/shm are its own, for anybody in it and what runs beside
// it, and nobody else: it finds nothing there of the machine's, and the machine
// and other tasks nothing of it; no user namespace brings back what is below.
func TestOwnTemporaryFolders(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	folders := []string{process.TemporaryFolder, process.SharedMemory}
	for _, dir := range folders {
		left(t, dir)
	}
	const list = `for d in /tmp /dev/shm; do stat -c '%a %u' $d; ls -A $d; done`
	start := func(tmp string, uid uint32, script string) Spec {
		c := confined(sh(script))
		c.Dir, c.Temporary, c.PrivateMemory, c.UID, c.GID = "/", tmp, true, uid, uid
		return c
	}
	first, second := ownTmp(t), ownTmp(t)
	const empty = "1777 0\n1777 0"
	for _, uid := range []uint32{0, 65534} {
		if out, e := output(t, s, start(second, uid, list)); e != (Exit{}) || out != empty {
			t.Errorf("user %d finds %q, %+v", uid, out, e)
		}
	}
	p := ready(t, s, start(first, 65534, "echo mine > /tmp/secret; echo mine > /dev/shm/secret; echo ready; exec sleep 1000"))
	out, e := outputOf(t, func(f Files) (*Process, error) {
		return s.StartBeside(p, start("", 65534, "cat /tmp/secret /dev/shm/secret; echo beside > /tmp/answer; ls /tmp /dev/shm"), f)
	})
	if want := "mine\nmine\n/dev/shm:\nsecret\n\n/tmp:\nanswer\nsecret"; e != (Exit{}) || out != want {
		t.Errorf("beside it: %q, %+v", out, e)
	}
	if out, e := output(t, s, start(second, 0, list)); e != (Exit{}) || out != empty {
		t.Errorf("another task finds %q, %+v", out, e)
	}
	for _, dir := range folders {
		if _, err := os.Lstat(filepath.Join(dir, "secret")); err == nil {
			t.Errorf("the machine finds it in %s", dir)
		}
	}
	if b, err := os.ReadFile(filepath.Join(first, "answer")); err != nil || string(b) != "beside\n" {
		t.Errorf("on disk there is %q, %v", b, err)
	}
	c := start(second, 0, "unshare -Urm sh -c 'umount -l /tmp; umount -l /dev/shm; ls -A /tmp /dev/shm' 2>/dev/null")
	c.FilterSyscalls = false
	if out, _ := output(t, s, c); strings.Contains(out, "mesita-left-") {
		t.Errorf("in a user namespace it finds %s", out)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wait(t, p)
	// Who has none of its own finds the machine's.
	if out, e := output(t, s, confined(sh("ls /tmp /dev/shm"))); e != (Exit{}) || strings.Count(out, "mesita-left-") != 2 {
		t.Errorf("without: %s, %+v", out, e)
	}
}

// What is in memory is bounded as the task's memory is.
func TestSharedMemoryIsBounded(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	c := confined(sh("df -k --output=size /dev/shm"))
	c.Dir, c.PrivateMemory, c.Limits.Memory = "/", true, 32<<20
	if out, e := output(t, s, c); e != (Exit{}) || !strings.HasSuffix(out, "32768") {
		t.Errorf("%q, %+v", out, e)
	}
}

// What a task's user names in /tmp it finds there, if that user may come to it
// and no link leads there; and of the node's data folder in /tmp what it may reach.
func TestWhatIsReachedInTmp(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	top, err := os.MkdirTemp(process.TemporaryFolder, "mesita-named-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	open, closed, data, link := filepath.Join(top, "open"), filepath.Join(top, "closed"), filepath.Join(top, "data"), filepath.Join(top, "link")
	own := filepath.Join(data, "own")
	for _, dir := range []string{top, open, closed, data, filepath.Join(open, "in"), filepath.Join(closed, "in"), own} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool := filepath.Join(top, "tool")
	for path, mode := range map[string]os.FileMode{tool: 0o755, filepath.Join(data, "key"): 0o644, filepath.Join(open, "file"): 0o644} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\nexec /bin/sh -c \"$1\"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{closed: 0o700, own: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(open, link); err != nil {
		t.Fatal(err)
	}
	spec := func(uid uint32, script string, named ...string) Spec {
		c := confined(program(tool, tool, script))
		c.Dir, c.UID, c.GID, c.Temporary, c.PrivateMemory = own, uid, uid, ownTmp(t), true
		c.Covered, c.Reached, c.Named = []string{data}, []string{own}, []string{tool}
		for _, path := range named {
			c.Named = append(c.Named, path+"/")
		}
		return c
	}
	if out, e := output(t, s, spec(65534, "echo x > out; ls "+open, open)); e != (Exit{}) || out != "file\nin" {
		t.Errorf("nobody finds %q, %+v", out, e)
	}
	out, e := output(t, s, spec(0, "cd "+top+"; find . | sort | tr '\n' ' '", open))
	if want := ". ./data ./data/own ./data/own/out ./open ./open/file ./open/in ./tool"; e != (Exit{}) || strings.TrimSpace(out) != want {
		t.Errorf("it finds %q, %+v", out, e)
	}
	if _, err := os.Stat(filepath.Join(own, "out")); err != nil {
		t.Error(err)
	}
	if out, e := output(t, s, spec(0, "ls "+filepath.Join(closed, "in"), filepath.Join(closed, "in"))); e != (Exit{}) {
		t.Errorf("root reaches what it names: %q, %+v", out, e)
	}
	for what, c := range map[string]Spec{
		"what its user may not come to":   spec(65534, "true", filepath.Join(closed, "in")),
		"what a link leads to":            spec(0, "true", link),
		"what is behind a link":           spec(0, "true", filepath.Join(link, "in")),
		"what a link leads to, as nobody": spec(65534, "true", link),
	} {
		if p, err := s.Start(c, Files{}); err == nil {
			wait(t, p)
			t.Errorf("%s is reached", what)
		} else if !strings.Contains(err.Error(), "let it reach "+strings.TrimSuffix(c.Named[1], "/")) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A folder that is named does not bring along what is covered in it.
	c := spec(0, "find "+data+" | wc -l; cat "+filepath.Join(data, "key"), top)
	if out, _ := output(t, s, c); !strings.HasPrefix(out, "3\n") || strings.Contains(out, "exec") {
		t.Errorf("with %s it finds %q", top, out)
	}
}
