// Package isolation runs one process tree in one slice (a cgroup): limits,
// statistics, freezing and killing. Package process starts what is in it.
//
// It does not decide what runs, keeps no logs and retries nothing. Its callers
// are executor/keeper, the parent of every task, and cluster, which publishes
// what Detect found out as the node's attributes.
package isolation

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation/process"
)

// Mode says how much of what a slice promises this machine can keep.
type Mode string

// The modes, from everything to nothing.
const (
	Unified Mode = "unified" // cgroup v2 with its controllers
	Hybrid  Mode = "hybrid"  // a v2 tree tracks, freezes and kills; v1 controllers limit
	Track   Mode = "track"   // a v2 tree without controllers: no limits
	None    Mode = "none"    // no v2 tree: sessions are tracked, and can be left
)

// Config says where to look. The zero value suits a real machine.
type Config struct {
	Root     string // the cgroup v2 mount; "" = the one in ProcRoot/self/mountinfo
	Slice    string // the top slice; "" = mesita.slice
	ProcRoot string // "" = /proc
	Log      *slog.Logger
}

// Host makes slices on this machine. It is safe for concurrent use.
type Host struct {
	cfg         Config
	mode        Mode
	top         string // directory of the top slice in the v2 tree; "" in mode None
	controllers []string
	limiter     limiter
	attributes  map[string]string
	warnings    []string
	starter     process.Starter
	devices     devices
	protects    bool // tasks cannot leave their groups

	tree     sync.Mutex          // guards making and removing the groups above a slice
	sessions map[string]*session // of mode None; guarded by tree
}

// wanted are the controllers a slice uses; io and cpuset are extras.
var wanted = []string{"cpu", "memory", "pids", "io", "cpuset"}

// Detect finds out what this machine offers and makes the top slice. What is
// missing is not an error: Mode, Attributes and Warnings tell.
func Detect(cfg Config) (*Host, error) {
	if cfg.Slice == "" {
		cfg.Slice = "mesita.slice"
	}
	if cfg.ProcRoot == "" {
		cfg.ProcRoot = "/proc"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkName(cfg.Slice); err != nil {
		return nil, fmt.Errorf("the top slice: %w", err)
	}
	// Whoever started us may have left files open, which no task is to inherit.
	// All that Go opens is closed at an exec anyway. Before Linux 5.11 they stay.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	h := &Host{cfg: cfg, mode: None, limiter: noLimiter{}, sessions: map[string]*session{}}
	h.starter.ProcRoot, h.starter.Log = cfg.ProcRoot, cfg.Log
	m, err := readMounts(filepath.Join(cfg.ProcRoot, "self"))
	if err != nil {
		h.warn("the mount table cannot be read", err)
	}
	if cfg.Root == "" {
		cfg.Root = m.unified
	}
	if cfg.Root != "" {
		if err := h.openTree(cfg.Root); err != nil {
			h.warn("no cgroup v2 group can be made, so processes are tracked by session and can escape", err)
		}
	} else {
		h.warn("cgroup v2 is not mounted, so processes are tracked by session and can escape", nil)
	}
	h.chooseLimiter(cfg.Root, m)
	if err := h.reservePIDs(); err != nil {
		h.cfg.Log.Warn("tasks may take all processes that the machine can have", "err", err)
	}
	h.devices.prepare(cfg.ProcRoot, h.top, cfg.Slice, m.v1)
	h.protects = process.CanProtect()
	h.describe()
	return h, nil
}

// openTree makes the top slice and enables the controllers down to it.
func (h *Host) openTree(root string) error {
	h.cfg.Root = root
	top := filepath.Join(root, h.cfg.Slice)
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		return fmt.Errorf("%s is not a cgroup v2 mount: %w", root, err)
	}
	b, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	var enable []string
	for _, c := range wanted {
		if slices.Contains(have, c) {
			enable = append(enable, c)
		}
	}
	if err := os.MkdirAll(top, 0o755); err != nil {
		return err
	}
	for dir := root; ; {
		got := enableControllers(dir, enable)
		for _, c := range enable {
			if !slices.Contains(got, c) {
				h.cfg.Log.Debug("a cgroup controller cannot be enabled", "controller", c, "group", dir)
			}
		}
		enable = got
		rel, err := filepath.Rel(dir, top)
		if err != nil || rel == "." {
			break
		}
		first, _, _ := strings.Cut(rel, "/")
		dir = filepath.Join(dir, first)
	}
	h.top, h.controllers, h.mode = top, enable, Track
	return nil
}

// enableControllers enables each for the children of dir and returns those
// that are. One write for each: a refused one refuses the whole write.
func enableControllers(dir string, names []string) []string {
	var got []string
	for _, c := range names {
		if err := writeFile(dir, "cgroup.subtree_control", "+"+c); err == nil {
			got = append(got, c)
		}
	}
	return got
}

