package isolation

import (
	"fmt"
	"os"
	"slices"

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
	Limits             Limits   `json:"limits"`                       // of the whole slice: Host.Create sets them
	PrivatePIDs        bool     `json:"privatePIDs,omitempty"`        // the process is PID 1 of a namespace of its own
	PrivateMounts      bool     `json:"privateMounts,omitempty"`      // what it mounts, the machine does not see
	AllowNewPrivileges bool     `json:"allowNewPrivileges,omitempty"` // programs like sudo work
	Rlimits            []Rlimit `json:"rlimits,omitempty"`            // each resource once
	Nice               int      `json:"nice,omitempty"`               // -20 to 19; 0: as we have it
}

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

// openFiles is the limit of open files, if the spec has none.
func (c Confinement) openFiles() (Rlimit, bool) {
	if slices.ContainsFunc(c.Rlimits, func(l Rlimit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		return Rlimit{}, false
	}
	var own unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own)
	return Rlimit{unix.RLIMIT_NOFILE, min(softFiles, own.Max), min(hardFiles, own.Max)}, err == nil
}

// RlimitError says that this machine does not let a process have such a limit:
// a hard one can only be raised by who may raise its own.
type RlimitError struct {
	Rlimit Rlimit
	Cause  error
}

func (e *RlimitError) Error() string {
	return fmt.Sprintf("set the limit of resource %d to %d:%d: %v", e.Rlimit.Resource, e.Rlimit.Soft, e.Rlimit.Hard, e.Cause)
}

func (e *RlimitError) Unwrap() error { return e.Cause }
