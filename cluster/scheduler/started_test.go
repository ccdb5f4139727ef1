package scheduler

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What a pass starts is there for every rule of the same pass.
func TestAPassSeesWhatItStarts(t *testing.T) {
	part := func(path string) *fsm.PartitionPut {
		return &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: path}}
	}
	job := func(name, partition string, cpus api.MilliCPU, lasts time.Duration, near ...api.Affinity) *api.JobSpec {
		return &api.JobSpec{Name: name, Kind: api.KindBatch, Partition: partition, TaskSpec: api.TaskSpec{Time: api.Duration(lasts), Placing: api.Placing{Affinity: near, Request: api.Request{CPUs: cpus, Mem: 1 << 20}}}}
	}
	away, with := api.Affinity{Job: "a", Away: true}, api.Affinity{Job: "a"}
	for name, c := range map[string]struct {
		nodes int
		parts []*fsm.PartitionPut
		jobs  []*api.JobSpec
		start []bool
	}{
		"none is near one that it must not be near":      {1, nil, []*api.JobSpec{job("a", "", 100, 0), job("b", "", 100, 0, away)}, []bool{true, false}},
		"but on another node":                            {2, nil, []*api.JobSpec{job("a", "", 100, 0), job("b", "", 100, 0, away)}, []bool{true, true}},
		"also from another partition":                    {1, []*fsm.PartitionPut{part("p")}, []*api.JobSpec{job("a", "", 100, 0), job("b", "p", 100, 0, away)}, []bool{true, false}},
		"and one is where it wants to be near":           {2, nil, []*api.JobSpec{job("a", "", 100, 0), job("b", "", 100, 0, with)}, []bool{true, true}},
		"none passes a first one that waits for it":      {1, nil, []*api.JobSpec{job("a", "", 1000, time.Minute), job("wide", "", 2000, time.Minute), job("long", "", 1000, time.Hour)}, []bool{true, false, false}},
		"but who has ended by then does":                 {1, nil, []*api.JobSpec{job("a", "", 1000, time.Minute), job("wide", "", 2000, time.Minute), job("short", "", 1000, time.Minute)}, []bool{true, false, true}},
		"and nobody if nobody knows when the first ends": {1, nil, []*api.JobSpec{job("a", "", 1000, 0), job("wide", "", 2000, time.Minute), job("short", "", 1000, time.Minute)}, []bool{true, false, false}},
	} {
		s := cluster(t, c.nodes)
		for _, p := range c.parts {
			do(t, s, p)
		}
		ids := map[string]string{}
		for i, spec := range c.jobs {
			for k := range spec.Affinity {
				spec.Affinity[k].Job = ids["a"]
			}
			ids[spec.Name] = submit(t, s, spec).ID
			c.jobs[i] = spec
		}
		schedule(t, s, t0)
		for i, spec := range c.jobs {
			if got := s.View().Job(ids[spec.Name]).Counts.Starting == 1; got != c.start[i] {
				t.Errorf("%s: %s starts: %v", name, spec.Name, got)
			}
		}
	}
}
