package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A node that is flooded names who does it in one incident, which is over with the
// flood; it gets work like any other. Below level 4 it does not say so.
func TestANodeThatIsFlooded(t *testing.T) {
	w := newWorld(t, Newest, 2)
	hello := func(who string) *api.Node {
		h := testHello(64000)
		if h.Resources.Mem = 64 << 30; who != "" {
			h.Flood = &api.Flood{Who: who, Of: "connections"}
		}
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
		return w.View().Node(nodeID(1))
	}
	n := hello("10.0.0.7")
	if w.open(api.IncidentFlooded) != 1 || !n.Schedulable() || len(n.Troubles()) != 1 || !strings.Contains(n.Troubles()[0].Text, "10.0.0.7 floods it: it wants more connections") {
		t.Errorf("%+v", n)
	}
	for i := range w.View().Incidents() {
		if !strings.Contains(i.Message, "10.0.0.7") {
			t.Errorf("%+v", i)
		}
	}
	if hello("10.0.0.8"); w.open(api.IncidentFlooded) != 1 {
		t.Error("another flood meanwhile is another incident")
	}
	if n := hello(""); w.open(api.IncidentFlooded) != 0 || len(n.Troubles()) != 0 {
		t.Errorf("afterwards: %+v", n)
	}
	old := newWorld(t, 3, 1)
	h := testHello(64000)
	h.Flood = &api.Flood{Who: "x", Of: "y"}
	if err := old.View().Allows(&NodeHello{Meta: old.at(), ID: nodeID(1), Hello: h}); err == nil {
		t.Error("a voter of level 3 would drop it")
	}
}
