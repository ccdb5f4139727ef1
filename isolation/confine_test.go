package isolation

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation/process"
)

// confined is a task's confinement if it is not privileged.
func confined(c Spec) Spec {
	c.PrivatePIDs, c.PrivateMounts, c.ReadOnlySystem, c.PrivateIPC, c.FilterSyscalls, c.LimitDevices, c.Forbidden = true, true, true, true, true, true, ^UsualCapabilities
	return c
}

// capsOf are the five sets of a process: inheritable, permitted, effective,
// bounding, ambient.
func capsOf(t *testing.T, status string) (out [5]uint64) {
	t.Helper()
	for i, name := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		_, rest, _ := strings.Cut("\n"+status, "\n"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
		if err != nil {
			t.Fatalf("%s in %q: %v", name, status, err)
		}
		out[i] = v
	}
	return out
}

// A task has the usual capabilities of those that we have, another user than root
// none, and nothing that it starts gets more. So it is for what runs beside it.
func TestCapabilities(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	own := capsOf(t, string(b))
	usual, bounding := own[1]&UsualCapabilities, own[3]&UsualCapabilities
	if usual == 0 || usual == own[1] {
		t.Fatalf("nothing can be shown here: we have %x", own)
	}
	const show = "grep -E '^Cap|^Seccomp:' /proc/self/status"
	filter := "Seccomp:\t2\n"
	if process.CanFilter() != nil {
		filter = "Seccomp:\t0\n"
	}
	for name, tt := range map[string]struct {
		uid  uint32
		want [5]uint64
	}{
		"root":   {0, [5]uint64{0, usual, usual, bounding, 0}},
		"nobody": {65534, [5]uint64{0, 0, 0, bounding, 0}},
	} {
		for _, fresh := range []bool{false, true} {
			c := confined(sh(show + "; " + show + "; echo ready; exec sleep 1000"))
			c.UID, c.GID, c.AllowNewPrivileges = tt.uid, tt.uid, fresh
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Start(c, Files{Stdout: w, Stderr: w})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			out := make([]byte, 0, 4096)
			for !strings.HasSuffix(string(out), "ready\n") {
				n, err := r.Read(out[len(out):cap(out)])
				if err != nil {
					t.Fatalf("%s: %q, %v", name, out, err)
				}
				out = out[:len(out)+n]
			}
			r.Close()
			if got := capsOf(t, string(out)); got != tt.want || strings.Count(string(out), filter) != 2 {
				t.Errorf("%s has %x and not %x: %s", name, got, tt.want, out)
			}
			beside := confined(sh(show))
			beside.UID, beside.GID, beside.AllowNewPrivileges = tt.uid, tt.uid, fresh
			text, e := outputOf(t, func(f Files) (*Process, error) { return s.StartBeside(p, beside, f) })
			if e != (Exit{}) || capsOf(t, text) != tt.want || !strings.Contains(text+"\n", filter) {
				t.Errorf("beside %s: %+v, %s", name, e, text)
			}
			if err := p.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			wait(t, p)
		}
	}
	// Who asks for nothing has all of ours.
	if out, e := output(t, s, sh(show)); e != (Exit{}) || capsOf(t, out)[2] != own[1] {
		t.Errorf("%+v: %s", e, out)
	}
}

// attempts are what the helper below tries from within a task. What is done
// fails for want of a right, whatever else may be wrong with it.
var attempts = map[string]func() error{
	"mount":               func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
	"unmount":             func() error { return unix.Unmount("/proc", unix.MNT_DETACH) },
	"remount":             func() error { return unix.Mount("none", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
	"open a mount":        func() error { fd, err := unix.Fsopen("tmpfs", 0); unix.Close(fd); return err },
	"mount namespace":     func() error { return unix.Unshare(unix.CLONE_NEWNS) },
	"network namespace":   func() error { return unix.Unshare(unix.CLONE_NEWNET) },
	"host name":           hostName,
	"disk":                func() error { return unix.Mknod("disk", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) },
	"memory device":       func() error { return unix.Mknod("mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) },
	"raw socket":          func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"packet socket":       func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"swap":                func() error { return swapoff() },
	"file by its handle":  byHandle,
	"nice":                func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) },
	"message queue":       hostsQueue,
	"memory of the init":  func() error { return touch("/proc/1/mem") },
	"root of the init":    func() error { _, err := os.ReadDir("/proc/1/root/"); return err },
	"files of the init":   func() error { _, err := os.Readlink("/proc/1/fd/3"); return err },
	"mounts of the init":  func() error { return enter("/proc/1/ns/mnt") },
	"trace the init":      func() error { return unix.PtraceAttach(1) },
	"kill the init":       killed,
	"capabilities for it": ambient,
}

// hostName would change nothing.
func hostName() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

func swapoff() error {
	path := []byte("/none\x00")
	_, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(&path[0])), 0, 0)
	return errno
}

func socket(domain, typ, proto int) error {
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	unix.Close(fd)
	return err
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	return err
}

func enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, 0)
}

// byHandle reads a file by its number on disk, past all folders above it.
func byHandle() error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	if err != nil { // not all file systems have them, and rights are looked at first
		h = unix.NewFileHandle(1, make([]byte, 8))
	}
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := unix.OpenByHandleAt(root, h, unix.O_RDONLY)
	unix.Close(fd)
	return err
}

const queueKey = 0x6d657369

