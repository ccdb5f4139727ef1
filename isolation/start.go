package isolation

import (
	"errors"
	"fmt"
)

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
func (s *Slice) Begin(c Spec, f Files) (*Birth, error) { return s.launch(c, f, nil) }

// BeginBeside is to StartBeside as Begin is to Start.
func (s *Slice) BeginBeside(p *Process, c Spec, f Files) (*Birth, error) {
	return s.launch(c, f, p)
}

func (s *Slice) launch(c Spec, f Files, beside *Process) (*Birth, error) {
	if c.Path == "" {
		return nil, errors.New("start a process: the path is empty: name a program")
	}
	b, err := s.begin(c, f, beside)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return b, nil
}

// Wait returns the process once its program has begun, or why it has not.
func (b *Birth) Wait() (*Process, error) {
	p, err := b.wait()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", b.c.Path, err)
	}
	return p, nil
}

func args(c Spec) []string {
	if len(c.Args) == 0 {
		return []string{c.Path}
	}
	return c.Args
}
