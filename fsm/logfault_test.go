package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A voter that cannot write its log is one incident that names it and the cause,
// however often that is another, and over once it can; it gets work like any other,
// as its tasks need no log. Below the level it does not say so.
func TestAVoterThatCannotWriteItsLog(t *testing.T) {
	w := newWorld(t, Newest, 2)
	hello := func(why string) *api.Node {
		h := testHello(64000)
		h.Resources.Mem, h.LogFault = 64<<30, why
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
		return w.View().Node(nodeID(1))
	}
	n := hello("the disk is full")
	if w.open(api.IncidentLogBroken) != 1 || !n.Schedulable() || len(n.Troubles()) != 1 || !strings.Contains(n.Troubles()[0].Text, "the disk is full") {
		t.Errorf("%+v", n)
	}
	for i := range w.View().Incidents() {
		if i.Node != n.Name || !strings.Contains(i.Message, "the disk is full") {
			t.Errorf("%+v", i)
		}
	}
	if hello("input/output error"); w.open(api.IncidentLogBroken) != 1 {
		t.Error("another cause meanwhile is another incident")
	}
	if n := hello(""); w.open(api.IncidentLogBroken) != 0 || len(n.Troubles()) != 0 {
		t.Errorf("afterwards: %+v", n)
	}
	old := newWorld(t, features[LogFaults].level-1, 1)
	h := testHello(64000)
	h.LogFault = "x"
	if err := old.View().Allows(&NodeHello{Meta: old.at(), ID: nodeID(1), Hello: h}); err == nil {
		t.Error("a voter of before would drop it")
	}
}
