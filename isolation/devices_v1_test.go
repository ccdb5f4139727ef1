package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hostOfV1Devices is a host with nothing but that controller: the machine's, or in the
// VM, which has cgroup v2 alone, one that is mounted for the test.
func hostOfV1Devices(t *testing.T) *Host {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "making cgroups needs root")
	}
	m, err := readMounts("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	point := m.v1["devices"]
	if point == "" && os.Getenv("MESITA_VM") == "1" {
		point = t.TempDir()
		if err := unix.Mount("cgroup", point, "cgroup", 0, "devices"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(point, 0); err != nil {
				t.Error(err)
			}
		})
	}
	if point == "" {
		skip(t, "the devices controller of cgroup v1 is not mounted here")
	}
	proc := procRoot(t, fmt.Sprintf("36 31 0:33 / %s rw,relatime - cgroup cgroup rw,devices\n", point))
	h, err := Detect(Config{ProcRoot: proc, Slice: fmt.Sprintf("mesita-test-%d-devices.slice", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg.ProcRoot, h.starter.ProcRoot, h.devices.procRoot = "/proc", "/proc", "/proc" // what runs is real
	t.Cleanup(func() {
		eventually(t, "the groups are removed", func() bool { return removeTree(filepath.Join(point, h.cfg.Slice)) == nil })
	})
	return h
}

// opened says what it may not open, and whether it can leave its group. A script, as
// this test's own program takes long to begin where the machine is emulated.
const opened = `for d in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/ptmx /dev/console %s; do
	dd if=$d iflag=nonblock,noctty count=0 2>&1 | grep -q 'not permitted' && echo refused $d
done
(echo 0 >%s/tasks) 2>/dev/null && echo left
:`

// Where there is cgroup v1 alone a task and what runs beside it open the usual
// devices and no others, as with a program, and the node says what sees to it.
func TestDevicesByV1(t *testing.T) {
	h := hostOfV1Devices(t)
	if a := h.Attributes(); h.Mode() != None || a["isolation.devices"] != "yes" || a["isolation.devices-by"] != "cgroup-v1" || strings.Contains(strings.Join(h.Warnings(), "\n"), "devices") {
		t.Fatalf("%v, %q", a, h.Warnings())
	}
	s := create(t, h, "job/task", Limits{})
	killIfFailed(t, s)
	script := confined(sh(fmt.Sprintf(opened, disk(), strings.TrimSuffix(h.devices.v1.top, "/"+h.cfg.Slice))))
	want := "refused /dev/console\nrefused " + disk()
	if out, e := output(t, s, script); e != (Exit{}) || out != want {
		t.Errorf("a task: %+v: %s", e, out)
	}
	p := ready(t, s, confined(sh("echo ready; exec sleep 1000")))
	if out, e := outputOf(t, func(f Files) (*Process, error) { return s.StartBeside(p, script, f) }); e != (Exit{}) || out != want {
		t.Errorf("beside a task: %+v: %s", e, out)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	wait(t, p)
	script.LimitDevices, script.ReadOnlySystem = false, false // as the attempts are worth nothing if they fail anyway
	if out, e := output(t, s, script); e != (Exit{}) || out != "left" {
		t.Errorf("without limit: %+v: %s", e, out)
	}
	remove(t, s)
}

// A group is whole before it has its name, whatever its maker had done when it was
// ended, and what running tasks may open does not change with what others get. Who
// sees the folders cannot keep a task from entering one.
func TestGroupsOfDevices(t *testing.T) {
	h := hostOfV1Devices(t)
	d := &v1Devices{top: h.devices.v1.top + "/below"}
	for i, begun := range []func(dir string) error{
		func(string) error { return nil },
		func(dir string) error { return writeFile(dir, "devices.deny", "a") },
		func(dir string) error {
			return errors.Join(writeFile(dir, "devices.deny", "a"), writeFile(dir, "devices.allow", "c 1:3 rwm"))
		},
	} {
		dir := filepath.Join(d.top, fmt.Sprint(groupOf(rules(usualDevices)), ".", os.Getpid(), "-", i+1))
		if err := errors.Join(os.MkdirAll(dir, 0o755), begun(dir)); err != nil {
			t.Fatal(err)
		}
	}
	var makers sync.WaitGroup
	for range 8 {
		makers.Go(func() {
			file, err := d.entry(nil)
			if err != nil {
				t.Error(err)
				return
			}
			dir := filepath.Dir(file)
			if b, err := readFile(dir, "devices.list"); err != nil || strings.TrimSpace(string(b)) != strings.Join(rules(usualDevices), "\n") {
				t.Errorf("%s, %v", b, err)
			}
		})
	}
	makers.Wait()
	for _, dir := range []string{d.top, filepath.Join(d.top, groupOf(rules(usualDevices)))} {
		held, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	usual, err := d.entry(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]device{{every(195)}, {every(195), every(226)}, {every(226), every(195)}} {
		file, err := d.entry(more)
		if err != nil || file == usual {
			t.Fatalf("%v: %s, %v", more, file, err)
		}
		b, err := readFile(filepath.Dir(file), "devices.list")
		if err != nil || strings.Count(string(b), "\n") != len(rules(usualDevices))+len(more) || !strings.Contains(string(b), "c 195:* rwm") {
			t.Errorf("%v: %s, %v", more, b, err)
		}
	}
	if b, err := readFile(filepath.Dir(usual), "devices.list"); err != nil || strings.Contains(string(b), "195") {
		t.Errorf("%s, %v", b, err)
	}
}

// Accelerators are opened by who is given any, as they are with a program.
func TestAcceleratorsByV1(t *testing.T) {
	h := hostOfV1Devices(t)
	proc := t.TempDir()
	h.devices.procRoot = proc
	for list, ok := range map[string]bool{"5 ttys": false, "5 nvidia-caps": true} { // the console is of theirs
		if err := os.WriteFile(filepath.Join(proc, "devices"), []byte("Character devices:\n  "+list+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := create(t, h, "job/task", Limits{})
		killIfFailed(t, s)
		c := confined(sh("dd if=/dev/console iflag=noctty count=0"))
		c.GPUs = true
		if out, e := output(t, s, c); (e == Exit{}) != ok {
			t.Errorf("%s: %+v: %s", list, e, out)
		}
		remove(t, s)
	}
}

// A node that says that devices are limited has groups in which not all can be opened:
// not one that only has the name, nor one that tasks leave with another controller's.
func TestDevicesThatAreNotLimited(t *testing.T) {
	h := hostOfV1Devices(t)
	point, name := filepath.Dir(h.devices.v1.top), h.cfg.Slice+"/open"
	open := filepath.Join(point, name, groupOf(rules(usualDevices)))
	if err := os.MkdirAll(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := newV1Devices(map[string]string{"devices": point}, name); err == nil || !strings.Contains(err.Error(), open) {
		t.Errorf("a group of that name opens all: %v", err)
	}
	if err := syscall.Rmdir(open); err != nil {
		t.Fatal(err)
	}
	d, err := newV1Devices(map[string]string{"devices": point}, name)
	if err != nil {
		t.Fatalf("it is gone: %v", err)
	}
	if err := errors.Join(syscall.Rmdir(open), os.Mkdir(open, 0o755)); err != nil {
		t.Fatal(err)
	}
	d.closed.Clear()
	if _, err := d.entry(nil); err == nil {
		t.Error("a start entered a group that opens all")
	}
	for other, at := range map[string]string{"cpu": point, "cpuset": point, "pids": point + "/pids", "name=tasks": point + "/named"} {
		_, err := newV1Devices(map[string]string{"devices": point, other: at}, h.cfg.Slice)
		if (at == point) != (err != nil) {
			t.Errorf("%s at %s: %v", other, at, err)
		}
	}
}

// Without the right to refuse devices no group gets its name.
func TestDevicesThatCannotBeRefused(t *testing.T) {
	h := hostOfV1Devices(t)
	list := rules(usualDevices)
	dir := filepath.Join(h.devices.v1.top, "refused")
	d := &v1Devices{top: filepath.Dir(dir)}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // no unlock: the thread, which has lost a capability, ends with it
		header, set := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		err := unix.Capget(&header, &set[0])
		set[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
		if err = errors.Join(err, unix.Capset(&header, &set[0])); err != nil {
			done <- fmt.Errorf("give up a capability: %w", err)
			return
		}
		if err := d.make(dir, list); !errors.Is(err, unix.EPERM) {
			done <- fmt.Errorf("the group was made: %w", err)
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group in which all can be opened has its name: %v", err)
	}
}

// Where the kernel lets a task of root leave its group a node does not say that it
// limits devices, though it does for all others.
func TestDevicesOfOldKernels(t *testing.T) {
	h := hostOfV1Devices(t)
	h.protects, h.warnings = false, nil
	h.describe()
	if a := h.Attributes(); a["isolation.devices"] != "no" || a["isolation.devices-by"] != "cgroup-v1" || !strings.Contains(strings.Join(h.Warnings(), "\n"), "Linux 5.12") {
		t.Errorf("%v, %q", a, h.Warnings())
	}
}
