package scheduler

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// Tally is how sharing went for one partition, those below it not counted. Shares
// are dominant, of the whole cluster; sums are shares times seconds.
type Tally struct {
	Idle   float64       // free now, and kept for the task that waits first
	Idled  float64       // summed up
	Waited float64       // seconds in which a task waited first for room
	Got    float64       // what the partition held in those, summed up
	Fair   float64       // and what it was entitled to
	Heads  int           // tasks that started after they were promised a time
	Late   int           // those that started later than that
	Most   time.Duration // by how much, at most
}

// A promise is the first time that was found for a task to start at, by ends that
// nodes see to. It is kept if the task starts by then, or so much later as those that
// are told to end then may take, and lateness for all that has to be told.
type promise struct {
	at    time.Time
	grace time.Duration
}

const lateness = time.Second

// place is one attempt of a task.
type place struct {
	job            string
	index, attempt int
}

// maxPromises bounds the promises of a partition that are remembered.
const maxPromises = 64

// measured is how often what partitions are entitled to is found anew at most.
const measured = time.Second

// maxGap bounds the windows that are gone through one by one.
const maxGap = 100

// TallyConfig is what tallies are to count.
type TallyConfig struct {
	Window time.Duration // what was more than two of it ago is forgotten; 0: nothing
	Fair   bool          // what partitions are entitled to
	Exact  bool          // a promise is broken by any start after its time, as what is told to end does at once
}

// Tallies are the tallies of all partitions since a time. One engine counts, anybody
// may read.
type Tallies struct {
	cfg      TallyConfig
	promises map[string]map[place]promise // by partition; of the engine alone
	found    time.Time                    // when shares were found last; of the engine alone

	mu     sync.Mutex
	begun  time.Time
	turned time.Time // when this window began
	passed time.Time // all is counted until then
	of     map[string]*tally
}

// tally is what is counted of a partition in this window and in the one before, and
// what holds since the last pass.
type tally struct {
	now, before Tally
	waits       bool
	got, fair   float64
}

// NewTallies makes tallies of nothing yet.
func NewTallies(cfg TallyConfig) *Tallies {
	return &Tallies{cfg: cfg, promises: map[string]map[place]promise{}, of: map[string]*tally{}}
}

// Of is the tally of a partition until now, and since when it counts; zero before
// the first pass.
func (t *Tallies) Of(path string, now time.Time) (sum Tally, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun.IsZero() {
		return sum, t.begun
	}
	t.count(now)
	since = t.begun
	if t.cfg.Window > 0 && t.turned.Add(-t.cfg.Window).After(since) {
		since = t.turned.Add(-t.cfg.Window)
	}
	if x := t.of[path]; x != nil {
		a, b := x.before, x.now
		sum = Tally{Idle: b.Idle, Idled: a.Idled + b.Idled, Waited: a.Waited + b.Waited, Got: a.Got + b.Got, Fair: a.Fair + b.Fair,
			Heads: a.Heads + b.Heads, Late: a.Late + b.Late, Most: max(a.Most, b.Most)}
	}
	return sum, since
}

// count counts what holds since the last pass until now, each window for itself.
func (t *Tallies) count(now time.Time) {
	if t.begun.IsZero() {
		t.begun, t.turned, t.passed = now, now, now
	}
	if w := t.cfg.Window; w > 0 {
		if now.Sub(t.turned) > maxGap*w { // a clock that jumped, rather
			t.passed, t.turned = now.Add(-3*w), now.Add(-3*w)
		}
		for now.Sub(t.turned) >= w {
			t.turned = t.turned.Add(w)
			t.until(t.turned)
			t.turn()
		}
	}
	t.until(now)
}

func (t *Tallies) until(at time.Time) {
	seconds := max(0, at.Sub(t.passed).Seconds()) // a clock may be set back
	t.passed = at
	for _, x := range t.of {
		x.now.Idled += seconds * x.now.Idle
		if x.waits {
			x.now.Waited += seconds
			x.now.Got += seconds * x.got
			x.now.Fair += seconds * x.fair
		}
	}
}

// turn begins a new window.
func (t *Tallies) turn() {
	for path, x := range t.of {
		x.before, x.now = x.now, Tally{Idle: x.now.Idle}
		if !x.waits && x.before == (Tally{}) {
			delete(t.of, path)
		}
	}
}

