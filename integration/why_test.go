package integration

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What why advises helps: each remedy, applied to a copy of the state with
// nothing else changed, has the task start in the next pass, or others are preempted
// for it; with one step less of it, knob by knob, it does not.
func TestWhatWhyAdvisesHelps(t *testing.T) {
	kinds := map[api.RemedyKind]int{}
	draw.Check(t, func(rt *rapid.T) {
		s := crowded(rt)
		if rapid.Bool().Draw(rt, "bounds") {
			s.bounds(rt)
		}
		if rapid.Bool().Draw(rt, "hold") {
			id := s.submit("x", batchOf("c", 1, 500, 1<<30))
			s.do(&fsm.JobHold{Meta: s.meta(), ID: id})
		}
		plan := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf}
		asked := 0
		for j := range s.View().LiveJobs() {
			if j.Counts.Pending == 0 || asked == 6 {
				continue
			}
			asked++
			why, err := plan.Explain(s.View(), j.ID)
			if err != nil {
				rt.Fatalf("%v", err)
			}
			for _, r := range why.Remedies {
				kinds[r.Kind]++
				if !s.helps(why.ID, r) {
					rt.Fatalf("%s of %+v: %q does not help; obstacles %v", why.ID, j.Spec.Request, r, why.Obstacles)
				}
				for _, less := range lesser(j.Spec, r) {
					if s.helps(why.ID, less) {
						rt.Fatalf("%s of %+v: %q is more than it takes: %q does", why.ID, j.Spec.Request, r, less)
					}
				}
			}
		}
	})
	for _, k := range []api.RemedyKind{api.RemedyTime, api.RemedyRequest, api.RemedyGang, api.RemedyPriority, api.RemedyLimit, api.RemedyGuarantee, api.RemedyResume, api.RemedyRelease, api.RemedyMaxRunning} {
		if kinds[k] == 0 {
			t.Errorf("nothing was ever advised of the kind %s: %v", k, kinds)
		}
	}
}

// crowded is a small cluster, at random, in which some work waits.
func crowded(rt *rapid.T) *shared {
	n := rapid.IntRange(1, 20).Draw(rt, "nodes")
	nodes := make([]api.Resources, n)
	for i := range nodes {
		nodes[i] = api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 20000, Last: 20001}}, Custom: map[string]api.Quantity{"licence": {Scalar: 2000}}}
	}
	s := newShared(rt, nodes)
	cpus := func(label string, most int) api.Amounts {
		return api.Amounts{CPUs: 500 * api.MilliCPU(rapid.IntRange(0, most).Draw(rt, label))}
	}
	s.partition(&api.Partition{Path: "a", Limit: cpus("limit", 8*n), Policy: rapid.SampledFrom([]api.Policy{api.PolicyFIFO, api.PolicyPriority}).Draw(rt, "policy")})
	s.partition(&api.Partition{Path: "a/b", Limit: cpus("limit below", 6)})
	s.partition(&api.Partition{Path: "c", Preempt: rapid.SampledFrom([]api.Preempt{api.PreemptKill, api.PreemptNever}).Draw(rt, "preempt")})
	for i := range rapid.IntRange(1, 12).Draw(rt, "jobs") {
		draw := func(label string, most int) int {
			return rapid.IntRange(0, most).Draw(rt, fmt.Sprintf("%s %d", label, i))
		}
		j := batchOf(rapid.SampledFrom([]string{"a", "a/b", "c"}).Draw(rt, "partition"), 1+draw("tasks", n), 500*api.MilliCPU(1+draw("cpus", 7)), api.Bytes(1+draw("mem", 7))<<30)
		j.Time, j.Priority = api.Duration(time.Duration(draw("time", 3))*time.Minute), draw("priority", 3)
		switch draw("more", 5) {
		case 0:
			j.Array, j.Gang = "", 1+draw("gang", n)
		case 1:
			j.Custom = map[string]api.Quantity{"licence": {Scalar: 1000 * int64(1+draw("licences", 1))}}
		case 2:
			j.Ports = []api.PortRequest{{Name: "http", Port: 20000}}
		case 3:
			j.Name = fmt.Sprintf("j%d", i)
			j.Affinity = []api.Affinity{{Job: fmt.Sprintf("j%d", draw("near", i)), Away: draw("away", 2) > 0}}
		}
		s.submit("x", j)
		if draw("settle", 2) > 0 {
			s.settle()
			s.now = s.now.Add(time.Second)
		}
		if i == 2 && draw("drain", 1) > 0 {
			s.do(&fsm.NodeDrain{Meta: s.meta(), ID: "id0", Drain: true})
		}
	}
	s.settle()
	return s
}

