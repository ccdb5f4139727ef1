package isolation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// v1Devices are the groups of the devices controller of cgroup v1, for where no
// program can be asked. Tasks that may open the same share one group, named after
// what that is, and which has its list before it has that name: it is made once,
// nothing is left over of a task, a list that running tasks have is never changed,
// and nobody waits for a lock, which anybody could hold who sees the folder.
type v1Devices struct {
	top    string
	makers atomic.Uint64
	closed sync.Map // the groups of which we saw that not all can be opened in them
}

// newV1Devices finds out whether a group can have the list that most tasks have.
func newV1Devices(points map[string]string, top string) (*v1Devices, error) {
	point, ok := points["devices"]
	if !ok {
		return nil, errors.New("the devices controller of cgroup v1 is not mounted for writing")
	}
	for _, other := range []string{"cpu", "memory", "pids", "cpuset"} { // a process has one group of a hierarchy, and those limit by others
		if points[other] == point {
			return nil, fmt.Errorf("the devices controller of cgroup v1 is mounted together with %s at %s: mount it alone", other, point)
		}
	}
	d := &v1Devices{top: filepath.Join(point, top)}
	_, err := d.entry(nil)
	return d, err
}

// entry is the file to which a process writes 0 to open the usual devices and more,
// and no others.
func (d *v1Devices) entry(more []device) (string, error) {
	list := rules(append(slices.Clone(usualDevices), more...))
	dir := filepath.Join(d.top, groupOf(list))
	_, err := os.Lstat(dir)
	if err != nil {
		d.closed.Delete(dir)
		err = d.make(dir, list)
	}
	if err == nil {
		err = d.isClosed(dir)
	}
	if err != nil {
		return "", fmt.Errorf("limit the devices of tasks, which --unconfined devices leaves out: %w", err)
	}
	return filepath.Join(dir, "tasks"), nil
}

// isClosed returns an error if all devices can be opened in a group, whatever it is
// called: its name is all that says which it is. It looks once.
func (d *v1Devices) isClosed(dir string) error {
	if _, seen := d.closed.Load(dir); seen {
		return nil
	}
	list, err := readFile(dir, "devices.list")
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(list), "a") {
		return fmt.Errorf("all devices can be opened in the group %s: remove it once no task is in it, and start the node with CAP_SYS_ADMIN", dir)
	}
	d.closed.Store(dir, true)
	return nil
}

// groupOf is the name of the group that has a list.
func groupOf(list []string) string {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	sum := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return "devices-" + hex.EncodeToString(sum[:8])
}

// make makes a group that opens some devices, and then gives it its name; another
// one may do the same.
func (d *v1Devices) make(dir string, list []string) error {
	made := fmt.Sprintf("%s.%d-%d", dir, os.Getpid(), d.makers.Add(1))
	if err := makeAll(made); err != nil && !errors.Is(err, syscall.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: made, Err: err}
	}
	err := fill(made, list)
	if err == nil {
		if err = os.Rename(made, dir); err == nil {
			return nil
		}
	}
	_ = syscall.Rmdir(made)
	if _, there := os.Lstat(dir); there == nil {
		return nil
	}
	return err
}

// fill has a group open some devices, and no others.
func fill(dir string, list []string) error {
	if err := writeFile(dir, "devices.deny", "a"); err != nil {
		return err
	}
	for _, rule := range list {
		err := writeFile(dir, "devices.allow", rule)
		if err != nil && !errors.Is(err, unix.EPERM) { // what those above it forbid nobody here can have
			return err
		}
	}
	return nil
}

// rules are devices as the kernel shows them.
func rules(allowed []device) (out []string) {
	for _, d := range allowed {
		if d == every(d.major) {
			out = append(out, fmt.Sprintf("c %d:* rwm", d.major))
			continue
		}
		for minor := d.first; minor <= d.last; minor++ {
			out = append(out, fmt.Sprintf("c %d:%d rwm", d.major, minor))
		}
	}
	return out
}
