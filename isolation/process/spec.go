package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Spec is a process as the machine runs it: what the keeper is sent and
// starts, for a task and for a command beside one. Its JSON crosses versions:
// fields are only added, each left out when it asks for nothing, so that a
// keeper can be asked whether it knows all that a spec asks for.
type Spec struct {
	Program
	Confinement
}

// Program is what runs, and as whom.
type Program struct {
	Path   string   `json:"path"` // of the executable, absolute
	Args   []string `json:"args"` // with the program's name first
	Env    []string `json:"env"`
	Dir    string   `json:"dir"`
	UID    uint32   `json:"uid,omitempty"`
	GID    uint32   `json:"gid,omitempty"`
	Groups []uint32 `json:"groups,omitempty"`
	TTY    bool     `json:"tty,omitempty"` // Files.Stdin is its controlling terminal
}

// Confinement is what surrounds and bounds it. Whatever runs beside a task has
// the task's.
type Confinement struct {
	Limits             Limits   `json:"limits"`                       // of all processes together: for Host.Create
	PrivatePIDs        bool     `json:"privatePIDs,omitempty"`        // a namespace of its own, with an init
	PrivateMounts      bool     `json:"privateMounts,omitempty"`      // what it mounts, the machine does not see
	ReadOnlySystem     bool     `json:"readOnlySystem,omitempty"`     // the kernel's settings in /proc and /sys, and the groups, cannot be written; needs PrivateMounts
	Covered            []string `json:"covered,omitempty"`            // folders in whose place it finds empty ones; needs PrivateMounts
	Reached            []string `json:"reached,omitempty"`            // files and folders in what it does not find, which are there all the same
	Named              []string `json:"named,omitempty"`              // likewise, folders with a slash at the end, if its user may come to them and no symbolic link leads there
	Temporary          string   `json:"temporary,omitempty"`          // folder that is its /tmp; "" = the machine's; needs PrivateMounts
	PrivateMemory      bool     `json:"privateMemory,omitempty"`      // its /dev/shm is its own, and bounded as its memory is; needs PrivateMounts
	PrivateIPC         bool     `json:"privateIPC,omitempty"`         // shared memory and message queues are seen by nobody else
	AllowNewPrivileges bool     `json:"allowNewPrivileges,omitempty"` // programs like sudo work
	Forbidden          uint64   `json:"forbidden,omitempty"`          // capabilities that neither it nor what it starts has, a bit for each, also those that this kernel does not know
	FilterSyscalls     bool     `json:"filterSyscalls,omitempty"`     // it may make those that package syscalls allows, and no others
	LimitDevices       bool     `json:"limitDevices,omitempty"`       // it may open terminals, null, random and the like, and no others: for isolation
	GPUs               bool     `json:"gpus,omitempty"`               // but also accelerators
	Rlimits            []Rlimit `json:"rlimits,omitempty"`            // each resource once
	Nice               int      `json:"nice,omitempty"`               // -20 to 19
	MaxCPU             int64    `json:"maxCPU,omitempty"`             // thousandths of a CPU, for Slice.LimitCPU once it runs; 0: no bound
	OOMScore           int      `json:"oomScore,omitempty"`           // 1 to 1000: how much sooner than others it dies when memory runs out; see isolation.OOMScore
}

// Lifted is without what every task is confined by unless its spec says
// otherwise.
func (c Confinement) Lifted() Confinement {
	c.Covered, c.Reached, c.Named, c.Temporary, c.PrivateMemory = nil, nil, nil, "", false
	c.ReadOnlySystem, c.PrivateIPC, c.FilterSyscalls, c.LimitDevices, c.GPUs, c.Forbidden = false, false, false, false, false, 0
	return c
}

// Limits of one slice. Zero means no limit.
type Limits struct {
	MilliCPU   int64  `json:"milliCPU,omitempty"`   // thousandths of a CPU that may be used, however idle the machine is, from before the start: asked for by older versions
	CPUWeight  uint64 `json:"cpuWeight,omitempty"`  // share of a busy CPU beside the other groups of the same level, 1 to MaxWeight; 100 is usual
	Memory     int64  `json:"memory,omitempty"`     // bytes; the whole slice is killed above, with cgroup v1 one process of it
	MemoryHigh int64  `json:"memoryHigh,omitempty"` // bytes; slowed down above; cgroup v2 only
	PIDs       int64  `json:"pids,omitempty"`       // processes and threads
	CPUs       string `json:"cpus,omitempty"`       // those that it runs on, which are its own, as the kernel lists them: "2-3,7"; "": those that others leave it
	Shared     bool   `json:"shared,omitempty"`     // there are some that it must not run on: see Host.Share, which keepers of before do not heed
}

