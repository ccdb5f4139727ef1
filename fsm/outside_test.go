package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// withPort submits an array of tasks with one port of that number, 0 for any.
func (w *world) withPort(n, port int) string {
	w.Helper()
	s := testSpec(api.KindBatch, "", n)
	s.Retries, s.Ports = 0, []api.PortRequest{{Name: "http", Port: port}}
	v, err := w.Do(w.Context(), &JobCreate{Meta: w.at(), Spec: s})
	if err != nil {
		w.Fatal(err)
	}
	return v.(*api.Job).ID
}

func (w *world) placeOn(id string, node, port int) bool {
	w.Helper()
	t := w.View().Task(id)
	need := t.Resources
	need.Ports = api.Ranges{{First: int64(port), Last: int64(port)}}
	v, err := w.Do(w.Context(), &TaskPlace{Meta: w.at(), Placements: []Placement{{Job: t.Job, Index: t.Index, Attempt: t.Attempt, NodeID: nodeID(node), Resources: &need, Ports: map[string]int{"http": port}}}})
	if err != nil {
		w.Fatal(err)
	}
	return v.(int) == 1
}

func (w *world) refused(id string, port int) *api.Task {
	w.Helper()
	t := w.View().Task(id)
	w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: id, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFailed, Reason: api.ReasonPortTaken,
		Message: "port 20007 (http) is taken", Time: w.now, Taken: taken(port)}}})
	return w.View().Task(id)
}

func taken(port int) []api.PortHolder {
	return []api.PortHolder{{Ports: api.Ranges{{First: int64(port), Last: int64(port)}}, By: "nginx (pid 7)"}}
}

// A port that another program has costs a task nothing, however often it meets
// one: no retry, no incident, no node that is left alone. It is not given again
// until the node says that it is free.
func TestTakenPortIsNobodysFailure(t *testing.T) {
	w := newWorld(t, Newest, 1)
	id := w.withPort(1, 0) + ".0"
	for port := 20000; port < 20030; port++ { // more than attempts are remembered
		if !w.placeOn(id, 0, port) {
			t.Fatalf("port %d is not given", port)
		}
		task := w.refused(id, port)
		if !task.Pending() || task.Failures != 0 || task.NotBefore.Sub(w.now) > time.Minute {
			t.Fatalf("after port %d: %+v", port, task)
		}
		w.now = w.now.Add(time.Minute)
		if w.placeOn(id, 0, port) {
			t.Fatalf("port %d is given again", port)
		}
	}
	if w.open(api.IncidentTaskFailed) > 0 || w.View().Node(nodeID(0)).Starts != nil || len(w.View().Job(w.View().Task(id).Job).Avoid) > 0 {
		t.Error("it is counted against the task, its job or the node")
	}
	free := testHello(64000)
	w.do(&NodeHello{Meta: w.at(), ID: nodeID(0), Hello: free})
	if !w.placeOn(id, 0, 20007) {
		t.Error("a port that the node says is free is not given")
	}
}

// What other programs have is free by the ledger, which adds up to what the node
// has, and is given to no task and in no offer.
func TestOutsideUseIsNotGiven(t *testing.T) {
	w := newWorld(t, Newest, 1)
	h := testHello(64000)
	h.Resources.Mem = 8 << 30
	h.Outside = &api.Outside{Mem: 7 << 30, Ports: taken(20007)}
	w.do(&NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h})
	if l, _ := w.View().Ledger(nodeID(0)); !l.Free.Equal(h.Resources) {
		t.Errorf("the ledger has %s free, not all of %s", l.Free, h.Resources)
	}
	if w.placeOn(w.withPort(1, 20007)+".0", 0, 20007) {
		t.Error("a port is given that another program has")
	}
	s := testSpec(api.KindBatch, "", 1)
	s.Ports, s.Mem = nil, 2<<30
	v, err := w.Do(t.Context(), &JobCreate{Meta: w.at(), Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	big := v.(*api.Job).ID + ".0"
	if w.place(big, 0) {
		t.Error("memory is given that other programs use")
	}
	offer := &OfferMake{Meta: w.at(), Offers: []*api.Offer{{ID: "o1", Partition: api.DefaultPartition, NodeID: nodeID(0), Resources: api.Resources{Mem: 2 << 30}}}}
	if _, err := w.Do(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	for range w.View().Offers() {
		t.Error("it is offered")
	}
	h.Outside = nil
	w.do(&NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h})
	if !w.place(big, 0) {
		t.Error("it is not given when it is free again")
	}
}

// Below level 3 a voter would drop what the others note: it is not written.
func TestOutsideUseNeedsItsLevel(t *testing.T) {
	for level := range Newest + 1 {
		w := newWorld(t, level, 1)
		h := testHello(1000)
		h.Outside = &api.Outside{Mem: 1}
		id := w.withPort(1, 0) + ".0"
		w.placeOn(id, 0, 20007)
		_, err := w.Do(t.Context(), &NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h})
		_, err2 := w.Do(t.Context(), &TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: id, Taken: taken(20007)}}})
		if refused := err != nil; refused != (level < 3) || (err2 != nil) != refused {
			t.Errorf("level %d: %v, %v", level, err, err2)
		}
		task := w.View().Task(id)
		w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: id, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskFailed, Reason: api.ReasonPortTaken, Time: w.now}}})
		if again := w.View().Task(id).Pending(); again != (level >= 3) {
			t.Errorf("level %d: it waits again: %v", level, again)
		}
	}
}