// rest notes that nothing waits from now on.
func (t *Tallies) rest(now time.Time) {
	if t == nil {
		return
	}
	clear(t.promises)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(now)
	for _, x := range t.of {
		x.waits, x.now.Idle = false, 0
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
	p.tallyPromises()
	heads := slices.Sorted(maps.Keys(p.e.heads))
	idle := p.keptIdle(heads)
	anew := t.cfg.Fair && len(heads) > 0 && (t.found.IsZero() || p.now.Before(t.found) || p.now.Sub(t.found) >= measured)
	if anew {
		t.found = p.now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(p.now)
	for path, x := range t.of {
		if p.e.heads[path] == nil {
			x.waits, x.now.Idle = false, 0
		}
	}
	for i, path := range heads {
		x := t.at(path)
		x.now.Idle = idle[i]
		if t.cfg.Fair {
			x.got = p.round.Share(path)
			if anew || !x.waits {
				x.fair = p.round.Fair(path)
			} else {
				p.again(t.found.Add(measured)) // after a burst
			}
		}
		x.waits = true
	}
}

// keptIdle is what is free for the sake of those who wait first, as dominant shares:
// nothing is counted twice, though several may wait for it below limits.
func (p *pass) keptIdle(heads []string) []float64 {
	out := make([]float64, len(heads))
	capacity := p.view.Capacity()
	var left api.Resources // on all nodes
	for i := range p.e.slots.Free {
		left = left.Add(onlySums(p.e.slots.Free[i]))
	}
	for i, path := range heads {
		kept := p.leftOf(p.e.holds[path]).Add(p.leftOf(p.e.more[path])).Add(p.leftBelow(p.e.quotas[path]))
		kept = api.Resources{CPUs: min(kept.CPUs, left.CPUs), Mem: min(kept.Mem, left.Mem), Disk: min(kept.Disk, left.Disk), GPUs: min(kept.GPUs, left.GPUs)}
		left = left.Minus(kept)
		out[i] = fsm.Dominant(kept, capacity)
	}
	return out
}

// onlySums is what of free room can be added up, none of it below zero.
func onlySums(r api.Resources) api.Resources {
	return api.Resources{CPUs: max(0, r.CPUs), Mem: max(0, r.Mem), Disk: max(0, r.Disk), GPUs: max(0, r.GPUs)}
}

// tallyPromises remembers what those who wait first are promised for the first time,
// and forgets what nobody waits for any more.
func (p *pass) tallyPromises() {
	all := p.e.tallies.promises
	for path, promises := range all {
		maps.DeleteFunc(promises, func(x place, _ promise) bool {
			l := p.e.jobs[x.job]
			return l == nil || l.entry == nil || l.part != path
		})
		if len(promises) == 0 {
			delete(all, path)
		}
	}
	for path, h := range p.e.heads {
		x := place{h.Job, h.Index, h.Attempt}
		made, ok := p.promised(path)
		if _, known := all[path][x]; !ok || known {
			continue
		}
		if all[path] == nil || len(all[path]) >= maxPromises {
			all[path] = map[place]promise{}
		}
		all[path][x] = made
	}
}

// promised is when room comes that is kept for a partition's first task, as far as
// nodes see to it.
func (p *pass) promised(path string) (made promise, ok bool) {
	var k *reserve.Kept
	if h := p.e.holds[path]; h != nil {
		k = &h.Kept
	} else if q := p.e.quotas[path]; q != nil && !q.Blind {
		k = &q.Kept
	}
	if k == nil || k.At.IsZero() || k.Hoped {
		return made, false
	}
	return promise{k.At, k.Grace}, true
}

// tallyStart counts a task that starts after it was promised a time.
func (p *pass) tallyStart(path string, c fsm.Placement) {
	t := p.e.tallies
	if t == nil {
		return
	}
	x := place{c.Job, c.Index, c.Attempt}
	made, ok := t.promises[path][x]
	if !ok {
		return
	}
	delete(t.promises[path], x)
	late, slack := p.now.Sub(made.at), made.grace+lateness
	if t.cfg.Exact {
		slack = 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.at(path).now
	n.Heads++
	if late > slack {
		n.Late++
		n.Most = max(n.Most, late)
	}
}
