package clock

import (
	"log/slog"
	"testing"
	"time"
)

// machine is a machine whose clock is set as the test likes.
type machine struct {
	up  time.Duration
	off time.Duration
}

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (m *machine) wall() time.Time       { return t0.Add(m.up + m.off) }
func (m *machine) uptime() time.Duration { return m.up }

func (m *machine) steady() *Steady {
	return NewSteady(m.wall, m.uptime, slog.New(slog.DiscardHandler))
}

var jumps = []time.Duration{time.Hour, -time.Hour, 200 * 24 * time.Hour, -200 * 24 * time.Hour}

// Whatever the jump, what waits for less than Believed waits for as long as it
// should, and a jump that is taken back leaves no trace.
func TestJumpIsNotFollowedAtOnce(t *testing.T) {
	for _, jump := range jumps {
		m := &machine{}
		s := m.steady()
		began := s.Now()
		m.off = jump
		for range 59 {
			m.up += 10 * time.Second
			if got := s.Now().Sub(began); got != m.up {
				t.Fatalf("jump of %s: %s passed, and the clock says %s", jump, m.up, got)
			}
		}
		m.off = 0
		m.up += 10 * time.Second
		if got := s.Now(); !got.Equal(m.wall()) {
			t.Fatalf("jump of %s and back: %s, want %s", jump, got, m.wall())
		}
		m.up += time.Hour
		if got := s.Now(); !got.Equal(m.wall()) {
			t.Fatalf("an hour after the jump of %s was taken back: %s, want %s", jump, got, m.wall())
		}
	}
}

// A jump that stays is the truth: a machine that booted in 1970 is set right.
func TestJumpThatStaysIsBelieved(t *testing.T) {
	for _, jump := range append(jumps, 56*365*24*time.Hour) {
		m := &machine{}
		s := m.steady()
		m.off = jump
		s.Now()
		m.up += Believed
		if got := s.Now(); !got.Equal(m.wall()) {
			t.Fatalf("after %s: %s, want %s", Believed, got, m.wall())
		}
		before := s.Now()
		m.up += time.Minute
		if got := s.Now().Sub(before); got != time.Minute {
			t.Fatalf("a minute later the clock says %s", got)
		}
	}
}

// Each jump has its own ten minutes.
func TestJumpAfterJump(t *testing.T) {
	m := &machine{}
	s := m.steady()
	began := s.Now()
	for i := range 20 {
		m.off = time.Duration(i+1) * time.Hour
		s.Now()
		m.up += Believed - time.Second
	}
	if got := s.Now().Sub(began); got != m.up {
		t.Fatalf("%s passed, and the clock says %s", m.up, got)
	}
}

// What disciplines a clock is followed, and never makes time go back.
func TestSlightCorrections(t *testing.T) {
	m := &machine{}
	s := m.steady()
	last := s.Now()
	for i := range 1000 {
		m.up += 100 * time.Millisecond
		m.off += []time.Duration{-700, 900, -500}[i%3] * time.Millisecond
		now := s.Now()
		if now.Before(last) {
			t.Fatalf("time went back by %s", last.Sub(now))
		}
		if off := now.Sub(m.wall()); off.Abs() > 2*Slight {
			t.Fatalf("off by %s", off)
		}
		last = now
	}
}

func TestUptimePasses(t *testing.T) {
	a := Uptime()
	if b := Uptime(); a <= 0 || b < a {
		t.Fatalf("%s, then %s", a, b)
	}
}
