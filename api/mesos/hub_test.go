package mesos

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// An offer that a framework answers is told to it no more, whether this leader told it of
// the offer or an earlier one did, until the answer is known to have come to nothing.
func TestAnAnsweredOfferIsNotTold(t *testing.T) {
	for _, told := range []bool{false, true} {
		store := fsm.NewStore(nil)
		do := func(c fsm.Command) {
			t.Helper()
			if _, err := store.Do(context.Background(), c); err != nil {
				t.Fatalf("%T: %v", c, err)
			}
		}
		room := api.Resources{CPUs: 1000, Mem: 1 << 30}
		meta := fsm.Meta{At: testTime}
		do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak", Resources: room, Level: int(fsm.Newest)}})
		h := newHub(Config{Store: store, Cluster: solo{}, Now: func() time.Time { return testTime }, Forgets: func() bool { return true }, Log: slog.New(slog.DiscardHandler), NodeName: "oak"}, &desk{})
		s := newSession("f", wire.JSON, &h.queued)
		if err := h.enter(s); err != nil {
			t.Fatal(err)
		}
		do(&fsm.FrameworkPut{Meta: meta, Connect: true, Framework: &api.Framework{ID: "f", Name: "f", Session: s.id, Partitions: []string{api.DefaultPartition}}})
		do(&fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: "o", Framework: "f", Partition: api.DefaultPartition, NodeID: "oak", Resources: room}}})
		h.begin(s)
		events := func() int {
			h.pass(t.Context(), map[fsm.Change]struct{}{{Table: fsm.TableOffers, ID: "o"}: {}}, false)
			all, _, _ := s.Take()
			return len(all)
		}
		begun := 2 // SUBSCRIBED, HEARTBEAT
		if told {
			if n := events(); n != begun+1 {
				t.Fatalf("%d events, without one of the offer", n)
			}
			begun = 0
		}
		h.answers(s, []string{"o", "unknown"})
		if n := events(); n != begun {
			t.Errorf("told before %v: %d events of what was answered", told, n-begun)
		}
		h.unanswered(s, []string{"o"})
		if n := events(); n != 1 {
			t.Errorf("told before %v: %d events of what was not answered after all", told, n)
		}
		h.answers(s, []string{"o"})
		do(&fsm.OfferRemove{Meta: meta, IDs: []string{"o"}})
		if n := events(); n != 0 || len(h.told) != 0 {
			t.Errorf("told before %v: %d events of its end, %d offers remembered", told, n, len(h.told))
		}
	}
}
