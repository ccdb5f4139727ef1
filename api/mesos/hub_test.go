package mesos

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// bareHub is a hub whose loop does not run, of a cluster of one node with so much room, with a
// framework "f" that has subscribed and was told nothing yet. Its commands do not fail.
func bareHub(t testing.TB, room api.Resources) (h *hub, s *session, do func(fsm.Command)) {
	store := fsm.NewStore(nil)
	do = func(c fsm.Command) {
		t.Helper()
		if _, err := store.Do(context.Background(), c); err != nil {
			t.Fatalf("%T: %v", c, err)
		}
	}
	meta := fsm.Meta{At: testTime}
	do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak", Resources: room, Level: int(fsm.Newest)}})
	h = newHub(Config{Store: store, Cluster: solo{}, Now: func() time.Time { return testTime }, Forgets: func() bool { return true }, Log: slog.New(slog.DiscardHandler), NodeName: "oak"}, &desk{})
	s = newSession("f", wire.JSON, &h.queued)
	if err := h.enter(s); err != nil {
		t.Fatal(err)
	}
	do(&fsm.FrameworkPut{Meta: meta, Connect: true, Framework: &api.Framework{ID: "f", Name: "f", Session: s.id, Partitions: []string{api.DefaultPartition}}})
	return h, s, do
}

func offerOfAll(id string, room api.Resources) *fsm.OfferMake {
	return &fsm.OfferMake{Meta: fsm.Meta{At: testTime}, Offers: []*api.Offer{{ID: id, Framework: "f", Partition: api.DefaultPartition, NodeID: "oak", Resources: room}}}
}

// An offer that a framework answers is told to it no more, whether this leader told it of
// the offer or an earlier one did, until the answer is known to have come to nothing.
func TestAnAnsweredOfferIsNotTold(t *testing.T) {
	for _, told := range []bool{false, true} {
		room := api.Resources{CPUs: 1000, Mem: 1 << 30}
		h, s, do := bareHub(t, room)
		do(offerOfAll("o", room))
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
		do(&fsm.OfferRemove{Meta: fsm.Meta{At: testTime}, IDs: []string{"o"}})
		if n := events(); n != 0 || len(h.told) != 0 {
			t.Errorf("told before %v: %d events of its end, %d offers remembered", told, n, len(h.told))
		}
	}
}

// What is told is as of a view that was taken under the hub's lock: what ended while a pass
// waited for that is not told.
func TestWhatEndedWhileAPassWaitedIsNotTold(t *testing.T) {
	room := api.Resources{CPUs: 1000, Mem: 1 << 30}
	h, s, do := bareHub(t, room)
	do(offerOfAll("o", room))
	h.begin(s)
	h.mu.Lock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		h.pass(context.Background(), map[fsm.Change]struct{}{{Table: fsm.TableOffers, ID: "o"}: {}}, false)
	}()
	until(t, "it waits for the lock", func() bool {
		stacks := make([]byte, 1<<20)
		for one := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(one, "(*hub).pass") && strings.Contains(one, "Mutex).Lock") {
				return true
			}
		}
		return false
	})
	do(&fsm.OfferRemove{Meta: fsm.Meta{At: testTime}, IDs: []string{"o"}})
	h.mu.Unlock()
	<-over
	if all, _, _ := s.Take(); len(all) != 2 {
		t.Errorf("%d events, not SUBSCRIBED and HEARTBEAT alone", len(all))
	}
}

// All that nodes have reserved, with its words, is told bit by bit to who reads, however much
// it is.
func TestManyWordsOfReservationsAreToldBitByBit(t *testing.T) {
	const offers, cpus = 100, 64
	h, s, do := bareHub(t, api.Resources{CPUs: offers * cpus, Mem: 1 << 40})
	words := map[string]string{}
	for i := range 14 {
		words[fmt.Sprint("k", i)] = strings.Repeat("x", 250)
	}
	var steps []fsm.ReservationStep
	for i := range cpus {
		words["i"] = fmt.Sprint(i)
		step := fsm.ReservationStep{Kind: fsm.StepReserve, Partition: api.DefaultPartition, Labels: map[string]string{}, Resources: api.Resources{CPUs: offers}}
		for k, v := range words {
			step.Labels[k] = v
		}
		steps = append(steps, step)
	}
	do(&fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "oak", Steps: steps})
	for n := range offers {
		o := &api.Offer{ID: fmt.Sprint("o", n), Framework: "f", Partition: api.DefaultPartition, NodeID: "oak"}
		for _, step := range steps {
			o.Reserved = append(o.Reserved, api.Reserved{Reservation: api.ReservationID(step.Partition, "", step.Labels), Resources: api.Resources{CPUs: 1}})
		}
		do(&fsm.OfferMake{Meta: fsm.Meta{At: testTime}, Offers: []*api.Offer{o}})
	}
	h.begin(s)
	all, events := 0, 0
	for pass := 0; pass == 0 || s.behind.CompareAndSwap(true, false); pass++ {
		if pass > 0 {
			h.next(s)
		}
		h.pass(t.Context(), nil, false)
		records, _, ended := s.Take()
		if ended {
			t.Fatalf("the session ended after %d bytes", all)
		}
		for _, r := range records {
			if events++; len(r.Bytes) > 2<<20 {
				t.Errorf("one event has %d bytes", len(r.Bytes))
			}
			all += len(r.Bytes)
		}
	}
	if all <= held.Bytes || events < 16 || len(h.told) != offers {
		t.Errorf("%d bytes in %d events were told of %d offers", all, events, len(h.told))
	}
	for id, told := range h.told {
		if told.waits {
			t.Errorf("offer %s was not told", id)
		}
	}
}
