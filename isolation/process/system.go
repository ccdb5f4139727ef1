package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settings are the parts of /proc that change the machine by a mere write, which
// the kernel lets root do whatever its capabilities are. Not all kernels have all.
var settings = []string{
	"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/driver",
	"/proc/dynamic_debug", "/proc/mtrr",
}

// secrets are those that tell of the memory and the keys of others.
var secrets = []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats"}

// kernelPaths are those of secrets and settings that this kernel has. The /proc to be
// mounted for a process has the same, but looking there is dear, as all has to be made
// for it first; and here, too, for what is not there. So a module of the kernel that
// was loaded is heeded by what starts a second later.
type kernelPaths struct {
	mu                sync.Mutex
	at                time.Time
	secrets, settings []string
}

const kernelPathsFor = time.Second

func (k *kernelPaths) look(proc string) (secretsHere, settingsHere []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at.IsZero() || time.Since(k.at) > kernelPathsFor {
		k.at, k.secrets, k.settings = time.Now(), there(proc, secrets), there(proc, settings)
	}
	return k.secrets, k.settings
}

func there(proc string, paths []string) (out []string) {
	for _, path := range paths {
		err := ignoreInterrupt(func() error { return unix.Access(filepath.Join(proc, strings.TrimPrefix(path, "/proc/")), unix.F_OK) })
		if !errors.Is(err, unix.ENOENT) {
			out = append(out, path)
		}
	}
	return out
}

// readOnly reports whether nobody can write where that is mounted.
func readOnly(path string) bool {
	var st unix.Statfs_t
	err := ignoreInterrupt(func() error { return unix.Statfs(path, &st) })
	return err != nil || st.Flags&unix.ST_RDONLY != 0
}

// kernelFS are the file systems by which the kernel is set.
var kernelFS = []string{
	"sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "configfs", "securityfs", "efivarfs", "bpf", "pstore", "selinuxfs", "smackfs", "fusectl",
	"binfmt_misc", "resctrl", "proc",
}

// A bind takes no flags, and a remount sets all.
const procFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// readOnlyTree is what makes a mount and all below it read-only. What the machine
// mounts there later is not seen.
var readOnlyTree = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}

// hasTrees reports whether the kernel can do so: from Linux 5.12 on.
var hasTrees = sync.OnceValue(func() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
})

// CanProtect reports whether the machine's group hierarchies can be made read-only for a
// task: where they cannot, one that is root leaves its groups.
func CanProtect() bool { return hasTrees() }

// protected lists the mounts that are to be read-only for a process.
func (st *Starter) protected(c Confinement) ([]string, error) {
	if !c.ReadOnlySystem || !c.PrivateMounts {
		return nil, nil
	}
	if !hasTrees() {
		st.oldKernel.Do(func() {
			st.Log.Warn("isolation: tasks of root can write the kernel's settings in /sys, and leave their limits: that needs Linux 5.12")
		})
		return nil, nil
	}
	return st.trees.list(st.ProcRoot)
}

// trees knows where the machine has such file systems mounted, but below /proc.
// A change of its mounts is seen, so that no start reads them all.
type trees struct {
	mu     sync.Mutex
	table  *os.File // the mount table, open for as long as the program runs
	points []string
}

// list is the mount points, none below another.
func (t *trees) list(proc string) (_ []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("find the kernel's file systems: %w", err)
		}
	}()
	if t.table == nil {
		// All of our threads but those that start something have the same mounts.
		// Whoever polls is told of a change once: the runtime must not poll, too, as
		// it does with what os opens.
		path := filepath.Join(proc, "self", "mountinfo")
		fd, err := open(path, unix.O_RDONLY)
		if err != nil {
			return nil, err
		}
		t.table = os.NewFile(uintptr(fd), path)
	} else if changed, err := t.changed(); err != nil || !changed {
		return t.points, err
	}
	points, err := t.read()
	if err != nil {
		t.table.Close()
		t.table = nil
		return nil, err
	}
	t.points = points
	return points, nil
}

// changed tells, once, that there was a mount or unmount.
func (t *trees) changed() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(t.table.Fd()), Events: unix.POLLPRI}}
	var n int
	err := ignoreInterrupt(func() (err error) {
		n, err = unix.Poll(fds, 0)
		return err
	})
	return n > 0, os.NewSyscallError("poll", err)
}

func (t *trees) read() ([]string, error) {
	if _, err := t.table.Seek(0, 0); err != nil {
		return nil, err
	}
	var out []string
	lines := bufio.NewScanner(t.table)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if len(fields) < 6 || !slices.Contains(kernelFS, kind) {
			continue
		}
		point := Unescape(fields[4])
		if point != "/proc" && !below(point, "/proc") && reached(point, fields[0]) {
			out = append(out, point)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(p string) bool {
		return slices.ContainsFunc(all, func(above string) bool { return below(p, above) })
	}), lines.Err()
}

func below(path, above string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(above, "/")+"/")
}

// reached reports whether a path leads to that mount, or another hides it.
func reached(path, mount string) bool {
	var st unix.Statx_t
	err := ignoreInterrupt(func() error {
		return unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	})
	return err == nil && (st.Mask&unix.STATX_MNT_ID == 0 || strconv.FormatUint(st.Mnt_id, 10) == mount)
}

// Unescape reads a path of a mount table.
func Unescape(path string) string { return mountEscapes.Replace(path) }

var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
