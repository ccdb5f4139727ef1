package offer

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What nobody takes is not asked about again, until somebody may take it.
func TestWhatNobodyTakesIsOfferedOnceSomebodyMay(t *testing.T) {
	for name, change := range map[string]func(b *bench, o *api.Offer){
		"in time":               func(b *bench, _ *api.Offer) { b.now = b.now.Add(time.Hour) },
		"asked to see it again": func(b *bench, _ *api.Offer) { b.desk.Revive("a", nil) },
		"another one comes":     func(b *bench, _ *api.Offer) { b.connect("c", api.DefaultPartition) },
		"taken back":            func(b *bench, _ *api.Offer) { b.takeBack() },
		"refused no more": func(b *bench, o *api.Offer) {
			b.desk.Refuse("b", o.Partition, o.NodeID, o.Resources, api.Resources{}, 0, false)
		},
		"there is more":           func(b *bench, _ *api.Offer) { b.held = nil },
		"the node has become fit": func(b *bench, _ *api.Offer) { b.hello(api.NodeHello{Attrs: map[string]string{"zone": "x"}}) },
		"the partition has become": func(b *bench, _ *api.Offer) {
			b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "ml", Weight: 1000}})
		},
	} {
		b := newBench(t, 1)
		b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "ml", Weight: 1000, Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "x"}}}})
		b.connect("a", api.DefaultPartition)
		b.connect("b", api.DefaultPartition)
		b.connect("d", "ml")
		b.held = map[string]api.Resources{"id0": {CPUs: 1000}}
		var last *api.Offer
		for range 2 {
			out, _ := b.pass()
			last = out[0]
			b.decline(time.Hour, out...)
		}
		clear(b.desk.calms) // which is another reason to wait
		for range 2 {
			if out, next := b.pass(); len(out) > 0 || !next.Equal(t0.Add(time.Hour)) || b.desk.nobody["id0"] == nil {
				t.Fatalf("%s: offers %v of what all declined, and looks again at %v", name, owners(out), next)
			}
		}
		change(b, last)
		clear(b.desk.calms)
		if out, _ := b.pass(); len(out) != 1 {
			t.Errorf("%s: it is not offered", name)
		}
	}
}

// Who connects while a pass begins is asked in it, and not remembered as one of those who
// took nothing.
func TestWhoConnectsDuringAPassIsOfferedWhatNobodyTook(t *testing.T) {
	b := newBench(t, 1)
	b.connect("a", api.DefaultPartition)
	out, _ := b.pass()
	b.decline(time.Hour, out...)
	b.left = func() {
		b.left = func() {}
		b.connect("b", api.DefaultPartition)
	}
	first, _ := b.pass()
	second, _ := b.pass()
	if owners(append(first, second...))["b"] != 1 {
		t.Errorf("it is offered %v, and then %v", owners(first), owners(second))
	}
}

// hello has the first node say something else of itself.
func (b *bench) hello(h api.NodeHello) {
	b.t.Helper()
	h.Addr, h.Level = "x:1", int(fsm.Newest)
	if h.Resources.CPUs == 0 {
		h.Resources = b.store.View().Node("id0").Resources
	}
	b.do(&fsm.NodeHello{Meta: b.meta(), ID: "id0", Hello: h})
}
