//go:build startbythread || !(amd64 || arm64)

package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// starter gives a process that is PID 1 of its namespace a /proc that shows
// that namespace. Such a /proc can only be mounted when the process exists, and
// the process must not run before: it is traced, which stops it at its exec.
type starter struct {
	option bool   // the mount option pidns of Linux 6.18
	tool   string // mount(8), for all others: run inside the namespace, for a millisecond
	own    capabilities
	ipc    bool  // there are IPC namespaces
	err    error // of what was found out
	once   sync.Once
	warn   sync.Once
}

func (m *starter) prepare(proc string) error {
	m.once.Do(func() {
		m.ipc = hasIPC(proc)
		if m.own, m.err = ownCapabilities(); m.err == nil {
			m.err = catchIgnored(proc)
		}
		m.init()
	})
	return m.err
}

func (m *starter) init() {
	// The os package tries pidfds by a fork of its own when first asked. It must
	// not do so on a thread whose first child is PID 1 of a namespace.
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Release()
	}
	m.tool, _ = exec.LookPath("mount")
	fd, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	ns, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		return
	}
	defer ns.Close()
	m.option = unix.FsconfigSetFd(fd, "pidns", int(ns.Fd())) == nil
}

// catchIgnored has the signals that we ignore caught and dropped: what is ignored
// stays so in a program, and nothing of ours runs between the fork and its exec.
func catchIgnored(proc string) error {
	ignored, err := ignoredSignals(proc)
	if err != nil {
		return err
	}
	// The runtime's handler, of any signal that it has one for, does nothing with those
	// that it was never asked for. What an action looks like is the kernel's affair.
	var action [128]byte
	kernelMask := uintptr(8) // bytes: 64 signals
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		kernelMask = 16
	}
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGURG), 0, uintptr(unsafe.Pointer(&action)), kernelMask, 0, 0); errno != 0 {
		return fmt.Errorf("have a program ignore no signals: %w", errno)
	}
	for _, sig := range ignored {
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, kernelMask, 0, 0); errno != 0 {
			return fmt.Errorf("have a program ignore no signals: %w", errno)
		}
	}
	return nil
}

func (m *starter) can() bool { return m.option || m.tool != "" }

// mount mounts the /proc of a process that stands at its exec, in the mount
// namespace that it shares with the calling thread.
func (m *starter) mount(pid int) error {
	if m.option {
		return mountProc(pid)
	}
	var err error
	// mount(8) needs the capabilities that this thread has given up for whatever
	// it executes.
	onThread(func() { err = m.runTool(pid) })
	return err
}

func mountProc(pid int) error {
	ns, err := open(fmt.Sprintf("/proc/%d/ns/pid", pid), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open procfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetFd(fs, "pidns", ns); err != nil {
		return fmt.Errorf("set the PID namespace of procfs: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("make procfs: %w", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("mount procfs: %w", err)
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, "/proc", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount procfs on /proc: %w", err)
	}
	return nil
}

// runTool runs mount(8) as the second process of the namespace: procfs shows
// the namespace of whoever mounts it.
func (m *starter) runTool(pid int) error {
	if err := join(pid, unix.CLONE_NEWPID|unix.CLONE_NEWNS); err != nil {
		return err
	}
	p, err := os.StartProcess(m.tool, []string{"mount", "-n", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc"},
		&os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}})
	if err != nil {
		return err
	}
	st, err := p.Wait()
	if err != nil {
		return err
	}
	if !st.Success() {
		return fmt.Errorf("%s: %s", m.tool, st)
	}
	return nil
}
