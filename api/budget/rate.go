package budget

import (
	"sync"
	"time"
)

// Pace is how much there may be in a second, and at once after a rest.
type Pace struct{ Second, Burst float64 }

// Rate bounds how much there is in a time of what many callers do: each has a pace
// of its own, and all together have one. Who is over it has to wait.
type Rate struct {
	each, all Pace

	mu   sync.Mutex
	of   map[string]spent
	both spent
}

// maxPaced is how many callers are remembered.
const maxPaced = 4096

// NewRate makes a Rate.
func NewRate(each, all Pace) *Rate { return &Rate{each: each, all: all, of: map[string]spent{}} }

// spent is how much was used as of a moment, less what has become free since.
type spent struct {
	n  float64
	at time.Time
}

func (s spent) now(p Pace, t time.Time) float64 {
	return max(0, s.n-t.Sub(s.at).Seconds()*p.Second)
}

// Take uses n, which is there already, and tells how long who has to wait for more.
func (r *Rate) Take(who string, n float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	mine, both := r.used(who, now)
	r.note(who, mine+n, both+n, now)
	return max(r.each.wait(mine+n), r.all.wait(both+n))
}

// Try uses n if that is within the pace now, or says how long who has to wait.
func (r *Rate) Try(who string, n float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	mine, both := r.used(who, now)
	if wait := max(r.each.wait(mine+n), r.all.wait(both+n)); wait > 0 {
		return wait
	}
	r.note(who, mine+n, both+n, now)
	return 0
}

func (p Pace) wait(n float64) time.Duration {
	return time.Duration(max(0, n-p.Burst) / p.Second * float64(time.Second))
}

func (r *Rate) used(who string, now time.Time) (mine, both float64) {
	return r.of[who].now(r.each, now), r.both.now(r.all, now)
}

func (r *Rate) note(who string, mine, both float64, now time.Time) {
	if _, ok := r.of[who]; !ok && len(r.of) >= maxPaced {
		r.forget(now)
	}
	r.of[who], r.both = spent{mine, now}, spent{both, now}
}

// forget makes room: whoever used the least of a few.
func (r *Rate) forget(now time.Time) {
	least, looked := "", 0
	for who, s := range r.of {
		if looked == 0 || s.now(r.each, now) < r.of[least].now(r.each, now) {
			least = who
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(r.of, least)
}
