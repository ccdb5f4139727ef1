package budget

import (
	"sync"
	"time"
)

// Floods finds out who floods, of what was refused to whom. One who is refused now
// and then does not.
type Floods struct {
	mu    sync.Mutex
	begun time.Time // of the minute that is counted
	by    map[Who]int
	all   [classes]int

	who  Who // the last that was found
	of   string
	last time.Time
}

const (
	// floodOfOne is how often one is refused in a minute who floods, floodOfMany how
	// often all of a class are together.
	floodOfOne  = 300
	floodOfMany = 3000

	maxCounted = 4096 // callers in a minute
	floodEnds  = 2 * time.Minute
)

// Refused counts that who was refused more of something.
func (f *Floods) Refused(who Who, of string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.by == nil || now.Sub(f.begun) >= time.Minute {
		f.begun, f.by, f.all = now, map[Who]int{}, [classes]int{}
	}
	f.all[who.Class]++
	if _, ok := f.by[who]; ok || len(f.by) < maxCounted {
		f.by[who]++
	}
	switch over := now.Sub(f.last) >= floodEnds || f.last.IsZero(); {
	case f.by[who] >= floodOfOne:
		if f.last = now; over {
			f.who, f.of = who, of
		}
	case f.all[who.Class] >= floodOfMany:
		if f.last = now; over {
			f.who, f.of = Who{Class: who.Class}, of
		}
	}
}

// Now is who floods, and with what, until it has not for two minutes; without a name
// it is many of a class.
func (f *Floods) Now() (who Who, of string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.who, f.of, !f.last.IsZero() && time.Since(f.last) < floodEnds
}
