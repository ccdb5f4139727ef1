package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
)

// taskUser prepares an attempt of somebody of whose user nobody said anything.
func taskUser(t *testing.T, p *Preparer, id string) (uid uint32) {
	t.Helper()
	proc, err := p.Task(id, testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser})
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(proc.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); proc.UID < firstUID || proc.UID > lastUID || proc.GID != proc.UID || st.Uid != proc.UID || st.Gid != proc.UID || fi.Mode() != os.ModeDir|0o700 {
		t.Fatalf("%s: user %d:%d, folder of %d:%d, %s", id, proc.UID, proc.GID, st.Uid, st.Gid, fi.Mode())
	}
	if want := []string{"HOME=" + proc.Dir, "USER=mesita-task", "LOGNAME=mesita-task"}; !slices.Contains(proc.Env, want[0]) || !slices.Contains(proc.Env, want[1]) || !slices.Contains(proc.Env, want[2]) {
		t.Errorf("%q lacks some of %q", proc.Env, want)
	}
	beside, err := p.Beside(id, testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}, Command{Args: []string{"tool"}})
	if err != nil || beside.UID != proc.UID || beside.GID != proc.GID || !slices.Equal(beside.Groups, proc.Groups) {
		t.Errorf("beside %s: %d:%d %v, %v", id, beside.UID, beside.GID, beside.Groups, err)
	}
	return proc.UID
}

func needsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a folder away needs root")
	}
}

// TestTaskUsers: no two attempts have the same user as long as their folders are
// there, also by a daemon that starts again.
func TestTaskUsers(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	seen := map[uint32]string{}
	for i := range 20 {
		id := fmt.Sprintf("web.%d/1", i)
		uid := taskUser(t, p, id)
		if seen[uid] != "" {
			t.Errorf("%s and %s are both %d", seen[uid], id, uid)
		}
		seen[uid] = id
		if again := taskUser(t, p, id); again != uid {
			t.Errorf("%s prepared again: %d, was %d", id, again, uid)
		}
	}
	var err error
	if p.Folders, err = OpenFolders(p.Folders.root); err != nil {
		t.Fatal(err)
	}
	p.Folders.users.next = firstUID
	for i := range 20 {
		id := fmt.Sprintf("web.%d/1", i)
		if uid := taskUser(t, p, id); seen[uid] != id {
			t.Errorf("after a restart %s is %d, as was %q", id, uid, seen[uid])
		}
	}
	if uid := taskUser(t, p, "new.0/1"); seen[uid] != "" {
		t.Errorf("a new one is %d, as is %s", uid, seen[uid])
	}
}

// TestTaskUsersOfOthers: what has an account, or is systemd's, is not given away.
func TestTaskUsersOfOthers(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	if err := os.WriteFile(filepath.Join(p.Root, "etc/passwd"), []byte("ann:x:61184:9::/:\nbob:x:61185:9::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Root, "etc/group"), []byte("mesita-task:x:777:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Folders.users.next = firstUID
	p.Folders.users.foreign = func(uid uint32) bool { return uid == firstUID+2 }
	if uid := taskUser(t, p, "web.0/1"); uid != firstUID+3 {
		t.Errorf("got %d", uid)
	}
	proc, err := p.Task("web.1/1", testTask, &api.TaskSpec{Command: []string{"/box/tool"}, Dir: "/box", User: api.TaskUser})
	if err != nil || proc.Dir != "/box" || owner(p.Folders.Dir("web.1/1")) != proc.UID || !slices.Equal(proc.Groups, []uint32{proc.UID, 777}) {
		t.Errorf("with a folder of its choice: %+v, %v", proc.Program, err)
	}
}

// TestTaskUsersAreGivenBack: by an attempt that left nothing at once, by the others
// when their folders go, which is before time when there is no user left.
func TestTaskUsersAreGivenBack(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	f := p.Folders
	left := func(from, to uint32) { // has all but those
		f.users.next = firstUID
		f.users.foreign = func(uid uint32) bool { return uid < from || uid > to }
	}
	left(firstUID, firstUID+1)
	a, b := taskUser(t, p, "a.0/1"), taskUser(t, p, "b.0/1")
	refused := func() {
		t.Helper()
		if _, err := p.Task("z.0/1", testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}); err == nil || !strings.Contains(err.Error(), "is free") {
			t.Fatalf("with none left: %v", err)
		}
	}
	refused()
	f.Release("a.0/1")
	if _, err := os.Stat(f.Dir("a.0/1")); err == nil {
		t.Error("an empty folder stays")
	}
	if c := taskUser(t, p, "c.0/1"); c != a {
		t.Errorf("got %d, free is %d", c, a)
	}
	for _, id := range []string{"c.0/1", "b.0/1"} {
		if err := os.WriteFile(filepath.Join(f.Dir(id), "result"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Release("b.0/1")
	f.Release("b.0/1")
	if d := taskUser(t, p, "d.0/1"); d != b {
		t.Errorf("got %d, of an attempt that ended is %d", d, b)
	}
	if _, err := os.Stat(f.Dir("b.0/1")); err == nil {
		t.Error("the folder of an ended attempt is there, and its user is another's")
	}
	refused()
	f.Release("c.0/1")
	if err := f.Discard("c.0/1"); err != nil || len(f.users.ended) != 0 {
		t.Errorf("%v, %q", err, f.users.ended)
	}
	if e := taskUser(t, p, "e.0/1"); e != a {
		t.Errorf("got %d, free is %d", e, a)
	}
	if err := os.RemoveAll(f.Dir("e.0/1")); err != nil { // somebody cleaned up
		t.Fatal(err)
	}
	f.Release("e.0/1")
	if g := taskUser(t, p, "g.0/1"); g != a {
		t.Errorf("got %d, free is %d", g, a)
	}
	// A program that is not there takes none.
	left(firstUID+10, firstUID+10)
	for range 3 {
		if _, err := p.Task("x.0/1", testTask, &api.TaskSpec{Command: []string{"none"}, User: api.TaskUser}); err == nil {
			t.Fatal("a program that does not exist is prepared")
		}
	}
	taskUser(t, p, "y.0/1")
}
