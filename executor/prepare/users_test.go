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
	proc, err := p.Task(id, testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}, 0)
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

// free has systemd's services have all but those that may be given.
func free(f *Folders, may func(uid uint32) bool) {
	f.users.lock = func(uid uint32) (func(), bool) { return func() {}, may(uid) }
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
	if err := os.WriteFile(filepath.Join(p.Root, "etc/group"), []byte("mesita-task:x:777:\nred:x:61187:\nbad:x:y:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Folders.users.next = firstUID
	free(p.Folders, func(uid uint32) bool { return uid != firstUID+2 })
	if uid := taskUser(t, p, "web.0/1"); uid != firstUID+4 {
		t.Errorf("got %d", uid)
	}
	proc, err := p.Task("web.1/1", testTask, &api.TaskSpec{Command: []string{"/box/tool"}, Dir: "/box", User: api.TaskUser}, 0)
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
		free(f, func(uid uint32) bool { return from <= uid && uid <= to })
	}
	left(firstUID, firstUID+1)
	a, b := taskUser(t, p, "a.0/1"), taskUser(t, p, "b.0/1")
	refused := func() {
		t.Helper()
		if _, err := p.Task("z.0/1", testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}, 0); err == nil || !strings.Contains(err.Error(), "is free") {
			t.Fatalf("with none left: %v", err)
		}
	}
	refused()
	f.Release("a.0/1", true)
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
	f.Release("b.0/1", true)
	f.Release("b.0/1", true)
	if d := taskUser(t, p, "d.0/1"); d != b {
		t.Errorf("got %d, of an attempt that ended is %d", d, b)
	}
	if _, err := os.Stat(f.Dir("b.0/1")); err == nil {
		t.Error("the folder of an ended attempt is there, and its user is another's")
	}
	refused()
	f.Release("c.0/1", true)
	if err := f.Discard("c.0/1"); err != nil || len(f.users.ended) != 0 {
		t.Errorf("%v, %q", err, f.users.ended)
	}
	if e := taskUser(t, p, "e.0/1"); e != a {
		t.Errorf("got %d, free is %d", e, a)
	}
	if err := os.RemoveAll(f.Dir("e.0/1")); err != nil { // somebody cleaned up
		t.Fatal(err)
	}
	f.Release("e.0/1", true)
	if g := taskUser(t, p, "g.0/1"); g != a {
		t.Errorf("got %d, free is %d", g, a)
	}
	// A program that is not there takes none.
	left(firstUID+10, firstUID+10)
	for range 3 {
		if _, err := p.Task("x.0/1", testTask, &api.TaskSpec{Command: []string{"none"}, User: api.TaskUser}, 0); err == nil {
			t.Fatal("a program that does not exist is prepared")
		}
	}
	taskUser(t, p, "y.0/1")
}

// TestTaskUsersAfterARestart: what ended under an earlier daemon makes room as if it
// had ended under this one, and what runs, or is prepared again, does not.
func TestTaskUsersAfterARestart(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	four := func() {
		p.Folders.users.next = firstUID
		free(p.Folders, func(uid uint32) bool { return uid < firstUID+4 })
	}
	four()
	uids := map[string]uint32{}
	for _, id := range []string{"old.0/1", "older.0/1", "runs.0/1", "again.0/1"} {
		uids[id] = taskUser(t, p, id)
		if err := os.WriteFile(filepath.Join(p.Folders.Dir(id), "result"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.Folders, err = OpenFolders(p.Folders.root); err != nil {
		t.Fatal(err)
	}
	four()
	found := p.Folders.Found()
	if slices.Sort(found); !slices.Equal(found, []string{"again.0/1", "old.0/1", "older.0/1", "runs.0/1"}) {
		t.Fatalf("found %q", found)
	}
	taskUser(t, p, "again.0/1")
	p.Folders.Leave([]string{"older.0/1", "again.0/1", "old.0/1"})
	for _, c := range []struct{ id, of string }{{"new.0/1", "older.0/1"}, {"new.1/1", "old.0/1"}} {
		if uid := taskUser(t, p, c.id); uid != uids[c.of] {
			t.Errorf("%s is %d, want %d, that of %s: %v", c.id, uid, uids[c.of], c.of, uids)
		}
	}
	if _, err := p.Task("new.2/1", testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}, 0); err == nil {
		t.Error("what runs made room")
	}
}

// TestTaskUsersOfUnreadableAccounts: that the accounts cannot be read is told, and
// costs nobody what ended tasks left.
func TestTaskUsersOfUnreadableAccounts(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	taskUser(t, p, "a.0/1")
	if err := os.WriteFile(filepath.Join(p.Folders.Dir("a.0/1"), "result"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Folders.Release("a.0/1", true)
	for _, path := range []string{"etc/passwd", "etc/group"} {
		path = filepath.Join(p.Root, path)
		was, _ := os.ReadFile(path)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o755); err != nil { // which reads as no file does
			t.Fatal(err)
		}
		if _, err := p.Task("b.0/1", testTask, &api.TaskSpec{Command: []string{"tool"}, User: api.TaskUser}, 0); err == nil || !strings.Contains(err.Error(), "look users up") {
			t.Errorf("%s: %v", path, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, was, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.Folders.Dir("a.0/1"), "result")); err != nil {
		t.Error(err)
	}
}

// TestTaskUsersOfSystemd: a uid is held by systemd's own lock for as long as it is a
// task's, also by a daemon that starts again, and one that systemd holds is nobody's.
func TestTaskUsersOfSystemd(t *testing.T) {
	needsRoot(t)
	p := testRoot(t)
	dir := t.TempDir()
	only := func() {
		p.Folders.users.next = firstUID
		lock := lockBelow(dir)
		p.Folders.users.lock = func(uid uint32) (func(), bool) {
			if uid > firstUID+1 {
				return nil, false
			}
			return lock(uid)
		}
	}
	systemd, ok := lockBelow(dir)(firstUID)
	if !ok {
		t.Fatal("a free one is not locked")
	}
	only()
	if uid := taskUser(t, p, "a.0/1"); uid != firstUID+1 {
		t.Fatalf("got %d, which systemd holds", uid)
	}
	if _, ok := lockBelow(dir)(firstUID + 1); ok {
		t.Error("systemd may take a task's user")
	}
	p.Folders.Release("a.0/1", true)
	again, ok := lockBelow(dir)(firstUID + 1)
	if !ok {
		t.Fatal("a user that was given back is locked")
	}
	again()
	systemd()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	p.Folders.users.find(firstUID, p.Folders.Dir("b.0/1"))
	if _, ok := lockBelow(dir)(firstUID); ok {
		t.Error("systemd may take the user of a task that was found")
	}
	if _, ok := lockBelow(filepath.Join(dir, "none"))(firstUID); !ok {
		t.Error("without systemd there is no user")
	}
}
