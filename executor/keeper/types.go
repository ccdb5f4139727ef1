// Package keeper owns the parent of a node's tasks: one small process per node
// that starts tasks, writes their logs, and holds their exits until the daemon
// has taken note of them. It outlives the daemon, so that a crash or upgrade of
// the daemon stops no task and loses no exit code. It does not own which tasks
// run or what an exit means: the executor decides that, through Client.
//
// The server side is Main, run in the child process; the client side is
// Client. They speak frames over a unix socket (wire.go). The keeper's folder
// holds the socket, a lock, a ledger of what was started and how it ended
// (ledger.go), and the keeper's own output.
package keeper

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// StartRequest is one attempt to start.
type StartRequest struct {
	ID    string `json:"id"`    // unique among attempts, ever
	Slice string `json:"slice"` // a fresh one
	isolation.Spec

	LogDir string `json:"logDir"`
	LogMax int64  `json:"logMax"` // bytes on disk
	// Terminal is one that the keeper makes and holds, which is its input and output; nil: it
	// has none, and nothing to read.
	Terminal *api.Terminal `json:"terminal,omitempty"`
	// By is the clock.Uptime after which it is not begun any more; 0: whenever.
	By time.Duration `json:"by,omitempty"`

	unknown error // it has fields that this keeper does not know
}

// StartResult tells of a started attempt.
type StartResult struct {
	PID     int           `json:"pid"`
	Started time.Time     `json:"started"`
	Up      time.Duration `json:"up,omitempty"` // clock.Uptime at the start; 0: an older keeper does not say
}

// State is how far an attempt is, as the keeper knows it.
type State string

// The states. They cross versions: append only.
const (
	Starting State = "starting"
	Running  State = "running"
	Ended    State = "ended"
	Lost     State = "lost"  // an earlier keeper started it, and died with it
	Reset    State = "reset" // of no attempt: the keeper was gone, so ask for Running again
)

// Status is what the keeper knows of one attempt.
type Status struct {
	ID       string         `json:"id"`
	State    State          `json:"state"`
	PID      int            `json:"pid,omitempty"`
	Started  time.Time      `json:"started,omitzero"`
	Up       time.Duration  `json:"up,omitempty"` // as in StartResult
	Ended    time.Time      `json:"ended,omitzero"`
	Code     int            `json:"code,omitempty"`   // exit code
	Signal   syscall.Signal `json:"signal,omitempty"` // that ended it, 0 for none
	OOMKills uint64         `json:"oomKills,omitempty"`
	// OOMOutside: not its own limit was the cause, but that the machine, or all
	// slices together, had no memory left.
	OOMOutside bool `json:"oomOutside,omitempty"`
	// CPUTime and MemPeak, in bytes, are what it used until its end; 0: not known.
	CPUTime time.Duration `json:"cpuTime,omitempty"`
	MemPeak int64         `json:"memPeak,omitempty"`
	Error   string        `json:"error,omitempty"` // why it never ran
	// Gone: its slice was removed, so every process of it has ended, and of what ran
	// beside it; a keeper of before does not say.
	Gone  bool   `json:"gone,omitempty"`
	Slice string `json:"slice,omitempty"` // of one that has not ended

	Freezer   bool          `json:"freezer,omitempty"`   // it was told to freeze: some processes may be stopped
	Frozen    time.Time     `json:"frozen,omitzero"`     // since when all are
	FrozenFor time.Duration `json:"frozenFor,omitempty"` // earlier
}

// Size is a terminal's.
type Size struct{ Rows, Cols uint16 }

// ExecRequest is a command to run beside a running attempt, in its namespaces
// and slice. The keeper gives it the confinement that it gave the attempt.
type ExecRequest struct {
	ID string `json:"id"` // of the attempt
	isolation.Spec

	// Begin sets what follows but Size, once the command has begun or takes long
	// to: an error before that is told in place of a call. Nil: it is set.
	Begin func(*ExecRequest) error `json:"-"`

	Stdin  io.Reader   `json:"-"` // nil: nothing to read
	Stdout io.Writer   `json:"-"`
	Stderr io.Writer   `json:"-"` // unused with TTY
	Size   Size        `json:"-"` // at first, with TTY
	Resize <-chan Size `json:"-"` // later ones; may be nil

	Signals <-chan syscall.Signal `json:"-"` // for the command and what it started; may be nil
}

// ExecResult is how an executed command ended.
type ExecResult struct {
	Code   int            `json:"code"`
	Signal syscall.Signal `json:"signal,omitempty"`
}

var (
	// ErrProgram says that the program itself cannot be executed: by this user,
	// on this kind of machine, or at all.
	ErrProgram = errors.New("the program cannot be executed")
	// ErrDiskFull says that the disk has no room for what a start writes there.
	ErrDiskFull = errors.New("the disk is full")
	// ErrUnknown says that the keeper does not know the attempt.
	ErrUnknown = errors.New("the keeper does not know this attempt")
	// ErrNotRunning says that the attempt has no process.
	ErrNotRunning = errors.New("the attempt is not running")
	// ErrLost says that a keeper died around the start, so that nobody knows
	// whether the attempt ran. It does not run now.
	ErrLost = errors.New("the keeper died while it started this attempt")
)
