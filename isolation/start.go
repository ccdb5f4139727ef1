package isolation

import "github.com/mesita/mesita/isolation/process"

// What runs in a slice: see package process.
type (
	Spec         = process.Spec
	Program      = process.Program
	Confinement  = process.Confinement
	Limits       = process.Limits
	Rlimit       = process.Rlimit
	RlimitError  = process.RlimitError
	RefusedError = process.RefusedError
	Files        = process.Files
	Birth        = process.Birth
	Process      = process.Process
	Exit         = process.Exit
)

// UsualCapabilities is process.UsualCapabilities.
const UsualCapabilities = process.UsualCapabilities

// ReachOp is process.ReachOp.
const ReachOp = process.ReachOp

// MakeOp is process.MakeOp.
const MakeOp = process.MakeOp

// The folders of which a process may have its own, in Confinement.Temporary and
// PrivateMemory.
const (
	TemporaryFolder = process.TemporaryFolder
	SharedMemory    = process.SharedMemory
)

// MayReplace is process.MayReplace.
func MayReplace(path string) bool { return process.MayReplace(path) }

// NewRlimit is process.NewRlimit.
func NewRlimit(name string, soft, hard int64) (Rlimit, error) {
	return process.NewRlimit(name, soft, hard)
}

// Start starts a process that is in the slice from its first instruction on,
// in a session of its own. Whoever calls must Wait for it. The limits of the
// spec are the slice's already.
func (s *Slice) Start(c Spec, f Files) (*Process, error) { return started(s.Begin(c, f)) }

// StartBeside is Start in the mount and PID namespaces of a process that runs,
// in place of new ones.
func (s *Slice) StartBeside(p *Process, c Spec, f Files) (*Process, error) {
	return started(s.BeginBeside(p, c, f))
}

func started(b *Birth, err error) (*Process, error) {
	if err != nil {
		return nil, err
	}
	return b.Wait()
}

// Begin is Start up to where it may take long: the program may be on a dead
// file server, and the slice may be frozen or hardly have a processor. Whoever
// calls must Wait for the birth.
func (s *Slice) Begin(c Spec, f Files) (*Birth, error) { return s.BeginBeside(nil, c, f) }

// BeginBeside is to StartBeside as Begin is to Start.
func (s *Slice) BeginBeside(p *Process, c Spec, f Files) (*Birth, error) {
	var entries []string
	if c.LimitDevices {
		var err error
		if entries, err = s.limitDevices(c.GPUs, p != nil); err != nil {
			return nil, err
		}
	}
	at := process.Place{Slice: s.name, Group: s.dir, Entries: append(entries, s.h.limiter.entries(s.name)...)}
	if s.session != nil {
		at.Began = s.session.add
	}
	return s.h.starter.Begin(at, c, f, p)
}
