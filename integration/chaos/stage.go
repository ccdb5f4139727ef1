package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// stage is the lab.T of a command: it prints a timeline, remembers what went
// wrong, and tidies up at the end.
type stage struct {
	begin time.Time
	kept  string // folder of a failed run, not removed

	mu       sync.Mutex
	failures int
	cleanups []func()
}

var _ lab.T = (*stage)(nil)

// errOver is what Fatalf panics with; do recovers it.
var errOver = errors.New("over")

// do runs f and the cleanups, also when f ends with Fatalf.
func (s *stage) do(f func()) {
	defer func() {
		for _, c := range slices.Backward(s.cleanups) {
			s.guarded(c)
		}
	}()
	s.guarded(f)
}

func (s *stage) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil && p != any(errOver) {
			panic(p)
		}
	}()
	f()
}

func (s *stage) say(kind, format string, args ...any) {
	fmt.Printf("%7.2f  %-6s %s\n", time.Since(s.begin).Seconds(), kind, fmt.Sprintf(format, args...))
}

func (s *stage) Helper() {}

func (s *stage) Logf(format string, args ...any) { s.say("log", format, args...) }

func (s *stage) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.say("WRONG", format, args...)
}

// Fatalf may be called from the goroutine of do alone.
func (s *stage) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(errOver)
}

func (s *stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures > 0
}

func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// TempDir is removed at the end, unless something went wrong.
func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "mesita-chaos-")
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() {
		if s.Failed() {
			s.say("kept", "%s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			s.Errorf("something still uses %s: %v", dir, err)
		}
	})
	return dir
}