func (h *Host) chooseLimiter(root string, m mounts) {
	if h.top == "" {
		return
	}
	limiting := slices.ContainsFunc(h.controllers, func(c string) bool { return c == "cpu" || c == "memory" || c == "pids" })
	if limiting {
		h.mode = Unified
		h.limiter = newUnified(root, h.top, h.controllers)
		return
	}
	if l := newV1(m.v1, h.cfg.Slice, h.top); l != nil {
		h.mode, h.limiter = Hybrid, l
	}
}

// warn keeps what is missing for Warnings: whoever starts tells it, once.
func (h *Host) warn(what string, err error) {
	if err != nil {
		what += " (" + err.Error() + ")"
	}
	h.warnings = append(h.warnings, what)
}

// describe fills the attributes, and warns of each thing that is missing.
func (h *Host) describe() {
	has := func(file string) bool {
		if h.top == "" {
			return false
		}
		_, err := os.Stat(filepath.Join(h.top, file))
		return err == nil
	}
	filtered := process.CanFilter()
	shared := slices.DeleteFunc([]string{TemporaryFolder, SharedMemory}, func(dir string) bool {
		_, err := os.Stat(dir)
		return err != nil || MayReplace(dir)
	})
	unlimited := h.devices.err
	if unlimited == nil && !h.protects {
		unlimited = errors.New("they can leave the group that limits them, as it takes Linux 5.12 to make groups read-only")
	}
	h.attributes = map[string]string{"isolation.mode": string(h.mode), "isolation.devices-by": h.devices.by()}
	for _, f := range []struct {
		name, missing string
		ok            bool
	}{
		{"cpu", "CPU limits and shares are NOT enforced: no cpu controller", h.limiter.enforces("cpu")},
		{"memory", "memory limits are NOT enforced: no memory controller", h.limiter.enforces("memory")},
		{"pids", "limits of processes are NOT enforced: no pids controller", h.limiter.enforces("pids")},
		{"freeze", "tasks that are to be preempted cannot be frozen, only killed: no cgroup.freeze", has("cgroup.freeze")},
		{"kill", "tasks are killed process by process: no cgroup.kill", has("cgroup.kill")},
		{"syscalls", "system calls of tasks are NOT filtered: " + fmt.Sprint(filtered), filtered == nil},
		{"devices", "tasks as root can open all devices of the node, its disks too: " + fmt.Sprint(unlimited), unlimited == nil},
		{"tmp", "tasks share the machine's " + strings.Join(shared, " and ") + ": make a plain folder of it, which each has in its place", len(shared) == 0},
		{"psi", "", has("cpu.pressure")},
		{"cpuset", "", len(h.Cores()) > 0},
	} {
		h.attributes["isolation."+f.name] = "no"
		if f.ok {
			h.attributes["isolation."+f.name] = "yes"
		} else if f.missing != "" {
			h.warn(f.missing, nil)
		}
	}
	if h.mode == Hybrid && h.limiter.enforces("memory") {
		h.warn("a task out of memory may lose one process and run on, and a soft memory limit is NOT enforced: cgroup v1 has no memory.oom.group and no memory.high", nil)
	}
}

// Mode returns how much this machine enforces.
func (h *Host) Mode() Mode { return h.mode }

// Attributes are isolation.mode, isolation.devices-by ("bpf", "cgroup-v1" or "no"),
// and isolation.cpu, memory, pids, freeze, kill, syscalls, devices, tmp, psi and
// cpuset, each "yes" or "no".
func (h *Host) Attributes() map[string]string {
	c := make(map[string]string, len(h.attributes))
	for k, v := range h.attributes {
		c[k] = v
	}
	return c
}

// Warnings are a line for each thing that cannot be enforced here.
func (h *Host) Warnings() []string { return slices.Clone(h.warnings) }

const maxPart, maxName = 255, 1024

// checkName refuses a name that is not a clean relative path of short parts.
func checkName(name string) error {
	if name == "" {
		return errors.New("the slice name is empty: give partition/job/task")
	}
	if len(name) > maxName {
		return fmt.Errorf("the slice name is %d bytes long: at most %d are allowed", len(name), maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("slice name %q: a part is empty, \".\" or \"..\": give each a name", name)
		case len(part) > maxPart:
			return fmt.Errorf("slice name %.40q…: a part is %d bytes long: at most %d are allowed", name, len(part), maxPart)
		case strings.ContainsAny(part, "\x00\n"):
			return fmt.Errorf("slice name %q: a part has a zero byte or a line break: leave it out", name)
		case strings.HasPrefix(part, "cgroup.") || reserved(part):
			return fmt.Errorf("slice name %q: %q is taken by a control file: choose another", name, part)
		}
	}
	return nil
}

// reserved reports whether part may be the name of a controller's file.
func reserved(part string) bool {
	c, _, ok := strings.Cut(part, ".")
	return ok && part != "memory.slice" && slices.Contains([]string{"cpu", "cpuacct", "cpuset", "memory", "pids", "io", "misc", "hugetlb", "rdma", "irq"}, c)
}
