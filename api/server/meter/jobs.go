package meter

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	// keptFor is how long a job is told that has no task here any more, and at least how
	// long an attempt is remembered that looks do not find.
	keptFor = time.Hour
	// maxAttempts and maxReaders bound what is remembered. A node has fewer tasks; what
	// most readers may not see is the same to them, and they share a token.
	maxAttempts = 50_000
	maxReaders  = 50
)

// jobs adds up what the tasks of jobs use, from looks that may lack some of them, and may
// come later than newer ones: there are several scrapers, and a keeper may not answer.
type jobs struct {
	begun time.Duration // of the daemon, since the node booted

	mu            sync.Mutex
	used          map[string]*used // by job; "" are those beyond MaxJobs
	recent, older map[attempt]use  // how much of an attempt is in used; older ones are dropped at a turn
	turned        time.Time
	readers       map[string]*reader
	reads         uint64
}

type use struct{ cpu, throttled time.Duration }

type used struct {
	use
	seen time.Time // when it last had a task
}

// attempt tells those of a removed job from those of a new one of its name by when they began.
type attempt struct {
	task   string
	number int
	began  time.Duration
}

// reader is who reads metrics. Jobs come into its sight and leave it, so what they used
// is added to the others only while they are hidden: a counter must not fall.
type reader struct {
	told   map[string]use // by job, when it last read
	others use            // of hidden jobs
	hides  bool           // there was one
	read   uint64         // the higher, the later
}

func newJobs(begun time.Duration) *jobs {
	return &jobs{begun: begun, used: map[string]*used{}, recent: map[attempt]use{}, readers: map[string]*reader{}}
}

// Use adds what a look found of tasks of this node to their jobs. What an attempt used
// after the last look before its end is not seen, and neither is what one that is older
// than the daemon used before the first look at it.
func (m *Meter) Use(stats []api.TaskStats, job func(task string) string, at time.Time) {
	j := m.jobs
	j.mu.Lock()
	defer j.mu.Unlock()
	if at.Sub(j.turned) > keptFor || len(j.recent) >= maxAttempts {
		j.recent, j.older, j.turned = map[attempt]use{}, j.recent, at
	}
	for i := range stats {
		s := &stats[i]
		more := j.more(s)
		u := j.of(job(s.Task))
		u.seen = at
		u.cpu += more.cpu
		u.throttled += more.throttled
	}
	maps.DeleteFunc(j.used, func(job string, u *used) bool {
		if job == "" || at.Sub(u.seen) <= keptFor {
			return false
		}
		for _, r := range j.readers {
			delete(r.told, job)
		}
		return true
	})
}

// more is what an attempt used that is not counted yet.
func (j *jobs) more(s *api.TaskStats) use {
	key := attempt{s.Task, s.Attempt, s.Began}
	was, known := j.recent[key]
	if !known {
		was, known = j.older[key]
	}
	is := use{max(was.cpu, s.CPUTime), max(was.throttled, s.Throttled)}
	j.recent[key] = is
	if !known && s.Began < j.begun {
		return use{}
	}
	return use{is.cpu - was.cpu, is.throttled - was.throttled}
}

func (j *jobs) of(name string) *used {
	if j.used[name] == nil && len(j.used) >= MaxJobs {
		name = ""
	}
	u := j.used[name]
	if u == nil {
		u = &used{}
		j.used[name] = u
	}
	return u
}

// Used tells a scrape by who what jobs used; those that are not shown are counted together.
func (m *Meter) Used(s *Scrape, who string, shown func(job string) bool) {
	j := m.jobs
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.reader(who)
	for _, job := range slices.Sorted(maps.Keys(j.used)) {
		is, was := j.used[job].use, r.told[job]
		r.told[job] = is
		if job != "" && shown(job) {
			is.tell(s, job)
			continue
		}
		r.hides = true
		r.others.cpu += is.cpu - was.cpu
		r.others.throttled += is.throttled - was.throttled
	}
	if r.hides {
		r.others.tell(s, "")
	}
}

func (j *jobs) reader(who string) *reader {
	r := j.readers[who]
	if r == nil {
		if len(j.readers) >= maxReaders {
			var last string
			for name, other := range j.readers {
				if last == "" || other.read < j.readers[last].read {
					last = name
				}
			}
			delete(j.readers, last)
		}
		r = &reader{told: map[string]use{}}
		j.readers[who] = r
	}
	j.reads++
	r.read = j.reads
	return r
}

func (u use) tell(s *Scrape, job string) {
	const since = " on this node since its daemon started, as far as scrapes saw it."
	s.Counter("mesita_job_cpu_seconds_total", "CPU time that the tasks of a job used"+since, u.cpu.Seconds(), "job", job)
	s.Counter("mesita_job_cpu_throttled_seconds_total", "Time that a limit of CPU held up the tasks of a job"+since, u.throttled.Seconds(), "job", job)
}
