package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// TestTheMarkOfAnAuditNeverGoesBack: a node whose audit is shorter than it said
// once is held against that, also by a program that tells nothing, and an incident
// says so until what it keeps is beyond the mark.
func TestTheMarkOfAnAuditNeverGoesBack(t *testing.T) {
	w := newWorld(t, Newest, 2)
	hello := func(m *api.AuditMark) *api.AuditMark {
		h := testHello(64000)
		h.Audit = m
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
		return w.View().Node(nodeID(1)).Audit
	}
	for i, c := range []struct {
		say          *api.AuditMark
		number       uint64
		hash, words  string
		openIncident int
	}{
		{&api.AuditMark{Number: 5, Hash: "e"}, 5, "e", "", 0},
		{nil, 5, "e", "", 0},
		{&api.AuditMark{Number: 3, Hash: "c"}, 5, "e", "its end is missing: it has no record after 3, and 5 was there", 1},
		{&api.AuditMark{Number: 4, Hash: "d", Trouble: "it cannot be written"}, 5, "e", "it cannot be written", 1},
		{&api.AuditMark{Number: 6, Hash: "f"}, 6, "f", "", 0},
		{&api.AuditMark{Number: 6, Hash: "f", Trouble: "record 2 is not the one that was there"}, 6, "f", "record 2", 1},
	} {
		got := hello(c.say)
		if got.Number != c.number || got.Hash != c.hash || !strings.HasPrefix(got.Trouble, c.words) || (got.Trouble == "") != (c.words == "") || w.open(api.IncidentAudit) != c.openIncident {
			t.Errorf("%d: %+v, %d incidents", i, got, w.open(api.IncidentAudit))
		}
	}
}
