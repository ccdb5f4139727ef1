package api

import "slices"

// JobChange is what a job that waits shall ask for instead; nil stays as it is.
type JobChange struct {
	Time      *Duration `json:"time,omitempty"` // of a batch; 0 = without end
	Priority  *int      `json:"priority,omitempty"`
	Partition *string   `json:"partition,omitempty"`
	CPUs      *MilliCPU `json:"cpus,omitempty"`
	Mem       *Bytes    `json:"mem,omitempty"`
}

// Of is the spec of a job once it is changed, and what of that partitions filled in.
func (c JobChange) Of(j *Job) (*JobSpec, []Filled) {
	s := *j.Spec
	said := map[string]bool{"time": change(&s.Time, c.Time), "cpus": change(&s.CPUs, c.CPUs), "mem": change(&s.Mem, c.Mem)}
	change(&s.Priority, c.Priority)
	change(&s.Partition, c.Partition)
	return &s, slices.DeleteFunc(slices.Clone(j.Filled), func(f Filled) bool { return said[f.Field] })
}

func change[T any](to, by *T) bool {
	if by != nil {
		*to = *by
	}
	return by != nil
}