// ReachOp is the Op of an os.PathError about what the user named.
const ReachOp = "let it reach"

// MakeOp is the Op of an os.PathError about what is made for a process on the disk.
const MakeOp = "make in its own folder"

// MaxOOMScore is the highest score.
const MaxOOMScore = 1000

const oomScoreFile = "/proc/%s/oom_score_adj" // of a process

func (c Confinement) oomScore() string { return strconv.Itoa(min(c.OOMScore, MaxOOMScore)) }

// Rlimit bounds what each process may take: setrlimit(2).
type Rlimit struct {
	Resource int    `json:"resource"` // RLIMIT_*
	Soft     uint64 `json:"soft"`     // RLIM_INFINITY: no bound
	Hard     uint64 `json:"hard"`
}

// Files are the three that a process has open; nil is /dev/null.
type Files struct {
	Stdin, Stdout, Stderr *os.File
}

// The limits of open files of a process that asks for none. It must not have
// those of whoever started us: a million descriptors make programs slow that
// close them all, and a soft limit above 1024 breaks those that use select(2).
const (
	softFiles = 1024
	hardFiles = 512 << 10
)

// What a process begins with, whatever we were started with.
const (
	usualUmask    = 0o022
	ioprioProcess = 1 // IOPRIO_WHO_PROCESS
)

// openFiles is the limit of open files, if the spec has none.
func (c Confinement) openFiles() (Rlimit, bool) {
	if slices.ContainsFunc(c.Rlimits, func(l Rlimit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		return Rlimit{}, false
	}
	var own unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own)
	return Rlimit{unix.RLIMIT_NOFILE, min(softFiles, own.Max), min(hardFiles, own.Max)}, err == nil
}

// resources are the names of what can be limited, as in ulimit(1) and in
// limits.conf(5).
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// NewRlimit is the limit of a resource by its name. A negative bound is none.
func NewRlimit(name string, soft, hard int64) (Rlimit, error) {
	r, ok := resources[name]
	if !ok {
		return Rlimit{}, fmt.Errorf("%q is not a resource that can be limited", name)
	}
	return Rlimit{r, noBound(soft), noBound(hard)}, nil
}

func noBound(v int64) uint64 {
	if v < 0 {
		return unix.RLIM_INFINITY
	}
	return uint64(v)
}

func (l Rlimit) String() string {
	name := strconv.Itoa(l.Resource)
	for n, r := range resources {
		if r == l.Resource {
			name = n
		}
	}
	value := func(v uint64) string {
		if v == unix.RLIM_INFINITY {
			return "unlimited"
		}
		return strconv.FormatUint(v, 10)
	}
	return name + "=" + value(l.Soft) + ":" + value(l.Hard)
}

// RefusedError says that a process did not become its program for what was asked for,
// or for what only its user has: no fault of the machine.
type RefusedError struct {
	Why   string // in the words of who asked
	Cause error
}

func (e *RefusedError) Error() string { return e.Why }
func (e *RefusedError) Unwrap() error { return e.Cause }

func (c Confinement) notSoNice(err error) error {
	return &RefusedError{fmt.Sprintf("the nice value %d cannot be set on this node (%v): ask for 0 or more, or give its daemon CAP_SYS_NICE", c.Nice, err), err}
}

// RlimitError says that this machine does not let a process have such a limit:
// a hard one can only be raised by who may raise its own.
type RlimitError struct {
	Rlimit Rlimit
	Cause  error
}

func (e *RlimitError) Error() string {
	if errors.Is(e.Cause, unix.EAGAIN) {
		return fmt.Sprintf("its user has more processes on this node than the ulimit %s lets it have: ask for a higher one, or run it as another user", e.Rlimit)
	}
	return fmt.Sprintf("the ulimit %s cannot be set on this node (%v): ask for less, or raise what its daemon may give", e.Rlimit, e.Cause)
}

func (e *RlimitError) Unwrap() error { return e.Cause }