func messageQueue(flags int) (int, error) {
	id, _, errno := unix.Syscall(unix.SYS_MSGGET, queueKey, uintptr(flags), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(id), nil
}

func hostsQueue() error {
	_, err := messageQueue(0)
	if errors.Is(err, unix.ENOENT) { // it does not see it
		return unix.EPERM
	}
	return err
}

// killed is refused by silence: nothing in a namespace kills its init.
func killed() error {
	_ = unix.Kill(1, unix.SIGKILL)
	return unix.EPERM
}

func ambient() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	set := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN, Inheritable: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&header, &set[0])
}

// work is what a program of a package does that must continue, as root.
var work = map[string]func() error{
	"chown": func() error {
		return errors.Join(os.WriteFile("own", nil, 0o600), os.Chown("own", 1234, 1234), os.Remove("own"))
	},
	"fifo": func() error { return errors.Join(unix.Mkfifo("fifo", 0o600), os.Remove("fifo")) },
	"chroot": func() error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: "/"}
		return c.Run()
	},
	"user": func() error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return c.Run()
	},
	"low port": func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for port := 1023; port > 900; port-- { // some of them are free
			if err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.EADDRINUSE) {
				return err
			}
		}
		return err
	},
	"shared memory": func() error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o600)
		if err != nil {
			return err
		}
		mem, err := unix.SysvShmAttach(id, 0, 0)
		if err != nil {
			return err
		}
		mem[0] = 1
		_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return errors.Join(err, unix.SysvShmDetach(mem))
	},
	"trace a child": func() error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		if err := c.Start(); err != nil {
			return err
		}
		return errors.Join(c.Process.Kill(), ignoreExit(c.Wait()))
	},
	"raw system calls": func() error {
		var info unix.Sysinfo_t
		_, _, errno := unix.Syscall(unix.SYS_SYSINFO, uintptr(unsafe.Pointer(&info)), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	},
}

func ignoreExit(err error) error {
	if x := (*exec.ExitError)(nil); errors.As(err, &x) {
		return nil
	}
	return err
}

const tries = "MESITA_TEST_TRIES"

// tried is the helper: it prints what was possible and should not be, and the
// other way round. Any other kind is one attempt.
func tried(kind string) {
	maps.Copy(attempts, filteredCalls())
	maps.Copy(attempts, nodes)
	maps.Copy(attempts, systemAttempts)
	maps.Copy(attempts, onParent)
	maps.Copy(work, usualNodes)
	maps.Copy(work, machines)
	switch kind {
	case "inside":
		inUserNamespace()
		return
	case "work":
		for name, try := range work {
			if err := try(); err != nil {
				fmt.Println("impossible:", name, err)
			}
		}
	default:
		init, err := os.ReadFile("/proc/1/comm")
		ours := err != nil || string(init) == "mesita-init\n"
		for name, try := range attempts {
			if kind != "escape" && kind != name {
				continue
			}
			if strings.HasSuffix(name, "the init") && !ours {
				continue // it is a task itself, in the other way to start
			}
			if err := try(); !refused(err) {
				fmt.Println("possible:", name, err)
			}
		}
	}
	fmt.Println("tried")
}

// helperPath is this test's program, where any user may execute it.
func helperPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mesita-escape-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "helper")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// Neither root nor another user gets out of a task by what the kernel lets
// capable processes do, nor does what runs beside it; and what programs usually
// do still works.
func TestNobodyGetsOut(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	path := helperPath(t)
	id, err := messageQueue(unix.IPC_CREAT | 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID, 0) }()
	helper := func(kind string, uid uint32) Spec {
		c := confined(program(path))
		c.Env, c.Dir, c.UID, c.GID = append(c.Env, tries+"="+kind, parent), filepath.Dir(path), uid, uid
		return c
	}
	for _, uid := range []uint32{0, 65534} {
		if out, e := output(t, s, helper("escape", uid)); e != (Exit{}) || out != "tried" {
			t.Errorf("user %d: %+v:\n%s", uid, e, out)
		}
		p := ready(t, s, confined(sh("echo ready; exec sleep 1000")))
		out, e := outputOf(t, func(f Files) (*Process, error) { return s.StartBeside(p, helper("escape", uid), f) })
		if e != (Exit{}) || out != "tried" {
			t.Errorf("user %d beside a task: %+v:\n%s", uid, e, out)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		wait(t, p)
	}
	if out, e := output(t, s, helper("work", 0)); e != (Exit{}) || out != "tried" {
		t.Errorf("%+v:\n%s", e, out)
	}
	// Without the filter of system calls there are user namespaces, and what is
	// read-only or covered stays so in them.
	c := helper("user namespace around", 0)
	c.FilterSyscalls = false
	if out, e := output(t, s, c); e != (Exit{}) || out != "tried" {
		t.Errorf("in a user namespace: %+v:\n%s", e, out)
	}
	// The attempts are worth something: they succeed without.
	s = create(t, h, "job/free", Limits{})
	free := []string{"mount", "mount namespace", "host name", "disk", "raw socket", "swap", "message queue",
		"settings", "groups and /sys", "a group", "a new group", "user namespace around"}
	free = slices.AppendSeq(free, maps.Keys(nodes))
	for _, name := range slices.AppendSeq(free, maps.Keys(filteredCalls())) {
		c := helper(name, 0)
		c.Confinement = Confinement{PrivatePIDs: true, PrivateMounts: true, AllowNewPrivileges: true}
		if out, e := output(t, s, c); e != (Exit{}) || !strings.Contains(out, "possible: "+name) {
			t.Errorf("refused without confinement: %s: %+v\n%s", name, e, out)
		}
	}
}
