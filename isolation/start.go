package isolation

import (
	"errors"
	"fmt"
)

// Start starts a process that is in the slice from its first instruction on,
// in a session of its own. Whoever calls must Wait for it. The limits of the
// spec are the slice's already. It may take as long as the program's file
// system, and holds up no other start meanwhile.
func (s *Slice) Start(c Spec, f Files) (*Process, error) { return s.launch(c, f, nil) }

// StartBeside is Start in the mount and PID namespaces of a process that runs,
// in place of new ones.
func (s *Slice) StartBeside(p *Process, c Spec, f Files) (*Process, error) {
	return s.launch(c, f, p)
}

func (s *Slice) launch(c Spec, f Files, beside *Process) (*Process, error) {
	if c.Path == "" {
		return nil, errors.New("start a process: the path is empty: name a program")
	}
	p, err := s.start(c, f, beside)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
}

func args(c Spec) []string {
	if len(c.Args) == 0 {
		return []string{c.Path}
	}
	return c.Args
}
