// Package health decides, from what looks at a running task find, whether the task is
// healthy, and how often that may be told; and it looks: a connection, a request, or a program that
// somebody else runs for it. State is pure: it knows no clock and starts nothing. It does
// not own what becomes of a task that is not healthy.
package health

import "time"

// Policy says how findings are judged.
type Policy struct {
	Grace    time.Duration // from the start on, in which failures do not count until the first success
	Failures int           // in a row, after which it is to end
	Passes   int           // in a row, after which it is healthy; 0: one
}

// State is what is known of one task. Times are since the start of the task.
type State struct {
	Policy
	failed, passed int
	ever           bool // it was healthy once
	known, healthy bool
}

// Verdict is what one finding makes of a task.
type Verdict struct {
	Healthy bool
	Changed bool // to tell
	End     bool // it failed too often
	InARow  int  // failures
}

// Resume takes in what was known of the task before who looks was started again.
func (s *State) Resume(healthy bool) { s.known, s.healthy, s.ever = true, healthy, healthy }

// Found takes in what a look found.
func (s *State) Found(now time.Duration, ok bool) Verdict {
	if ok {
		s.failed = 0
		if s.passed++; s.passed < s.Passes {
			return Verdict{Healthy: s.healthy}
		}
		s.ever = true
		return s.judge(true)
	}
	s.passed = 0
	if !s.ever && now <= s.Grace {
		return Verdict{Healthy: s.healthy}
	}
	s.failed++
	v := s.judge(false)
	v.End, v.InARow = s.failed >= s.Failures, s.failed
	return v
}

func (s *State) judge(healthy bool) Verdict {
	v := Verdict{Healthy: healthy, Changed: !s.known || s.healthy != healthy}
	s.known, s.healthy = true, healthy
	return v
}

// Pace bounds how often something is told that may change with every look: a few times at
// once, and then now and then.
type Pace struct {
	at    []time.Duration
	Burst int           // that may be told within Span
	Span  time.Duration //
}

// Next is when the next may be told, and takes that place.
func (p *Pace) Next(now time.Duration) time.Duration {
	at := now
	if len(p.at) >= p.Burst {
		at = max(now, p.at[0]+p.Span)
		p.at = p.at[1:]
	}
	p.at = append(p.at, at)
	return at
}
