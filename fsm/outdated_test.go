package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A node that went back to a program below the level of the cluster gets no new
// work; its tasks continue, and it is an incident until it is upgraded.
func TestAnOutdatedNode(t *testing.T) {
	w := newWorld(t, Newest, 2)
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
	w.place("web.0", 1)
	w.report("web.0", api.TaskRunning, "")
	hello := func(outdated bool) *api.Node {
		h := testHello(64000)
		h.Resources.Mem = 64 << 30
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h, Outdated: outdated})
		checkSums(t, w.View())
		return w.View().Node(nodeID(1))
	}
	if n := hello(true); n.Schedulable() || len(n.Troubles()) != 1 || w.open(api.IncidentOutdated) != 1 || w.place("web.1", 1) {
		t.Errorf("%+v", n)
	}
	if task := w.View().Task("web.0"); task.State != api.TaskRunning || task.Desired != api.DesiredRun {
		t.Errorf("its task does not continue: %+v", task)
	}
	if n := hello(false); !n.Schedulable() || w.open(api.IncidentOutdated) != 0 || !w.place("web.1", 1) {
		t.Errorf("upgraded: %+v", n)
	}
}

// Who is new is refused below the level of the cluster, as it joins if it says
// what it knows, or else with its first hello; a member never.
func TestOldProgramsAreNotAdmitted(t *testing.T) {
	for _, c := range []struct {
		level, knows Level
		join, hello  bool // taken
	}{{0, 0, true, true}, {1, 0, true, false}, {1, 3, true, true}, {2, 0, true, false}, {2, 1, false, false}, {2, 2, true, true}, {3, 0, false, false}, {3, 2, false, false}, {3, 3, true, true}} {
		w := newWorld(t, c.level, 2)
		w.do(&NodeJoin{Meta: w.at(), Token: "t1", Hash: "h", NodeID: nodeID(2), Name: "n2"})
		v := w.View()
		for what, got := range map[string]struct {
			err  error
			want bool
		}{
			"a join": {v.TakesJoin("new", c.knows), c.join}, "a first hello": {v.TakesHello(nodeID(2), c.knows), c.hello},
			"a member that joins again": {v.TakesJoin(nodeID(1), c.knows), true}, "a member's hello": {v.TakesHello(nodeID(1), c.knows), true},
			"a node that is not known": {v.TakesHello("new", c.knows), true},
		} {
			if (got.err == nil) != got.want {
				t.Errorf("%s at level %d of a program that knows %d: %v", what, c.level, c.knows, got.err)
			}
		}
	}
}
