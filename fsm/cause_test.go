package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Every event says who or what caused it, and why: in its message, or where a
// task's state says it all, in the task.
func TestEveryEventHasActorAndCause(t *testing.T) {
	seen := map[api.EventKind]bool{}
	for seed := range uint64(20) {
		last := uint64(1 << 62)
		randomLog(t, seed+300, 400, func(s *Store) {
			if last > s.View().LastEvent() {
				last = s.View().LastEvent() // the cluster was made, by nobody in this test
				return
			}
			events := s.EventsBefore(1<<62, 1000)
			for i := range events {
				e := &events[i]
				if e.Index <= last {
					continue
				}
				seen[e.Kind] = true
				saysItself := e.Task != nil && (e.Kind == api.EventTaskState || e.Kind == api.EventTaskPlaced)
				if e.Actor == "" || e.Time.IsZero() || e.Message == "" && !saysItself {
					t.Fatalf("event %d has no actor or no cause: %+v", e.Index, e)
				}
			}
			last = s.View().LastEvent()
		})
	}
	for _, k := range []api.EventKind{api.EventJobCreated, api.EventJobScaled, api.EventJobStopped, api.EventJobEnded, api.EventTaskCreated, api.EventTaskPlaced,
		api.EventTaskRequeued, api.EventTaskStop, api.EventTaskPreempted, api.EventNodeJoined, api.EventNodeState, api.EventPartition, api.EventTokenCreated, api.EventTokenUsed} {
		if !seen[k] {
			t.Errorf("no %s happened: the test does not test it", k)
		}
	}
}

func TestEventsSayWhatChanged(t *testing.T) {
	s := NewStore(nil)
	at := Meta{At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Actor: "root"}
	check := func(c Command, want string) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if e := s.RecentEvents(1)[0]; e.Message != want {
			t.Errorf("%T: %s, want %s", c, e.Message, want)
		}
	}
	check(testInit(), "made the cluster")
	check(&PartitionPut{Meta: at, Partition: &api.Partition{Path: "ml", Weight: 1000}}, "made")
	check(&PartitionPut{Meta: at, Partition: &api.Partition{Path: "ml", Weight: 2000, Priority: 5}}, "changed: priority none to 5, weight 1 to 2")
	check(&PartitionPut{Meta: at, Partition: &api.Partition{Path: "ml", Weight: 2000, Priority: 5}}, "set again as it was")
	check(&PartitionRemove{Meta: at, Path: "ml"}, "it held no work")
	check(&TokenCreate{Meta: at, Token: &api.Token{ID: "t1", Kind: api.TokenClient, Name: "ci", Role: api.RoleOperator, Hash: "h"}}, "client token ci, operator")
	check(&TokenRevoke{Meta: at, ID: "t1"}, "asked for: client token ci, operator")
	check(&NodeHello{Meta: at, ID: nodeID(0), Hello: testHello(1000)}, "ready: it reported, and was down")
	check(&NodeHello{Meta: at, ID: nodeID(0), Hello: testHello(2000)}, "it reported: resources changed")
	check(&NodeDrain{Meta: at, ID: nodeID(0), Drain: true, By: at.At}, "draining: to be emptied by 2026-01-02T03:04:05Z")
	check(&NodeDrain{Meta: at, ID: nodeID(0)}, "ready: the drain is over")
	check(&ClusterRecovered{Meta: at, NodeID: nodeID(0), Cause: "the majority was lost"}, "the majority was lost")
}
