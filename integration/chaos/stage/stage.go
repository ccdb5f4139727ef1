// Package stage is what a lab.T is to a command that is not a test: a timeline, what
// went wrong, and cleanups. Command integration/chaos makes one for each run.
package stage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// Stage is the lab.T of a command: it prints a timeline, remembers what went
// wrong, and tidies up at the end.
type Stage struct {
	begin time.Time

	mu       sync.Mutex
	failures int
	cleanups []func()
}

var _ lab.T = (*Stage)(nil)

// New begins a timeline.
func New() *Stage { return &Stage{begin: time.Now()} }

// errOver is what Fatalf panics with; Do recovers it.
var errOver = errors.New("over")

// Do runs f and the cleanups, also when f ends with Fatalf.
func (s *Stage) Do(f func()) {
	defer func() {
		for _, c := range slices.Backward(s.cleanups) {
			s.guarded(c)
		}
	}()
	s.guarded(f)
}

func (s *Stage) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil && p != any(errOver) {
			panic(p)
		}
	}()
	f()
}

// Say adds to the timeline.
func (s *Stage) Say(kind, format string, args ...any) {
	fmt.Printf("%7.2f  %-6s %s\n", time.Since(s.begin).Seconds(), kind, fmt.Sprintf(format, args...))
}

// Helper is of no use to a timeline.
func (s *Stage) Helper() {}

// Logf adds a remark.
func (s *Stage) Logf(format string, args ...any) { s.Say("log", format, args...) }

// Errorf says what is wrong; the run continues.
func (s *Stage) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.Say("WRONG", format, args...)
}

// Fatalf may be called from the goroutine of Do alone.
func (s *Stage) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(errOver)
}

// Failed reports whether anything was wrong.
func (s *Stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures > 0
}

// Cleanup has f called at the end, the last first.
func (s *Stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// TempDir is removed at the end, unless something went wrong. It is no /tmp, of which
// tasks have their own.
func (s *Stage) TempDir() string {
	dir, err := os.MkdirTemp("/var/tmp", "mesita-chaos-")
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() {
		if s.Failed() {
			s.Say("kept", "%s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			s.Errorf("something still uses %s: %v", dir, err)
		}
	})
	return dir
}
