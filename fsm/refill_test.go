package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// What a voter had lost and was sent again is an incident that is over, once for
// each time, whatever else the node says meanwhile; below its level it is not
// written.
func TestAVoterTellsWhatItHadLost(t *testing.T) {
	for level := range Newest + 1 {
		w := newWorld(t, level, 2)
		all := func() (out []*api.Incident) {
			for n := range w.View().Incidents() {
				out = append(out, n)
			}
			return out
		}
		h := testHello(1000)
		h.Refill = api.NewRefill("its folder is an older copy", 340, nodeID(1))
		c := &NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h}
		if refused := w.View().Allows(c) != nil; refused != (level < 3) {
			t.Errorf("level %d: refused %v", level, refused)
		}
		if level < 3 {
			continue
		}
		for range 3 {
			w.do(c)
			c.Hello.DiskFull = !c.Hello.DiskFull
		}
		got := all()[len(all())-1]
		if got.Kind != api.IncidentRefilled || got.Over.IsZero() || got.Count > 1 || got.Message != h.Refill.Lost || !strings.Contains(got.Action, "340 log entries from "+w.View().Node(nodeID(1)).Name) {
			t.Errorf("%+v", got)
		}
		h.Refill = nil // the next start
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h})
		h.Refill = api.NewRefill(strings.Repeat("é", 1000), 1, "gone")
		if err := h.Validate(); err != nil {
			t.Error(err)
		}
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h})
		if got = all()[len(all())-1]; got.Kind != api.IncidentRefilled || got.Count != 2 || got.Over.IsZero() || !strings.Contains(got.Action, "1 log entry from the leader") {
			t.Errorf("again: %+v", got)
		}
	}
}
