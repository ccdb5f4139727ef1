package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// enterNamespaces puts the calling thread, which must be of no other use, into
// the namespaces that its child shall have. A new PID namespace is not among
// them: that is made by the fork.
func enterNamespaces(c Confinement, beside int) error {
	if beside != 0 {
		return join(beside)
	}
	if !c.PrivateMounts {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Slave: what the machine mounts later is seen, the other way round it is not.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	return nil
}

// join enters the namespaces of a process, held by a pidfd so that they are
// those of one process even if that ends meanwhile.
func join(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("join process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// Threads that share a working directory cannot change their mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("join process %d: %w", pid, err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWPID|unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join the namespaces of process %d: %w", pid, err)
	}
	return nil
}

// procMounter gives a process that is PID 1 of its namespace a /proc that shows
// that namespace. Such a /proc can only be mounted when the process exists, and
// the process must not run before: it is traced, which stops it at its exec.
type procMounter struct {
	option bool   // the mount option pidns of Linux 6.18
	tool   string // mount(8), for all others: run inside the namespace, for a millisecond
	once   sync.Once
}

func (m *procMounter) init() {
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

func (m *procMounter) can() bool { return m.option || m.tool != "" }

// mount mounts the /proc of a process that stands at its exec, in the mount
// namespace that it shares with the calling thread.
func (m *procMounter) mount(pid int) error {
	if m.option {
		return mountProc(pid)
	}
	return m.runTool(pid)
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
func (m *procMounter) runTool(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter the PID namespace: %w", err)
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
