package isolation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nodes are devices of the machine that a task as root may open by their modes.
var nodes = map[string]func() error{
	"console":       func() error { return look("/dev/console") },
	"disk there is": func() error { return look(disk()) },
}

func look(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == nil {
		f.Close()
	}
	if errors.Is(err, unix.ENXIO) { // nothing is in it: but it was asked
		return nil
	}
	return err
}

// disk is any that the machine has a node of.
func disk() string {
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode()&os.ModeDevice != 0 && fi.Mode()&os.ModeCharDevice == 0 {
			return filepath.Join("/dev", e.Name())
		}
	}
	return "/dev/none"
}

var usualNodes = map[string]func() error{
	"null":    func() error { return touch("/dev/null") },
	"zero":    func() error { return touch("/dev/zero") },
	"full":    func() error { return touch("/dev/full") },
	"random":  func() error { return look("/dev/random") },
	"urandom": func() error { return look("/dev/urandom") },
	"terminal": func() error {
		f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		other, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
		if errno == 0 {
			unix.Close(int(other))
		}
		return answered(errno)
	},
}

// A task with accelerators opens those, by what the kernel calls their drivers.
func TestAccelerators(t *testing.T) {
	h := newHost(t)
	proc := t.TempDir()
	list := "Character devices:\n  5 ttys\n  4 /dev/vc/0\n195 nvidia\n226 drm\n511 nvidia-uvm\n\nBlock devices:\n  8 sd\n226 nvidia\n"
	for name, tt := range map[string]struct {
		list string
		want int // devices beside the usual
		ok   bool
	}{"none of them": {list, 3, false}, "terminals are": {strings.Replace(list, "ttys", "nvidia-caps", 1), 4, true}} {
		if err := os.WriteFile(filepath.Join(proc, "devices"), []byte(tt.list), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := gpus(proc); err != nil || len(got) != tt.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		h.devices.procRoot = proc
		s := create(t, h, "job/task", Limits{})
		c := confined(sh("dd if=/dev/console iflag=noctty count=0"))
		c.GPUs = true
		if out, e := output(t, s, c); (e == Exit{}) != tt.ok {
			t.Errorf("%s: %+v: %s", name, e, out)
		}
		remove(t, s)
	}
}

// Where a group above has a program that lets no other beside it the node says so,
// with the remedy, and tasks start all the same.
func TestAnotherProgramForDevices(t *testing.T) {
	tree := newHost(t)
	if tree.devices.err != nil {
		skip(t, tree.devices.err.Error())
	}
	parent := tree.cfg.Slice + "/exclusive"
	dir := filepath.Join(tree.cfg.Root, parent)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(group)
	all, err := loadProgram([]instruction{{op: set, regs: r0, imm: 1}, {op: leave}})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(all)
	attr := programOfGroup{target: uint32(group), program: uint32(all), kind: unix.BPF_CGROUP_DEVICE}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		t.Fatal(err)
	}
	below := Config{Root: tree.cfg.Root, Slice: parent + "/below", ProcRoot: procRoot(t, "")} // without cgroup v1
	h, err := Detect(below)
	if err != nil {
		t.Fatal(err)
	}
	h.cfg.ProcRoot, h.starter.ProcRoot = "/proc", "/proc" // what runs is real
	said := strings.Join(h.Warnings(), "\n")
	if h.Attributes()["isolation.devices"] != "no" || !strings.Contains(said, "a group above has a program for devices") || !strings.Contains(said, "BPF_F_ALLOW_MULTI") {
		t.Errorf("it says %s", said)
	}
	s := create(t, h, "job/task", Limits{})
	if out, e := output(t, s, confined(sh("echo runs"))); e != (Exit{}) || out != "runs" {
		t.Errorf("%q, %+v", out, e)
	}
	// Where it lets others, it is asked as well.
	if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		t.Fatal(err)
	}
	if err := attach(group, all); err != nil {
		t.Fatal(err)
	}
	if h, err = Detect(below); err != nil || h.Attributes()["isolation.devices"] != "yes" {
		t.Errorf("%v, %v, %v", h.Attributes(), err, h.devices.err)
	}
}
