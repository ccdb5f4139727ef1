package mesos

import (
	"testing"

	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// Calls that are taken are counted by the names of Mesos, an ACCEPT that starts nothing
// as a DECLINE; those that are refused are not.
func TestCallsAreCounted(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	o := s.offer("o1")
	s.launch(o.ID.Value, sleeper("t1"))
	s.call(v1.SchedulerCallTypeAccept, &v1.SchedulerCall{Accept: &v1.SchedulerCallAccept{OfferIDs: []*v1.OfferID{{Value: "none"}}}})
	s.call(v1.SchedulerCallTypeDecline, &v1.SchedulerCall{Decline: &v1.SchedulerCallDecline{}})
	s.call(v1.SchedulerCallTypeRevive, &v1.SchedulerCall{})
	s.call(v1.SchedulerCallTypeReconcile, &v1.SchedulerCall{Reconcile: &v1.SchedulerCallReconcile{}})
	body, err := wire.Marshal(wire.JSON, &v1.SchedulerCall{Type: new(v1.SchedulerCallTypeRevive), FrameworkID: &v1.FrameworkID{Value: s.id}})
	if err != nil {
		t.Fatal(err)
	}
	if res := s.send("POST", body, map[string][]string{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {"another"}}); res.StatusCode != 400 {
		t.Fatal(text(t, res))
	}
	again := example()
	again.ID = &v1.FrameworkID{Value: s.id}
	w.subscribe(wire.Protobuf, again)
	got := map[string]uint64{}
	w.server.Calls(func(name string, n uint64) bool {
		got[name] = n
		return true
	})
	for name, want := range map[string]uint64{"messages_register_framework": 1, "messages_reregister_framework": 1, "messages_launch_tasks": 1, "messages_decline_offers": 2,
		"messages_revive_offers": 1, "messages_reconcile_tasks": 1, "messages_kill_task": 0, "messages_executor_to_framework": 0} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %d, not %d", name, n, want)
		}
	}
	for kind, as := range countedAs {
		if callNames[as] == "" {
			t.Errorf("%v is counted by no name", kind)
		}
	}
}
