package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const secure = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

type mountPoint struct {
	source, target, fsType string
	flags                  uintptr
	data                   string
}

func mountAll(points ...mountPoint) error {
	for _, m := range points {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fsType, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s (%s): %w", m.source, m.target, m.fsType, err)
		}
	}
	return nil
}

// mountBase mounts what the guest itself needs, in the initrd.
func mountBase() error {
	return mountAll(
		mountPoint{"dev", "/dev", "devtmpfs", unix.MS_NOSUID, ""},
		mountPoint{"proc", "/proc", "proc", secure, ""},
		mountPoint{"sys", "/sys", "sysfs", secure, ""},
	)
}

// enterRoot makes the host's root, read through virtiofs and with writes kept in
// a tmpfs, the root directory.
func enterRoot(j job) error {
	var un unix.Utsname
	if err := unix.Uname(&un); err != nil {
		return err
	}
	modules := "/lib/modules/" + unix.ByteSliceToString(un.Release[:])
	if err := mountAll(
		mountPoint{"root", "/host", "virtiofs", 0, ""},
		mountPoint{"rw", "/rw", "tmpfs", 0, "mode=755"},
	); err != nil {
		return err
	}
	for _, d := range []string{"/rw/up", "/rw/wd"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	tmp := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	points := []mountPoint{
		{"root", "/root", "overlay", 0, "lowerdir=/host,upperdir=/rw/up,workdir=/rw/wd"},
		{"dev", "/root/dev", "devtmpfs", unix.MS_NOSUID, ""},
		{"devpts", "/root/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"shm", "/root/dev/shm", "tmpfs", tmp, "mode=1777"},
		{"mqueue", "/root/dev/mqueue", "mqueue", secure, ""},
		{"proc", "/root/proc", "proc", secure, ""},
		{"sys", "/root/sys", "sysfs", secure, ""},
		{"cgroup2", "/root/sys/fs/cgroup", "cgroup2", secure, "nsdelegate"},
		{"bpf", "/root/sys/fs/bpf", "bpf", secure, ""},
		{"tmp", "/root/tmp", "tmpfs", tmp, "mode=1777"},
		{"tmp", "/root/var/tmp", "tmpfs", unix.MS_NODEV, "mode=1777"}, // as on most machines: a test shows what a setuid program gains there
		{"run", "/root/run", "tmpfs", tmp, "mode=755"},
		{"/host" + j.Kernel + modules, "/root" + modules, "", unix.MS_BIND, ""},
	}
	for _, d := range j.Rw {
		points = append(points, mountPoint{"/host" + d, "/root" + d, "", unix.MS_BIND, ""})
	}
	if err := mountAll(points...); err != nil {
		return err
	}
	return switchRoot("/root")
}

func switchRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	for _, old := range []string{"/proc", "/sys"} { // switch_root(8) leaves none behind either: nobody could cover them
		if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") // as systemd does
}

// prepareSystem sets what an ordinary machine's init would have.
func prepareSystem() error {
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("file limit: %w", err)
	}
	if err := unix.Sethostname([]byte("mesita-vm")); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("4"), 0); err != nil {
		return err
	}
	for dev, to := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		if err := os.Symlink("/proc/self/fd"+to, "/dev/"+dev); err != nil && !os.IsExist(err) {
			return err
		}
	}
	for dev, minor := range map[string]uint32{"loop-control": 237, "net/tun": 200, "fuse": 229} { // opening one loads its module
		if err := os.MkdirAll(filepath.Dir("/dev/"+dev), 0o755); err != nil {
			return err
		}
		err := unix.Mknod("/dev/"+dev, unix.S_IFCHR|0o600, int(unix.Mkdev(10, minor)))
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("/dev/%s: %w", dev, err)
		}
	}
	return linkUp("lo")
}

// jobCgroup enables all controllers for the root's children and opens a new
// leaf for the job, as it would have under systemd.
func jobCgroup() (*os.File, error) {
	const root = "/sys/fs/cgroup"
	controllers, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return nil, err
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return nil, fmt.Errorf("enable %s: %w", c, err)
		}
	}
	if err := keepQuota(root + "/quota.scope"); err != nil {
		return nil, err
	}
	if err := startCPUs(); err != nil {
		return nil, fmt.Errorf("start the other CPUs: %w", err)
	}
	if err := os.Mkdir(root+"/job.scope", 0o755); err != nil {
		return nil, err
	}
	return os.Open(root + "/job.scope")
}

// keepQuota makes a cgroup with a cpu quota that stays. The kernel patches its
// scheduler's code when the first quota is set and when the last is gone; on an
// emulated machine another CPU that is in there may run the instruction that is
// there in between for ever (QEMU 7.2, one run in forty). So it is done once,
// while there is no other CPU.
func keepQuota(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(dir+"/cpu.max", []byte("100000 100000"), 0)
}

// startCPUs starts the CPUs that the kernel was told to leave (maxcpus=1).
func startCPUs() error {
	cpus, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/online")
	for _, c := range cpus {
		err = errors.Join(err, os.WriteFile(c, []byte("1"), 0))
	}
	return err
}

func linkUp(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}
