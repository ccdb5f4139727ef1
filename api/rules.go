package api

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"
)

// TaskRules is what a partition says of one task of the jobs in it and in the
// partitions below. Of several partitions that name the same, the nearest counts.
type TaskRules struct {
	DefaultTime Duration `json:"defaultTime,omitempty"`
	DefaultCPUs MilliCPU `json:"defaultCpus,omitempty"`
	DefaultMem  Bytes    `json:"defaultMem,omitempty"`
	MaxTime     Duration `json:"maxTime,omitempty"`
	MaxCPUs     MilliCPU `json:"maxCpus,omitempty"`
	MaxMem      Bytes    `json:"maxMem,omitempty"`
	MaxWaiting  int      `json:"maxWaiting,omitempty"`
	MaxRunning  int      `json:"maxRunning,omitempty"`

	MaxRunningPerUser int `json:"maxRunningPerUser,omitempty"`
}

// Keys says what the fields are, in their order.
func (TaskRules) Keys() []Key {
	return []Key{
		key("defaultTime", "time of a batch that names none, here and below", "maxTime", "1h"),
		key("defaultCpus", "cpus of a job that names none, here and below", "0.1", "1"),
		key("defaultMem", "mem of a job that names none, here and below", "64MiB", "1GiB"),
		key("maxTime", "the most time of one attempt; services, which have no end, are refused", "no bound", "24h"),
		key("maxCpus", "the most cpus of one task", "no bound", "8"),
		key("maxMem", "the most mem of one task, its memLimit included", "no bound", "64GiB"),
		key("maxWaiting", "how many tasks may wait, here and below: a job beyond is refused", "no bound", "10000"),
		key("maxRunning", "how many tasks may be on nodes, here and below: the others wait; what runs already continues", "no bound", "100"),
		key("maxRunningPerUser", "how many of them may be of one user", "no bound", "20"),
	}
}

// Filled is a field of a job's spec that its user left out, and what it got from a
// partition.
type Filled struct {
	Extra
	Field     string `json:"field"`
	Partition string `json:"partition"`
}

// leastMem is what a process needs.
const leastMem Bytes = 1 << 20

// maxTaskCount bounds the rules that count tasks.
const maxTaskCount = 10_000_000

func (r *TaskRules) validate() error {
	for _, f := range []struct {
		name    string
		v, most int64
		text    string
	}{
		{"defaultTime", int64(r.DefaultTime), int64(r.MaxTime), r.DefaultTime.String() + " is above the most that one task may have, " + r.MaxTime.String()},
		{"defaultCpus", int64(r.DefaultCPUs), int64(r.MaxCPUs), r.DefaultCPUs.String() + " is above the most that one task may have, " + r.MaxCPUs.String()},
		{"defaultMem", int64(r.DefaultMem), int64(r.MaxMem), r.DefaultMem.String() + " is above the most that one task may have, " + r.MaxMem.String()},
		{"maxTime", int64(r.MaxTime), 0, ""},
		{"maxCpus", int64(r.MaxCPUs), maxCPUs * 1000, r.MaxCPUs.String() + " is more than mesita counts"},
		{"maxMem", int64(r.MaxMem), maxBytes, r.MaxMem.String() + " is more than mesita counts"},
		{"maxWaiting", int64(r.MaxWaiting), maxTaskCount, fmt.Sprintf("%d is more than %d", r.MaxWaiting, maxTaskCount)},
		{"maxRunning", int64(r.MaxRunning), maxTaskCount, fmt.Sprintf("%d is more than %d", r.MaxRunning, maxTaskCount)},
		{"maxRunningPerUser", int64(r.MaxRunningPerUser), maxTaskCount, fmt.Sprintf("%d is more than %d", r.MaxRunningPerUser, maxTaskCount)},
	} {
		switch {
		case f.v < 0:
			return FieldErrorf(f.name, "is negative: leave it out for none")
		case f.most > 0 && f.v > f.most:
			return FieldErrorf(f.name, "%s: lower it", f.text)
		}
	}
	for _, f := range []struct {
		name string
		v    Bytes
	}{{"defaultMem", r.DefaultMem}, {"maxMem", r.MaxMem}} {
		if f.v > 0 && f.v < leastMem {
			return FieldErrorf(f.name, "%s is less than a process needs: give %s or more", f.v.Exact(), leastMem)
		}
	}
	return nil
}

