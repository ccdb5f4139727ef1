package api

import (
	"reflect"
	"testing"
)

func ruled(path string, r TaskRules) *Partition { return &Partition{Path: path, TaskRules: r} }

// What a job leaves out comes from the nearest partition that names it, never more
// than the most that one task may have; what its user says stays, and so does, of a
// job that is there, what was left out before.
func TestFill(t *testing.T) {
	top := ruled("ml", TaskRules{DefaultCPUs: 4000, DefaultMem: 1 << 30, MaxTime: 60})
	low := ruled("ml/train", TaskRules{MaxCPUs: 2000, DefaultMem: 2 << 30})
	chain := []*Partition{low, top}
	for name, c := range map[string]struct {
		spec, want JobSpec
		like       *Job
		filled     []Filled
	}{
		"nothing said": {
			spec:   JobSpec{Kind: KindBatch},
			want:   JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 2000, Mem: 2 << 30}}, Time: 60}},
			filled: []Filled{{Field: "cpus", Partition: "ml/train"}, {Field: "mem", Partition: "ml/train"}, {Field: "time", Partition: "ml"}},
		},
		"all said": {
			spec: JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 1, Mem: 2}}, Time: 3}},
			want: JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 1, Mem: 2}}, Time: 3}},
		},
		"a service has no time": {
			spec:   JobSpec{Kind: KindService, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 1}}}},
			want:   JobSpec{Kind: KindService, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 1, Mem: 2 << 30}}}},
			filled: []Filled{{Field: "mem", Partition: "ml/train"}},
		},
		"left out again": {
			spec: JobSpec{Kind: KindService},
			like: &Job{Spec: &JobSpec{Partition: "ml/train", TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 500, Mem: DefaultMem}}}},
				Filled: []Filled{{Field: "cpus", Partition: "ml"}}},
			want:   JobSpec{Kind: KindService, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 500, Mem: DefaultMem}}}},
			filled: []Filled{{Field: "cpus", Partition: "ml"}},
		},
		"moved meanwhile": {
			spec:   JobSpec{Kind: KindService},
			like:   &Job{Spec: &JobSpec{Partition: "other", TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 500, Mem: DefaultMem}}}}},
			want:   JobSpec{Kind: KindService, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 2000, Mem: 2 << 30}}}},
			filled: []Filled{{Field: "cpus", Partition: "ml/train"}, {Field: "mem", Partition: "ml/train"}},
		},
	} {
		got := c.spec
		if filled := got.Fill(chain, c.like); !reflect.DeepEqual(filled, c.filled) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, by %v, want\n%+v, by %v", name, got, filled, c.want, c.filled)
		}
	}
}

// The nearest partition that names a most binds; the error names the field, the
// partition, the most and what lifts it. What a job that continues has is let be.
func TestWithin(t *testing.T) {
	chain := []*Partition{ruled("ml/train", TaskRules{MaxCPUs: 8000}), ruled("ml", TaskRules{MaxCPUs: 2000, MaxMem: 1 << 30, MaxTime: Duration(3600e9)})}
	batch := func(cpus MilliCPU, mem, limit Bytes, time Duration) *JobSpec {
		return &JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: cpus, Mem: mem, MemLimit: limit}}, Time: time}}
	}
	service := &JobSpec{Kind: KindService, TaskSpec: TaskSpec{Placing: Placing{Request: Request{CPUs: 1}}}}
	for name, c := range map[string]struct {
		spec, old  *JobSpec
		field, why string
	}{
		"all of it":          {spec: batch(8000, 1<<30, 1<<30, Duration(3600e9))},
		"too many cpus":      {spec: batch(8001, 1, 0, 1), field: "cpus", why: "8.001 is more than partition ml/train lets one task have, 8: ask for less, or have an admin raise it: mesita partition set ml/train --max-cpus 8.001"},
		"too much mem":       {spec: batch(1, 2<<30, 0, 1), field: "mem", why: "2GiB is more than partition ml lets one task have, 1GiB: ask for less, or have an admin raise it: mesita partition set ml --max-mem 2GiB"},
		"too high a limit":   {spec: batch(1, 1, 2<<30, 1), field: "memLimit", why: "2GiB is more than partition ml lets one task have, 1GiB: ask for less, or have an admin raise it: mesita partition set ml --max-mem 2GiB"},
		"too long":           {spec: batch(1, 1, 0, Duration(7200e9)), field: "time", why: "2h0m0s is more than partition ml lets one task have, 1h0m0s: ask for less, or have an admin raise it: mesita partition set ml --max-time 2h0m0s"},
		"no time":            {spec: batch(1, 1, 0, 0), field: "time", why: "is missing: partition ml lets one task run for 1h0m0s at most: give that or less"},
		"a service":          {spec: service, field: "partition", why: "ml lets a task run for 1h0m0s at most, and a service has no end: use another partition, or have an admin lift it: mesita partition set ml --max-time none"},
		"one that was there": {spec: service, old: service},
		"as many as before":  {spec: batch(9000, 1, 0, 1), old: batch(9000, 1, 0, 1)},
		"more than before":   {spec: batch(9001, 1, 0, 1), old: batch(9000, 1, 0, 1), field: "cpus", why: "9.001 is more than partition ml/train lets one task have, 8: ask for less, or have an admin raise it: mesita partition set ml/train --max-cpus 9.001"},
	} {
		err := c.spec.Within(chain, c.old)
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e, ok := err.(*Error); !ok || e.Code != CodeDoesNotFit || e.Field != c.field || e.Message != c.why {
			t.Errorf("%s: %v", name, err)
		}
	}
}
