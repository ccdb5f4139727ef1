package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func openTemps(t *testing.T) *Temps {
	t.Helper()
	temps, err := OpenTemps(filepath.Join(t.TempDir(), "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return temps
}

func mustMake(t *testing.T, temps *Temps, id string) string {
	t.Helper()
	dir, err := temps.Make(id, heir{})
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(dir); err != nil || fi.Mode() != os.ModeDir|tempMode {
		t.Fatalf("%v, %v", fi, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Fatalf("it is not empty: %v, %v", names, err)
	}
	return dir
}

func mustRemove(t *testing.T, temps *Temps, dirs []string) {
	t.Helper()
	for _, dir := range dirs {
		if err := temps.Remove(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
}

// What is still to be removed of an attempt is not what one with its id has by then,
// which begins with an empty one; nor is one that was prepared twice short of what
// either try named. Nothing is left at the end.
func TestTempsOfAnIDThatComesBack(t *testing.T) {
	temps := openTemps(t)
	temps.Fill(t.Context())
	const id = "a.0/1"
	first := mustMake(t, temps, id)
	if err := os.WriteFile(filepath.Join(first, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := temps.Ended(id)
	second := mustMake(t, temps, id)
	if err := os.WriteFile(filepath.Join(second, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRemove(t, temps, old)
	mustRemove(t, temps, old)
	if names, err := os.ReadDir(second); err != nil || len(names) != 1 {
		t.Errorf("what runs has %v, %v", names, err)
	}
	if _, err := os.Stat(first); err == nil {
		t.Error("what ended is not gone")
	}
	third := mustMake(t, temps, id)
	if _, err := os.Stat(second); err != nil || third == second {
		t.Errorf("the second try has the first one's, or nobody: %v", err)
	}
	mustRemove(t, temps, temps.Nobodys(map[string]bool{id: true}))
	for _, dir := range []string{second, third} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	mustRemove(t, temps, temps.Nobodys(nil))
	if names, err := os.ReadDir(temps.root); err != nil || len(names) != len(spares(t, temps.root)) {
		t.Errorf("%v are left, %v", names, err)
	}
}

// What an earlier daemon left is removed once it is said who lives, and so is what
// that one had made for others; names of before it as well.
func TestTempsOfAnEarlierDaemon(t *testing.T) {
	temps := openTemps(t)
	temps.Fill(t.Context())
	lives := mustMake(t, temps, "lives.0/1")
	mustMake(t, temps, "ended.1/2")
	for _, name := range []string{"former.0.1", "plain.0.1"} {
		if err := os.MkdirAll(filepath.Join(temps.root, name, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	later, err := OpenTemps(temps.root)
	if err != nil {
		t.Fatal(err)
	}
	mustRemove(t, later, later.Nobodys(map[string]bool{"lives.0/1": true, "plain.0/1": true}))
	names, err := os.ReadDir(temps.root)
	if err != nil || len(names) != 2 || names[0].Name() != filepath.Base(lives) || names[1].Name() != "plain.0.1" {
		t.Errorf("%v, %v", names, err)
	}
	mustRemove(t, later, slices.Concat(later.Ended("lives.0/1"), later.Ended("plain.0/1")))
	if names, err := os.ReadDir(temps.root); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// One file that cannot be removed keeps nothing but the folders it is in, and those
// are removed once it can be.
func TestWhatCannotBeRemovedKeepsNothingElse(t *testing.T) {
	temps := openTemps(t)
	dir := mustMake(t, temps, "a.0/1")
	var firm []string
	for i := range 40 {
		in := filepath.Join(dir, "d"+strconv.Itoa(i), "e", "f")
		if err := os.MkdirAll(in, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "c"} {
			if err := os.WriteFile(filepath.Join(in, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if i%10 == 0 {
			firm = append(firm, filepath.Join(in, "b"))
		}
	}
	set := func(path string, flags int) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
			t.Skip("no file can be made firm here: ", err)
		}
	}
	paths := func() (out []string) {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, path)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		return out
	}
	defer func() {
		for _, path := range paths() {
			set(path, 0)
		}
	}()
	for _, path := range firm {
		set(path, unix.STATX_ATTR_IMMUTABLE) // FS_IMMUTABLE_FL, which is the same
	}
	for _, gone := range temps.Ended("a.0/1") {
		if err := temps.Remove(t.Context(), gone); err == nil {
			t.Error("no error")
		}
	}
	left := paths()
	if len(left) != len(firm) {
		t.Errorf("left: %q", left)
	}
	for _, path := range left {
		set(path, 0)
	}
	mustRemove(t, temps, temps.Nobodys(nil))
	if _, err := os.Stat(dir); err == nil {
		t.Error("it is there for ever")
	}
}

// A file system that knows no flags of rename is emptied like another.
func TestRemovalWithoutFlagsOfRename(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	for _, path := range []string{"a/b/c/d/e", ".moved1/x/y/z", ".moved2/x/y", "b/c/d"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".moved3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this, and its filter too
		if err := refuseFlagsOfRename(); err != nil {
			told <- err
			return
		}
		if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, dir+"y", unix.RENAME_NOREPLACE); !errors.Is(err, unix.EINVAL) {
			told <- fmt.Errorf("with flags: %w", err)
			return
		}
		told <- removeFolder(t.Context(), dir)
	}()
	if err := <-told; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it is there for ever")
	}
}

// refuseFlagsOfRename has the calling thread meet renameat2(2) as on such a file
// system.
func refuseFlagsOfRename() error {
	const flags = 16 + 4*8 // the lower half of the fifth argument in struct seccomp_data
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_RENAMEAT2, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})), 0, 0)
}

// However deep folders are in each other, few files are open to remove them; links
// are removed and not followed, and whoever ends in between is not waited for.
func TestDeepFoldersAreRemoved(t *testing.T) {
	temps := openTemps(t)
	dir := mustMake(t, temps, "deep.0/1")
	outside := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const depth = 300
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range depth {
		name := "d" + strconv.Itoa(i%3)
		if err := unix.Mkdirat(at, name, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Symlinkat(filepath.Dir(outside), at, "link"); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(at)
		if err != nil {
			t.Fatal(err)
		}
		at = next
	}
	unix.Close(at)
	if err := os.WriteFile(filepath.Join(dir, ".moved1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := temps.Remove(stopped, dir); err == nil {
		t.Error("it continued to the end after its own")
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err = temps.Remove(t.Context(), dir)
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil || rerr != nil {
		t.Error(err, rerr)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it is not gone")
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}
