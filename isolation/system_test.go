package isolation

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// systemAttempts change the machine by a write of root, or make that possible.
var systemAttempts = map[string]func() error{
	"settings":              writableBelow("/proc/sys"),
	"groups and /sys":       writableMounts,
	"rest of /proc":         writableProc,
	"a group":               func() error { return touch(ownGroup()) },
	"a new group":           newGroup,
	"writable /sys":         func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
	"what covers /proc":     func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
	"memory of the kernel":  func() error { return empty("/proc/kcore") },
	"keys of others":        func() error { return empty("/proc/keys") },
	"user namespace around": userNamespace,
}

// writableBelow tells which file of a folder can be opened for writing.
func writableBelow(dir string) func() error {
	return func() error {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if fi, err := d.Info(); err != nil || fi.Mode()&0o222 == 0 {
				return nil
			}
			if err := touch(path); !refused(err) && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: %w", path, errors.Join(err, errPossible))
			}
			return nil
		})
		return cmp.Or(err, error(unix.EPERM))
	}
}

var errPossible = errors.New("possible")

// writableMounts tells which file system of the kernel is mounted to be written.
func writableMounts() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if slices.Contains([]string{"sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore"}, kind) &&
			!strings.HasPrefix(fields[5], "ro") {
			return fmt.Errorf("%s can be written", fields[4])
		}
	}
	return errors.Join(lines.Err(), unix.EPERM)
}

// writableProc looks at what is not of processes. Whoever writes to pressure
// makes a trigger of its own.
func writableProc() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() && !e.IsDir() || strings.Trim(e.Name(), "0123456789") == "" || e.Name() == "pressure" || e.Name() == "sys" {
			continue
		}
		path := filepath.Join("/proc", e.Name())
		if fi, err := os.Stat(path); err != nil || fi.Mode()&os.ModeCharDevice != 0 {
			continue // /dev/null hides it
		}
		if err := writableBelow(path)(); !refused(err) {
			return err
		}
	}
	return unix.EPERM
}

// ownGroup is the file by which processes enter the group that this one is in.
func ownGroup() string {
	b, _ := os.ReadFile("/proc/self/cgroup")
	for l := range strings.Lines(string(b)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				path := filepath.Join(root, group, "cgroup.procs")
				if _, err := os.Stat(path); err == nil {
					return path
				}
			}
		}
	}
	return "/sys/kernel/uevent_helper"
}

func newGroup() error {
	dir := "/sys/fs/cgroup/" + strconv.Itoa(os.Getpid())
	err := os.Mkdir(dir, 0o700)
	_ = os.Remove(dir)
	return err
}

func empty(path string) error {
	b := make([]byte, 16)
	f, err := os.Open(path)
	if err != nil {
		return unix.EPERM
	}
	defer f.Close()
	if n, _ := f.Read(b); n > 0 {
		return errPossible
	}
	return unix.EPERM
}

func refused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSYS)
}

// userNamespace gives all capabilities back, but not over what it was made
// within: what is read-only or covered stays so.
func userNamespace() error {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), tries+"=inside")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.Output()
	if len(out) > 0 {
		return errors.New(string(out))
	}
	if x := (*exec.ExitError)(nil); err != nil && !errors.As(err, &x) {
		return unix.EPERM // there are none for it
	}
	return errors.Join(err, unix.EPERM)
}

// inUserNamespace prints what is possible there.
func inUserNamespace() {
	const dir = "/tmp" // the mounts are its own; whoever makes a folder may be killed before it is removed
	mounted := func(fs string) error {
		err := unix.Mount(fs, dir, fs, 0, "")
		if err == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		return err
	}
	for what, try := range map[string]func() error{
		"a writable /sys":      func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"writable settings":    func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"uncovered settings":   func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
		"uncovered secrets":    func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) },
		"settings moved":       func() error { return unix.Mount("/proc/sys", dir, "", unix.MS_MOVE, "") },
		"a bind without cover": func() error { return unix.Mount("/proc", dir, "", unix.MS_BIND, "") },
		"another /proc":        func() error { return mounted("proc") },
		"another /sys":         func() error { return mounted("sysfs") },
	} {
		if err := try(); err == nil {
			fmt.Println(what)
		}
	}
	for _, path := range []string{"/proc/sys/kernel/core_pattern", ownGroup()} {
		if err := touch(path); err == nil {
			fmt.Println(path)
		}
	}
}

// The mounts that a start protects are those of the machine at that moment.
func TestLaterMountsAreProtected(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	dir := t.TempDir()
	look := confined(sh("mkdir " + dir + "/new/made && echo made"))
	if out, e := output(t, s, look); e == (Exit{}) {
		t.Fatalf("before it is there: %+v %s", e, out)
	}
	if err := os.Mkdir(dir+"/new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(h.top, dir+"/new", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = os.Remove(dir + "/new/made")
		if err := unix.Unmount(dir+"/new", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if out, e := output(t, s, look); e == (Exit{}) || !strings.Contains(out, "Read-only") {
		t.Errorf("a group was made: %+v %s", e, out)
	}
	look.ReadOnlySystem = false
	if out, e := output(t, s, look); e != (Exit{}) {
		t.Errorf("without protection: %+v %s", e, out)
	}
}