// leastMaxTime is what a task needs to begin with anything.
const leastMaxTime = Duration(time.Second)

// CheckRules refuses rules by which nothing would ever run in the partition, on the nodes
// that there are or below its own limit. Validate does not, as it is to say the same of what
// was asked for long ago. What old, unless nil, has the same was right when it was asked for,
// and keeps nobody from changing something else.
func (p *Partition) CheckRules(old *Partition, nodes iter.Seq[*Node]) error {
	if old == nil {
		old = new(Partition)
	}
	for _, f := range []struct {
		name   string
		d, old Duration
	}{{"maxTime", p.MaxTime, old.MaxTime}, {"defaultTime", p.DefaultTime, old.DefaultTime}} {
		if f.d > 0 && f.d < leastMaxTime && f.d != f.old {
			return FieldErrorf(f.name, "%s is over before a task has begun: give %s or more, or leave it out", f.d, leastMaxTime)
		}
	}
	var most Resources
	for n := range nodes {
		if n.State != NodeGone && !n.VoterOnly {
			most.CPUs, most.Mem = max(most.CPUs, n.Resources.CPUs), max(most.Mem, n.Resources.Mem)
		}
	}
	for _, f := range []struct {
		name, amount string
		v, old, node int64
	}{
		{"defaultCpus", "cpus", int64(p.DefaultCPUs), int64(old.DefaultCPUs), int64(most.CPUs)},
		{"defaultMem", "mem", int64(p.DefaultMem), int64(old.DefaultMem), int64(most.Mem)},
	} {
		limit := p.Limit.Of(f.amount)
		switch same := f.v == f.old; {
		case limit > 0 && f.v > limit && !(same && limit == old.Limit.Of(f.amount)):
			return FieldErrorf(f.name, "%s is above the partition's limit of %s, so no job that names none would ever run: lower it, or raise the limit", FormatAmount(f.amount, f.v), FormatAmount(f.amount, limit))
		case f.node > 0 && f.v > f.node && !same:
			return FieldErrorf(f.name, "%s is more than the largest node has, %s, so no job that names none would ever run: lower it, or add a larger node first", FormatAmount(f.amount, f.v), FormatAmount(f.amount, f.node))
		}
	}
	return nil
}

// nearest is what the first of the partitions says that says something, and where.
func nearest[T comparable](chain []*Partition, of func(*TaskRules) T) (v T, path string) {
	var none T
	for _, p := range chain {
		if v := of(&p.TaskRules); v != none {
			return v, p.Path
		}
	}
	return none, ""
}

// Fill gives a spec that is not normalized what it leaves out and its partition, or
// the nearest one above, names. The chain is those, the nearest first. Of a job that
// is there, like is what it has: what its user left out then as now stays.
func (s *JobSpec) Fill(chain []*Partition, like *Job) (filled []Filled) {
	var had []Filled
	if like != nil && like.Spec.Partition == chain[0].Path {
		had = like.Filled
	} else {
		like = nil
	}
	fill(s, like, had, &filled, rule[MilliCPU]{"cpus", func(s *JobSpec) *MilliCPU { return &s.CPUs }, DefaultCPUs}, chain,
		func(r *TaskRules) MilliCPU { return r.DefaultCPUs }, func(r *TaskRules) MilliCPU { return r.MaxCPUs })
	fill(s, like, had, &filled, rule[Bytes]{"mem", func(s *JobSpec) *Bytes { return &s.Mem }, DefaultMem}, chain,
		func(r *TaskRules) Bytes { return r.DefaultMem }, func(r *TaskRules) Bytes { return r.MaxMem })
	if s.Kind == KindBatch {
		fill(s, like, had, &filled, rule[Duration]{"time", func(s *JobSpec) *Duration { return &s.Time }, 0}, chain,
			func(r *TaskRules) Duration { return r.DefaultTime }, func(r *TaskRules) Duration { return r.MaxTime })
	}
	return filled
}

// Complete fills a spec in: by Fill, then with what holds everywhere. It is called
// once, where a spec enters. An empty chain is of a partition that is not there.
func (s *JobSpec) Complete(chain []*Partition, like *Job) (filled []Filled) {
	if len(chain) > 0 {
		filled = s.Fill(chain, like)
	}
	s.Normalize()
	return filled
}

