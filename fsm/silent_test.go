package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A node whose keeper does not answer gets no new work; its tasks continue, and it is
// an incident until the keeper answers.
func TestANodeWhoseKeeperHangs(t *testing.T) {
	w := newWorld(t, Newest, 2)
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
	w.place("web.0", 1)
	w.report("web.0", api.TaskRunning, "")
	hello := func(silent bool) *api.Node {
		h := testHello(64000)
		h.Resources.Mem, h.KeeperSilent = 64<<30, silent
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
		checkSums(t, w.View())
		return w.View().Node(nodeID(1))
	}
	n := hello(true)
	if w.open(api.IncidentKeeperHangs) != 1 || w.place("web.1", 1) || n.Schedulable() || len(n.Troubles()) != 1 || !strings.Contains(n.Troubles()[0].Text, "does not answer") {
		t.Errorf("%+v", n)
	}
	if task := w.View().Task("web.0"); task.State != api.TaskRunning || task.Desired != api.DesiredRun {
		t.Errorf("its task does not continue: %+v", task)
	}
	if n := hello(false); !n.Schedulable() || w.open(api.IncidentKeeperHangs) != 0 || !w.place("web.1", 1) {
		t.Errorf("awake: %+v", n)
	}
}
