package api

import (
	"maps"
	"slices"
)

// JobChange is what a job that waits shall ask for instead; nil stays as it is.
type JobChange struct {
	Time      *Duration           `json:"time,omitempty"` // of a batch; 0 = without end
	Priority  *int                `json:"priority,omitempty"`
	Partition *string             `json:"partition,omitempty"`
	CPUs      *MilliCPU           `json:"cpus,omitempty"`
	Mem       *Bytes              `json:"mem,omitempty"`
	MemLimit  *Bytes              `json:"memLimit,omitempty"` // 0 = mem
	Disk      *Bytes              `json:"disk,omitempty"`
	GPUs      *int64              `json:"gpus,omitempty"`
	Custom    map[string]Quantity `json:"custom,omitempty"` // those that are named; the others stay
}

// IsZero reports whether nothing is to change.
func (c *JobChange) IsZero() bool {
	return c.Time == nil && c.Priority == nil && c.Partition == nil && c.CPUs == nil && c.Mem == nil && c.MemLimit == nil && c.Disk == nil && c.GPUs == nil && len(c.Custom) == 0
}

// Of is the spec of a job once it is changed, and what of that partitions filled in.
func (c JobChange) Of(j *Job) (*JobSpec, []Filled) {
	s := *j.Spec
	said := map[string]bool{"time": change(&s.Time, c.Time), "cpus": change(&s.CPUs, c.CPUs), "mem": change(&s.Mem, c.Mem)}
	change(&s.Priority, c.Priority)
	change(&s.Partition, c.Partition)
	change(&s.MemLimit, c.MemLimit)
	change(&s.Disk, c.Disk)
	change(&s.GPUs, c.GPUs)
	if len(c.Custom) > 0 {
		s.Custom = maps.Clone(s.Custom) // other versions have it
		if s.Custom == nil {
			s.Custom = map[string]Quantity{}
		}
		maps.Copy(s.Custom, c.Custom)
	}
	return &s, slices.DeleteFunc(slices.Clone(j.Filled), func(f Filled) bool { return said[f.Field] })
}

func change[T any](to, by *T) bool {
	if by != nil {
		*to = *by
	}
	return by != nil
}

// RestartOnHold is why a task is not restarted by hand whose job is on hold: it would
// end, and not start.
func RestartOnHold(job, task string) error {
	return Errorf(CodeConflict, "job %q is on hold, and nothing of it starts: `mesita job release %s` before task %s is restarted", job, job, task)
}
