package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// lender is a round in which any offer, or none, may be taken back, and which counts
// what is given back to it: that is how an offer ends, on trial, too.
type lender struct {
	Round
	lends bool
	ends  int
}

func (l *lender) MayRecall(string, string, api.Resources, api.Resources) bool { return l.lends }
func (l *lender) Refund(path string, r api.Resources)                         { l.ends++; l.Round.Refund(path, r) }

// besideOffers is a cluster of so many nodes on each of which one core is used and all
// else is on offer, one offer each, in which jobs of as many sizes wait that begin with
// that one.
func besideOffers(tb testing.TB, nodes, jobs int, least api.MilliCPU) *fsm.View {
	tb.Helper()
	s := bigCluster(tb, nodes)
	submit := func(n int, cpus api.MilliCPU) {
		spec := &api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", n-1), TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: cpus, Mem: 1 << 30}}}}
		spec.Normalize()
		do(tb, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	}
	submit(nodes, 1000)
	e := NewEngine(begin)
	e.Update(s.View(), nil, true)
	cmds, _ := e.Decide(t0)
	do(tb, s, cmds...)
	offers := &fsm.OfferMake{Meta: fsm.Meta{At: t0}}
	for n := range s.View().Nodes() {
		offers.Offers = append(offers.Offers, &api.Offer{ID: "o" + n.ID, Partition: api.DefaultPartition, NodeID: n.ID, Resources: s.View().Free(n.ID), Expires: t0.Add(time.Hour)})
	}
	do(tb, s, offers)
	for i := range jobs {
		submit(1, least+api.MilliCPU(i))
	}
	return s.View()
}

// What a pass costs beside offers follows from what it takes back, and from how many
// nodes are looked at for who is first, not from how many offers there are that do not
// help.
func TestOffersThatDoNotHelpCostLittle(t *testing.T) {
	for _, c := range []struct {
		name   string
		least  api.MilliCPU
		lends  bool
		placed int
	}{
		{"too small", 31_001, true, 0},
		{"kept from them", 10_000, false, 0},
		{"taken back", 10_000, true, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := besideOffers(t, 200, 50, c.least)
			var rounds []*lender
			e := NewEngine(func(v *fsm.View) Round {
				rounds = append(rounds, &lender{Round: begin(v), lends: c.lends})
				return rounds[len(rounds)-1]
			})
			e.Update(v, nil, true)
			cmds, _ := e.Decide(t0)
			placed, ends := 0, 0
			for _, cmd := range cmds {
				if p, ok := cmd.(*fsm.TaskPlace); ok {
					placed += len(p.Placements)
				}
			}
			for _, r := range rounds {
				ends += r.ends
			}
			if most := 4*placed + maxHoldNodes; placed != c.placed || ends > most {
				t.Errorf("%d tasks were placed, want %d, and offers ended %d times on trial and in earnest, at most %d", placed, c.placed, ends, most)
			}
		})
	}
}

// BenchmarkBesideOffers is a pass in which jobs of many sizes wait beside offers that
// help none of them.
func BenchmarkBesideOffers(b *testing.B) {
	for _, nodes := range []int{100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			v := besideOffers(b, nodes, 300, 31_001)
			e := NewEngine(func(v *fsm.View) Round { return &lender{Round: begin(v), lends: true} })
			for b.Loop() {
				e.Update(v, nil, true)
				if cmds, _ := e.Decide(t0); len(cmds) > 0 {
					b.Fatal("an offer helped")
				}
			}
		})
	}
}
