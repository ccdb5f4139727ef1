package scheduler

import (
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/scheduler/reserve"
)

// Tally is how sharing went for one partition, those below it not counted. Shares
// are dominant, of the whole cluster; sums are shares times seconds.
type Tally struct {
	Idle   float64       // free now, and kept for the task that waits first
	Idled  float64       // summed up
	Waited float64       // seconds in which a task waited first for room
	Got    float64       // what the partition held in those, summed up
	Fair   float64       // and what it was entitled to
	Heads  int           // tasks that started after they waited first and were promised a time
	Late   int           // those that started after that time
	Most   time.Duration // by how much, at most
}

// lateness is what a start may be behind its promise: a node that ends a task at
// its --time tells so a moment later.
const lateness = time.Second

// measured is how often what partitions are entitled to is found anew.
const measured = time.Second

// Tallies are the tallies of all partitions since a time. One engine counts, anybody
// may read.
type Tallies struct {
	window time.Duration
	fair   bool

	mu      sync.Mutex
	since   time.Time // of what was before
	turned  time.Time
	passed  time.Time // the last pass
	of      map[string]*tally
	settled time.Time // when the shares were found last
}

// tally is what is counted of a partition in this window and in the one before, and
// what holds since the last pass.
type tally struct {
	now, before Tally
	waits       bool
	got, fair   float64
}

// NewTallies makes tallies that forget what was more than two windows ago (zero:
// nothing), and with fair set look at what partitions are entitled to.
func NewTallies(window time.Duration, fair bool) *Tallies {
	return &Tallies{window: window, fair: fair, of: map[string]*tally{}}
}

// Of is the tally of a partition until now, and since when it counts; zero before
// the first pass.
func (t *Tallies) Of(path string, now time.Time) (sum Tally, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	x := t.of[path]
	if x == nil {
		return sum, t.since
	}
	a, b := x.before, x.now
	b.last(max(0, now.Sub(t.passed).Seconds()), x)
	return Tally{Idle: b.Idle, Idled: a.Idled + b.Idled, Waited: a.Waited + b.Waited, Got: a.Got + b.Got, Fair: a.Fair + b.Fair,
		Heads: a.Heads + b.Heads, Late: a.Late + b.Late, Most: max(a.Most, b.Most)}, t.since
}

// advance counts what held since the last pass for so many seconds.
func (t *Tallies) advance(now time.Time, seconds float64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turned.IsZero() {
		t.since, t.turned = now, now
	}
	t.passed = now
	for _, x := range t.of {
		x.now.last(seconds, x)
	}
	t.turn(now)
}

// turn begins a new window once the last one is over, also if nobody asked for long.
func (t *Tallies) turn(now time.Time) {
	if t.window == 0 || t.turned.IsZero() {
		return
	}
	past := now.Sub(t.turned)
	if past < t.window {
		return
	}
	forget := past >= 2*t.window
	if t.since, t.turned = t.turned, t.turned.Add(t.window); forget {
		t.since, t.turned = now, now
	}
	for path, x := range t.of {
		if x.before = x.now; forget {
			x.before = Tally{}
		}
		if x.now = (Tally{Idle: x.now.Idle}); !x.waits && x.before == (Tally{}) {
			delete(t.of, path)
		}
	}
}

// last counts what holds for so many seconds.
func (t *Tally) last(seconds float64, x *tally) {
	t.Idled += seconds * t.Idle
	if x.waits {
		t.Waited += seconds
		t.Got += seconds * x.got
		t.Fair += seconds * x.fair
	}
}

// at is the tally of a partition to be changed.
func (t *Tallies) at(path string) *tally {
	x := t.of[path]
	if x == nil {
		x = &tally{}
		t.of[path] = x
	}
	return x
}

// tally notes how things are from this pass on.
func (p *pass) tally() {
	t := p.e.tallies
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for path, x := range t.of {
		if p.e.heads[path] == nil {
			x.waits, x.now.Idle = false, 0
		}
	}
	again := t.fair && (t.settled.IsZero() || p.now.Before(t.settled) || p.now.Sub(t.settled) >= measured)
	for path, h := range p.e.heads {
		x := t.at(path)
		x.now.Idle = h.Idle()
		if again || t.fair && !x.waits {
			x.got, x.fair = p.round.Share(path), p.round.Fair(path)
		}
		x.waits = true
	}
	if again && len(p.e.heads) > 0 {
		t.settled = p.now
	}
}

// tallyStart counts a task that starts after it waited first.
func (p *pass) tallyStart(path string, h *reserve.Head) {
	t := p.e.tallies
	if t == nil || h.Promised.IsZero() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := &t.at(path).now
	x.Heads++
	if late := p.now.Sub(h.Promised); late > lateness {
		x.Late++
		x.Most = max(x.Most, late)
	}
}

// promised is when room comes that is kept for a partition's first task, as far as
// that is known.
func (p *pass) promised(path string) time.Time {
	if h := p.e.holds[path]; h != nil {
		return h.At
	}
	if q := p.e.quotas[path]; q != nil && !q.Blind {
		return q.At
	}
	return time.Time{}
}