// rule is a field that partitions have rules for, and what it is without any.
type rule[T cmp.Ordered] struct {
	field string
	at    func(*JobSpec) *T
	plain T
}

// fill is Fill for one field, of which partitions name a default and the most.
func fill[T cmp.Ordered](s *JobSpec, like *Job, had []Filled, out *[]Filled, r rule[T], chain []*Partition, usual, most func(*TaskRules) T) {
	var none T
	if *r.at(s) != none {
		return
	}
	if i := slices.IndexFunc(had, func(f Filled) bool { return f.Field == r.field }); i >= 0 {
		*r.at(s) = *r.at(like.Spec)
		*out = append(*out, had[i])
		return
	}
	if like != nil && *r.at(like.Spec) == r.plain {
		*r.at(s) = r.plain
		return
	}
	v, path := nearest(chain, usual)
	v = cmp.Or(v, r.plain)
	if m, at := nearest(chain, most); m != none && (v == none || v > m) {
		v, path = m, at
	}
	if path != "" {
		*r.at(s) = v
		*out = append(*out, Filled{Field: r.field, Partition: path})
	}
}

// Within refuses a spec that asks more for one task than its partition, or the
// nearest one above that says, lets it have. The chain is those, the nearest first.
// An old one is of a job that is there and continues: what it has has been let in.
func (s *JobSpec) Within(chain []*Partition, old *JobSpec) error {
	beyond := func(field, flag, asked, most, path string) error {
		return &Error{Code: CodeDoesNotFit, Field: field, Message: fmt.Sprintf("%s is more than partition %s lets one task have, %s: ask for less, or have an admin raise it: mesita partition set %s --%s %s",
			asked, path, most, path, flag, asked)}
	}
	if most, path := nearest(chain, func(r *TaskRules) MilliCPU { return r.MaxCPUs }); most > 0 && s.CPUs > most && (old == nil || s.CPUs > old.CPUs) {
		return beyond("cpus", "max-cpus", s.CPUs.String(), most.String(), path)
	}
	if most, path := nearest(chain, func(r *TaskRules) Bytes { return r.MaxMem }); most > 0 && max(s.Mem, s.MemLimit) > most && (old == nil || max(s.Mem, s.MemLimit) > max(old.Mem, old.MemLimit)) {
		field := "mem"
		if s.MemLimit > s.Mem {
			field = "memLimit"
		}
		return beyond(field, "max-mem", max(s.Mem, s.MemLimit).Exact(), most.Exact(), path)
	}
	most, path := nearest(chain, func(r *TaskRules) Duration { return r.MaxTime })
	switch {
	case most == 0 || old != nil && s.Time == old.Time:
		return nil
	case s.Kind == KindService:
		return &Error{Code: CodeDoesNotFit, Field: "partition", Message: fmt.Sprintf("%s lets a task run for %s at most, and a service has no end: use another partition, or have an admin lift it: mesita partition set %s --max-time none", path, most, path)}
	case s.Time == 0:
		return &Error{Code: CodeDoesNotFit, Field: "time", Message: fmt.Sprintf("is missing: partition %s lets one task run for %s at most: give that or less", path, most)}
	case s.Time > most:
		return beyond("time", "max-time", s.Time.String(), most.String(), path)
	}
	return nil
}

// Raises is a rule by which a changed partition lets one task have more than the
// nearest of those above it that says, and which that is; "" if there is none. The
// chain is those above it, the nearest first.
func (r *TaskRules) Raises(old *Partition, above []*Partition) (field, path string) {
	if most, at := nearest(above, func(r *TaskRules) Duration { return r.MaxTime }); most > 0 && r.MaxTime > most && r.MaxTime != old.MaxTime {
		return "maxTime", at
	}
	if most, at := nearest(above, func(r *TaskRules) MilliCPU { return r.MaxCPUs }); most > 0 && r.MaxCPUs > most && r.MaxCPUs != old.MaxCPUs {
		return "maxCpus", at
	}
	if most, at := nearest(above, func(r *TaskRules) Bytes { return r.MaxMem }); most > 0 && r.MaxMem > most && r.MaxMem != old.MaxMem {
		return "maxMem", at
	}
	return "", ""
}
