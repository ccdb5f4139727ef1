package scheduler

import (
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// asking is a task of one cpu of a job that also asks for what is said.
func asking(name string, edit func(s *api.JobSpec)) *api.JobSpec {
	s := &api.JobSpec{Name: name, Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20}}}}
	edit(s)
	return s
}

func whyOf(t *testing.T, s *fsm.Store, j *api.Job) *api.Why {
	t.Helper()
	why, err := planner.Explain(s.View(), j.ID)
	if err != nil || len(why.Obstacles) == 0 {
		t.Fatalf("%+v, %v", why, err)
	}
	return why
}

// Who holds what is lacking is named, be it of the same partition, and be it a
// port, an amount, ranges or a set.
func TestWhyNamesTheHolder(t *testing.T) {
	for name, c := range map[string]struct {
		first, then func(s *api.JobSpec)
		holds       string
	}{
		"port": {func(s *api.JobSpec) { s.Ports = []api.PortRequest{{Name: "http", Port: 20005}} },
			func(s *api.JobSpec) { s.Ports = []api.PortRequest{{Name: "http", Port: 20005}} }, "port 20005"},
		"amount": {func(s *api.JobSpec) { s.Custom = map[string]api.Quantity{"gold": {Scalar: 1000}} },
			func(s *api.JobSpec) { s.Custom = map[string]api.Quantity{"gold": {Scalar: 1000}} }, "1 gold"},
		"set": {func(s *api.JobSpec) { s.Custom = map[string]api.Quantity{"colour": {Set: []string{"green", "red"}}} },
			func(s *api.JobSpec) { s.Custom = map[string]api.Quantity{"colour": {Set: []string{"red"}}} }, "colour {red}"},
	} {
		t.Run(name, func(t *testing.T) {
			s := cluster(t, 1)
			do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: "id0", Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 2000, Mem: 1 << 30,
				Ports: api.Ranges{{First: 20000, Last: 20009}}, Custom: map[string]api.Quantity{"gold": {Scalar: 1000}, "colour": {Set: []string{"blue", "green", "red"}}}}}})
			submit(t, s, asking("one", c.first))
			schedule(t, s, t0)
			why := whyOf(t, s, submit(t, s, asking("two", c.then)))
			if len(why.Holders) != 1 || why.Holders[0] != "job one of partition default holds "+c.holds+" there" {
				t.Errorf("holders %q, nodes %+v", why.Holders, why.Nodes)
			}
			if strings.Contains(strings.Join(why.Hints, " "), "guarantee") {
				t.Errorf("its own partition holds it: %q", why.Hints)
			}
		})
	}
}

func TestWhySaysWhichResourceAndHowMuch(t *testing.T) {
	s := cluster(t, 1)
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: "id0", Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 2000, Mem: 16<<30 + 4<<20,
		Custom: map[string]api.Quantity{"gold": {Set: []string{"green", "red"}}}}}})
	submit(t, s, asking("little", func(s *api.JobSpec) { s.Mem = 8 << 20 }))
	schedule(t, s, t0)
	why := whyOf(t, s, submit(t, s, asking("big", func(s *api.JobSpec) { s.Mem = 16 << 30 })))
	if got := why.Nodes[0]; got.Reason != "needs 16GiB mem, 16380MiB free" || got.Obstacle.Resource != "mem" {
		t.Errorf("%+v", got)
	}
	if want := "would start now on n0 with --mem 16380MiB: mesita job set big --mem 16380MiB"; !slices.Contains(why.Hints, want) {
		t.Errorf("%q", why.Hints)
	}
	why = whyOf(t, s, submit(t, s, asking("golden", func(s *api.JobSpec) { s.Custom = map[string]api.Quantity{"gold": {Scalar: 1000}} })))
	if got := why.Nodes[0].Reason; got != "needs gold=1, and its gold is a set: {green,red} free" {
		t.Error(got)
	}
}