// helps reports whether a remedy, and nothing else, has the task start in the next
// pass.
func (s *shared) helps(task string, r api.Remedy) bool {
	s.t.Helper()
	t, f := s.View().Task(task), s.View().Fork()
	spec := *s.View().Job(t.Job).Spec
	ask := true
	switch r.Kind {
	case api.RemedyTime:
		spec.Time = r.Time
	case api.RemedyGang:
		spec.Gang = r.Gang
	case api.RemedyPriority:
		spec.Priority = r.Priority
	case api.RemedyRequest:
		for name, v := range r.Request.Each {
			switch name {
			case "cpus":
				spec.CPUs = api.MilliCPU(v)
			case "mem":
				spec.Mem = api.Bytes(v)
			default:
				spec.Custom = maps.Clone(spec.Custom)
				spec.Custom[name] = api.Quantity{Scalar: v}
			}
		}
	default:
		ask = false
	}
	if c, ok := r.Set(); ok && r.Job != "" {
		set, filled := c.Of(s.View().Job(t.Job))
		if _, err := f.Do(&fsm.JobSet{Meta: s.meta(), ID: r.Job, Spec: set, Filled: filled}); err != nil {
			s.t.Fatalf("%q is refused: %v", r, err)
		}
	} else if ask {
		f.Ask(t.Job, &spec)
	}
	if r.Kind == api.RemedyRelease {
		if _, err := f.Do(&fsm.JobHold{Meta: s.meta(), ID: r.Job, Release: true}); err != nil {
			return false
		}
	}
	for _, share := range r.Shares {
		p := *s.View().Partition(share.Partition)
		if r.Kind == api.RemedyLimit {
			p.Limit = share.Amounts
		} else {
			p.Guarantee = share.Amounts
		}
		if _, err := f.Do(&fsm.PartitionPut{Meta: s.meta(), Partition: &p}); err != nil {
			return false
		}
	}
	for _, p := range scheduler.Running(s.View(), r.Running) {
		if _, err := f.Do(&fsm.PartitionPut{Meta: s.meta(), Partition: p}); err != nil {
			return false
		}
	}
	if r.Kind == api.RemedyResume {
		if _, err := f.Do(&fsm.NodeDrain{Meta: s.meta(), ID: s.View().FindNode(r.Node).ID}); err != nil {
			return false
		}
	}
	// As the leader would, which has decided before.
	e := scheduler.NewEngine(roundOf)
	e.Update(s.View(), nil, true)
	e.Decide(s.now)
	e.Update(f.View(), f.Take(), false)
	cmds, _ := e.Decide(s.now)
	for _, c := range cmds {
		switch c := c.(type) {
		case *fsm.TaskPlace:
			if slices.ContainsFunc(c.Placements, func(p fsm.Placement) bool { return p.Job == t.Job && p.Index == t.Index }) {
				return true
			}
		case *fsm.TaskPreempt:
			if c.Cause == "for job "+t.Job+" of partition "+t.Partition {
				return true
			}
		}
	}
	return false
}

// lesser lists a remedy with one step less of each of its amounts.
func lesser(spec *api.JobSpec, r api.Remedy) (out []api.Remedy) {
	with := func(change func(r *api.Remedy)) {
		less := r
		less.Shares = slices.Clone(r.Shares)
		change(&less)
		out = append(out, less)
	}
	for k, v := range r.Request.Each {
		if step := map[string]int64{"mem": 1 << 20}[k]; v+max(step, 1) < api.AmountsOf(spec.Need()).Of(k) {
			with(func(r *api.Remedy) { r.Request = r.Request.With(k, v+max(step, 1)) })
		}
	}
	if r.Time > 0 && (spec.Time == 0 || r.Time+api.Duration(time.Second) < spec.Time) {
		with(func(r *api.Remedy) { r.Time += api.Duration(time.Second) })
	}
	if r.Gang > 0 && r.Gang+1 < spec.Gang {
		with(func(r *api.Remedy) { r.Gang++ })
	}
	if r.Priority > spec.Priority+1 {
		with(func(r *api.Remedy) { r.Priority-- })
	}
	for i, x := range r.Running {
		with(func(r *api.Remedy) {
			r.Running = slices.Clone(r.Running)
			r.Running[i].Most = x.Most - 1
		})
	}
	for i, share := range r.Shares {
		for k, v := range share.Amounts.Each {
			if v > 1 && (r.Kind != api.RemedyLimit || k == "cpus") {
				with(func(r *api.Remedy) { r.Shares[i].Amounts = r.Shares[i].Amounts.With(k, v-1) })
			}
		}
	}
	return out
}
