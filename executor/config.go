// Package executor runs this node's tasks: what the cluster assigned is
// started, watched, stopped and reported. It owns the journal, the program
// cache, the logs and the working folders of tasks. It does not own which
// tasks run here (the cluster decides), nor the processes (the keeper is their
// parent, package executor/keeper), nor how a report travels. The node's agent
// makes one, hands it assignments, and serves logs, exec and statistics from it.
//
// One goroutine, the loop in Run, owns the state of all attempts; everything
// slow (disk, keeper, network) is done beside it and posts its result back.
package executor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/blobs"
	"github.com/mesita/mesita/executor/clock"
	"github.com/mesita/mesita/executor/cores"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/outside"
	"github.com/mesita/mesita/executor/prepare"
	"github.com/mesita/mesita/executor/weights"
	"github.com/mesita/mesita/isolation"
)

// How much of the past a node keeps, and for how long.
const (
	DefaultBlobCache = 2 << 30
	DefaultKept      = 2 << 30
	DefaultLogKeep   = 24 * time.Hour
	DefaultLogTotal  = 5 << 30
	DefaultDirKeep   = 10 * time.Minute
)

// Config is what an executor needs. Zero limits take their defaults.
type Config struct {
	NodeID, Name string
	Age          string         // of the cluster; "" in the first
	DataDir      string         // journal.db, tasks/, logs/, blobs/
	Hidden       []string       // folders of the node, those above DataDir among them, that tasks do not see
	CPUs         api.MilliCPU   // that the node has for tasks; default: all of the machine's
	Mem          api.Bytes      // that the node has for tasks; 0: nobody knows
	Kernel       Kernel         // nil: the groups above tasks are neither weighed nor bounded
	Cores        cores.Kernel   // nil: no task has CPUs of its own
	Outside      *outside.Watch // nil: what other programs have is not looked at
	Log          *slog.Logger
	// Fetch writes a program that another node holds; nil if there is none to
	// ask.
	Fetch func(ctx context.Context, digest string, w io.Writer) error
	// Fetcher is this program's arguments, its name first, with which it brings the files
	// of a task (package fetch); none: nothing is fetched.
	Fetcher []string
	// Needed says which programs have to stay on this node though nothing here runs them; nil = none.
	Needed blobs.Needed

	Env prepare.Environment // what tasks find in their environment that this node alone knows; nil: nothing
	// Ask asks a task's process to end in a way of its own, and reports whether it could: then
	// it is sent no signal, and has its time as after one. nil: nobody can.
	Ask func(t *api.Task) bool

	Now      func() time.Time                                 // default time.Now
	Uptime   func() time.Duration                             // default clock.Uptime
	BootID   string                                           // default the kernel's
	ProcRoot string                                           // default /proc
	DiskFree func(path string) (free, total int64, err error) // default statfs

	BlobCache    int64         // bytes of programs kept; default DefaultBlobCache
	Kept         int64         // bytes of fetched files kept; default DefaultKept
	LogKeep      time.Duration // of ended attempts; default DefaultLogKeep
	LogTotal     int64         // bytes of ended attempts' logs; default DefaultLogTotal
	DirKeep      time.Duration // of ended attempts' own working folders; default DefaultDirKeep
	DiskReserve  int64         // bytes of the disk that are to stay free; default 1 GiB, or 5 % of it if that is less
	RestartAfter time.Duration // after a reboot, until services restart unasked; default 10s
	Starts       int           // at once; default 16
}

func (c Config) withDefaults() (Config, error) {
	def(&c.BlobCache, DefaultBlobCache)
	def(&c.Kept, DefaultKept)
	def(&c.LogKeep, DefaultLogKeep)
	def(&c.LogTotal, DefaultLogTotal)
	def(&c.ProcRoot, "/proc")
	def(&c.DirKeep, DefaultDirKeep)
	def(&c.RestartAfter, 10*time.Second)
	def(&c.Starts, 16)
	def(&c.CPUs, api.MilliCPU(runtime.NumCPU()*1000))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Uptime == nil {
		c.Uptime = clock.Uptime
	}
	if c.DiskFree == nil {
		c.DiskFree = statfs
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.BootID == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return c, fmt.Errorf("find out whether the machine was rebooted: %w", err)
		}
		c.BootID = strings.TrimSpace(string(b))
	}
	return c, nil
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func statfs(path string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// Reporter takes statuses to the cluster. A status may come more than once,
// and a call that fails is repeated.
type Reporter interface {
	Report(ctx context.Context, statuses []api.TaskStatus) error
}

// Kernel divides the CPU among groups of tasks: an isolation.Host.
type Kernel interface {
	weights.Kernel
	Throttling(group string) (isolation.Throttling, error)
	SetMemory(slice string, memory int64) (fits bool, err error) // that a task may have, from now on
}

// Runtime runs attempts: keeper.Client, or a fake. See there for what each
// method promises.
type Runtime interface {
	Prepare(r keeper.StartRequest)
	Start(ctx context.Context, r keeper.StartRequest) (keeper.StartResult, error)
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	Kill(ctx context.Context, id string) error
	Freeze(ctx context.Context, id string) (keeper.Status, error)
	Thaw(ctx context.Context, id string) (keeper.Status, error)
	Running(ctx context.Context) ([]keeper.Status, error)
	Events(ctx context.Context) (<-chan keeper.Status, error)
	Forget(ctx context.Context, ids ...string) error
	Exec(ctx context.Context, r keeper.ExecRequest) (keeper.ExecResult, error)
	Terminal(ctx context.Context, id string) (*keeper.Terminal, error)
	AllStats(ctx context.Context, ids []string, detail api.StatsDetail) []*api.TaskStats
	Check(ctx context.Context) error
}

var _ Runtime = (*keeper.Client)(nil)
