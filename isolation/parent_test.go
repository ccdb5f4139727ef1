package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parentPID names the process that starts tasks to those that try to reach it.
const parentPID = "MESITA_TEST_PARENT"

var parent = fmt.Sprintf("%s=%d", parentPID, os.Getpid())

// onParent are attempts at the parent of all tasks. None does anything to it that
// lasts.
var onParent = map[string]func() error{
	"signal the parent": func() error { return unreached(unix.Kill(ofParent(), 0)) },
	"trace the parent": func() error {
		err := unix.PtraceAttach(ofParent())
		if err == nil {
			_ = unix.PtraceDetach(ofParent())
		}
		return unreached(err)
	},
	"read the parent's memory": func() error { return unreached(touch(fmt.Sprintf("/proc/%d/mem", ofParent()))) },
	"read the parent's variables": func() error {
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", ofParent()))
		return unreached(err)
	},
	"folders of the parent": func() error {
		_, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/", ofParent()))
		return unreached(err)
	},
	"limits of the parent": func() error {
		var l unix.Rlimit
		return unreached(unix.Prlimit(ofParent(), unix.RLIMIT_NOFILE, nil, &l))
	},
	"processors of the parent": func() error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return err
		}
		return unreached(unix.SchedSetaffinity(ofParent(), &set))
	},
	"priority of the parent": func() error { return unreached(unix.Setpriority(unix.PRIO_PROCESS, ofParent(), 0)) },
	"files of the parent": func() error {
		fd, err := unix.PidfdOpen(ofParent(), 0)
		if err != nil {
			return unreached(err)
		}
		defer unix.Close(fd)
		return number(unix.SYS_PIDFD_GETFD, uintptr(fd), 0, 0)
	},
	"copy the parent's memory": func() error {
		var b [8]byte
		local := []unix.Iovec{{Base: &b[0]}}
		local[0].SetLen(len(b))
		_, err := unix.ProcessVMReadv(ofParent(), local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&b[0])), Len: len(b)}}, 0)
		if errors.Is(err, unix.EFAULT) { // it was looked for
			return nil
		}
		return unreached(err)
	},
}

func ofParent() (pid int) {
	_, _ = fmt.Sscan(os.Getenv(parentPID), &pid) // no process is 0, and none of the attempts takes it for one
	if pid == 0 {
		panic("nobody said which process is the parent")
	}
	return pid
}

// unreached makes a refusal of what is said of a process that is not seen.
func unreached(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return unix.EPERM
	}
	return err
}

// Where a task sees all processes, another user than root reaches the parent of
// tasks no more than elsewhere, and root, whose signals it cannot be kept from,
// neither traces it nor sees what it holds: so only an admin may ask for that.
func TestTheParentAmongProcesses(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	path := helperPath(t)
	for name := range onParent {
		run := func(uid uint32, where Confinement) bool {
			t.Helper()
			c := program(path)
			c.Env, c.Dir, c.UID, c.GID, c.Confinement = append(c.Env, tries+"="+name, parent), filepath.Dir(path), uid, uid, where
			out, e := output(t, s, c)
			if e != (Exit{}) || !strings.HasSuffix(out, "tried") {
				t.Fatalf("%s: %+v: %s", name, e, out)
			}
			return out != "tried"
		}
		around := confined(Spec{}).Confinement
		around.PrivatePIDs, around.LimitDevices = false, false
		if run(65534, around) {
			t.Errorf("possible for a user: %s", name)
		}
		switch name {
		case "signal the parent", "limits of the parent":
			if !run(0, around) {
				t.Errorf("impossible for root: %s", name)
			}
		default:
			if run(0, around) {
				t.Errorf("possible for root: %s", name)
			}
		}
	}
}

// Where a task sees all processes, root sees the machine's files, what is covered for
// it too, through one of root's that has no more capabilities than it, as a service of
// the machine may: only an admin may ask for that. Another user does not, and nobody
// does through one that has more.
func TestFilesOfOthersAmongProcesses(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	data := t.TempDir()
	key := filepath.Join(data, "key")
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	service := sh("echo ready; exec sleep 1000")
	more := ready(t, s, service)
	service.Forbidden = ^uint64(0)
	less := ready(t, s, service)
	for _, p := range []*Process{more, less} {
		for _, uid := range []uint32{0, 65534} {
			c := confined(sh(fmt.Sprintf("cat %s; cat /proc/%d/root%s", key, p.Pid, key)))
			c.PrivatePIDs, c.Dir, c.Covered, c.UID, c.GID = false, "/", []string{data}, uid, uid
			out, _ := output(t, s, c)
			if got, want := strings.Contains(out, "secret"), uid == 0 && p == less; got != want {
				t.Errorf("user %d through %v: %v and not %v: %s", uid, p == less, got, want, out)
			}
		}
		if err := p.Signal(unix.SIGKILL); err != nil {
			t.Error(err)
		}
		wait(t, p)
	}
}
