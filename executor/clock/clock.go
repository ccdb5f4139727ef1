// Package clock tells the time to what must not be misled by a clock that
// jumps. It owns the reading of the kernel's clock since boot, and a time of
// day that follows the machine's without its jumps. It does not own what is
// compared across machines: each caller says which times it trusts. The
// executor measures time limits with it, the cluster's agent waits and stamps
// commands by it.
package clock

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Uptime is how long ago the machine was booted, its sleep included. No change
// of the time of day moves it, and all processes of one boot read the same.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // Linux has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}

const (
	// Slight is a difference that is followed at once: what disciplines a clock
	// corrects it by less.
	Slight = time.Second
	// Believed is how long a jump must last until it is taken for the truth.
	Believed = 10 * time.Minute
)

// Steady is a time of day that does not jump with the machine's: a step of more
// than Slight is followed once it has lasted for Believed, so that one that is
// taken back leaves no trace, and what waits for less than that waits for as
// long as it should. Its methods may be called from any goroutine.
type Steady struct {
	wall   func() time.Time
	uptime func() time.Duration
	log    *slog.Logger

	mu    sync.Mutex
	base  time.Time // was the time at since
	since time.Duration
	last  time.Time // told
	step  time.Duration
	seen  time.Duration // since when the machine's clock is off by step
}

// NewSteady begins with the machine's time. Nil functions are the machine's.
func NewSteady(wall func() time.Time, uptime func() time.Duration, log *slog.Logger) *Steady {
	if wall == nil {
		wall = time.Now
	}
	if uptime == nil {
		uptime = Uptime
	}
	return &Steady{wall: wall, uptime: uptime, log: log, base: wall().UTC().Round(0), since: uptime()}
}

// Now is the time, in UTC. It goes back only when a jump back is believed.
func (s *Steady) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, up := s.wall().UTC().Round(0), s.uptime() // one right after the other
	now := s.base.Add(up - s.since)
	off := wall.Sub(now)
	switch {
	case off.Abs() <= Slight:
		s.step = 0
		s.base, s.since = wall, up
		now = wall
		if now.Before(s.last) {
			now = s.last
		}
	case s.step == 0 || (off-s.step).Abs() > Slight:
		s.step, s.seen = off, up
		s.log.Warn("this machine's clock jumped; what waits here continues as before, and the new time is believed if it stays",
			"by", off.Round(time.Millisecond), "believed after", Believed)
	case up-s.seen >= Believed:
		s.log.Warn("the jump of this machine's clock is now believed", "by", off.Round(time.Millisecond))
		s.step = 0
		s.base, s.since = wall, up
		now = wall
	}
	s.last = now
	return now
}
