package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// v1Devices are the groups of the devices controller of cgroup v1, for where no
// program can be asked. Tasks that may open the same share one group, named after
// what that is: it is made once, nothing is left over of a task, and a list that
// running tasks have is never changed.
type v1Devices struct{ top string }

// newV1Devices finds out whether a group can have the list that most tasks have.
func newV1Devices(points map[string]string, top string) (*v1Devices, error) {
	point, ok := points["devices"]
	if !ok {
		return nil, errors.New("the devices controller of cgroup v1 is not mounted for writing")
	}
	d := &v1Devices{filepath.Join(point, top)}
	_, err := d.entry(nil)
	return d, err
}

// entry is the file to which a process writes 0 to open the usual devices and more,
// and no others.
func (d *v1Devices) entry(more []device) (string, error) {
	dir := filepath.Join(d.top, groupOf(more))
	if err := d.make(dir, append(slices.Clone(usualDevices), more...)); err != nil {
		return "", fmt.Errorf("limit the devices of tasks, which --unconfined devices leaves out: %w", err)
	}
	return filepath.Join(dir, "tasks"), nil
}

// groupOf is the name of the group of those that open more devices than the usual.
func groupOf(more []device) string {
	var majors []string
	for _, d := range more {
		majors = append(majors, strconv.FormatUint(uint64(d.major), 10))
	}
	slices.Sort(majors)
	return strings.Join(append([]string{"devices"}, slices.Compact(majors)...), "-")
}

// make makes a group that opens some devices, or completes one whose maker was ended.
func (d *v1Devices) make(dir string, allowed []device) error {
	if err := makeAll(dir); err != nil && !errors.Is(err, syscall.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(group) // and give up the lock
	if _, err := ignoringEINTR(func() (int, error) { return 0, unix.Flock(group, unix.LOCK_EX) }); err != nil {
		return &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	b, err := readFile(dir, "devices.list")
	if err != nil {
		return err
	}
	has := strings.Split(strings.TrimSpace(string(b)), "\n")
	if strings.HasPrefix(has[0], "a") { // as a fresh one: all
		if err := writeFile(dir, "devices.deny", "a"); err != nil {
			return err
		}
		has = nil
	}
	for _, rule := range rules(allowed) {
		if slices.Contains(has, rule) {
			continue
		}
		// What those above it forbid nobody here can have.
		if err := writeFile(dir, "devices.allow", rule); err != nil && !errors.Is(err, unix.EPERM) {
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