// No node can ever take it only where that is so.
func TestWhySaysNeverOnlyIfNever(t *testing.T) {
	affine := func(job string, away bool) func(s *api.JobSpec) {
		return func(s *api.JobSpec) { s.Affinity = []api.Affinity{{Job: job, Away: away}} }
	}
	for name, c := range map[string]struct {
		edit  func(s *api.JobSpec)
		drain bool
		kind  api.ObstacleKind
		says  string
		hint  string
	}{
		"too large":     {func(s *api.JobSpec) { s.CPUs = 3000 }, false, api.ObstacleNever, "no node can ever take it", "with --cpus 1.9"},
		"away":          {affine("one", true), false, api.ObstacleAway, "it must not run near job one (--affinity), which has tasks wherever it could", "where job one has no tasks any more"},
		"near nothing":  {affine("nobody", false), false, api.ObstacleNoJob, "it must run near job nobody (--affinity), and there is no such job", "once there is one"},
		"only draining": {func(s *api.JobSpec) {}, true, api.ObstacleOut, "n0 is draining", "mesita node resume n0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := cluster(t, 1)
			submit(t, s, asking("one", func(s *api.JobSpec) {}))
			schedule(t, s, t0)
			do(t, s, &fsm.NodeDrain{Meta: fsm.Meta{At: t0}, ID: "id0", Drain: c.drain})
			why := whyOf(t, s, submit(t, s, asking("two", c.edit)))
			if why.Obstacles[0].Kind != c.kind || !strings.Contains(why.Summary, c.says) || !strings.Contains(strings.Join(why.Hints, "\n"), c.hint) {
				t.Errorf("%s: %q, hints %q", why.Obstacles[0].Kind, why.Summary, why.Hints)
			}
		})
	}
}

// A gang of four on three nodes and one that is away waits for that one.
func TestWhyOfAGangCountsTheNodeThatIsAway(t *testing.T) {
	s := cluster(t, 4)
	n := s.View().FindNode("n3")
	do(t, s, &fsm.NodeState{Meta: fsm.Meta{At: t0}, ID: n.ID, State: api.NodeUnreachable, Reason: "is silent", Since: n.Since})
	why := whyOf(t, s, submit(t, s, asking("four", func(s *api.JobSpec) { s.Gang, s.CPUs = 4, 1500 })))
	if why.Obstacles[0].Kind != api.ObstacleGang || !slices.Contains(why.Hints, "it starts by itself when n3 takes new tasks again") || !slices.Contains(why.Hints, "would start now with --gang 3, submitted anew: how many start together cannot be set") {
		t.Errorf("%q, hints %q", why.Summary, why.Hints)
	}
}

// A frozen task does not run.
func TestWhyOfAFrozenJob(t *testing.T) {
	s := cluster(t, 1)
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "p", Preempt: api.PreemptFreeze}})
	j := submit(t, s, asking("one", func(s *api.JobSpec) { s.Partition, s.Array = "p", "0-1" }))
	schedule(t, s, t0)
	report := func(i int, frozen bool) {
		do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: t0}, Statuses: []api.TaskStatus{{Task: api.TaskID(j.ID, i), Attempt: 1, NodeID: "id0", State: api.TaskRunning, Time: t0, Frozen: frozen}}})
	}
	report(0, false)
	report(1, false)
	for i, want := range []string{"one is running: 1 running, 1 frozen, 0 starting", "one is frozen: 0 running, 2 frozen, 0 starting"} {
		do(t, s, &fsm.TaskPreempt{Meta: fsm.Meta{At: t0}, Freeze: true, Victims: []fsm.Victim{{Job: j.ID, Index: i, Attempt: 1}}, Cause: "a test"})
		report(i, true)
		why, err := planner.Explain(s.View(), j.ID)
		if err != nil || !strings.HasPrefix(why.Summary, want) {
			t.Errorf("%+v, %v", why, err)
		}
	}
}
