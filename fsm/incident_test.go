package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// crashing is a service of which each task has an open incident.
func (w *world) crashing(name string, n int, restart api.RestartPolicy) {
	w.Helper()
	s := testSpec(api.KindService, name, n)
	s.Ports, s.Restart = nil, restart
	s.Normalize()
	w.do(&JobCreate{Meta: w.at(), Spec: s})
	for i := range n {
		id := api.TaskID(name, i)
		w.place(id, 0)
		w.report(id, api.TaskRunning, "")
		w.report(id, api.TaskFailed, api.ReasonExited)
	}
	if got := w.open(api.IncidentTaskFailed); got != n {
		w.Fatalf("%d incidents are open, want %d", got, n)
	}
}

// What is stopped, removed, scaled down or gave up for good leaves no incident
// open that it should not.
func TestIncidentsEndWithTheirWork(t *testing.T) {
	twice := api.RestartPolicy{Attempts: 1}
	for name, c := range map[string]struct {
		restart api.RestartPolicy
		do      func(w *world)
		want    int
	}{
		"stopped":     {do: func(w *world) { w.do(&JobStop{Meta: w.at(), ID: "web"}) }},
		"one stopped": {do: func(w *world) { w.do(&TaskStop{Meta: w.at(), IDs: []string{"web.0"}}) }, want: 1},
		"scaled down": {do: func(w *world) {
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 1}, &TaskStop{Meta: w.at(), IDs: []string{"web.1"}, Reason: api.ReasonScaledDown})
		}, want: 1},
		"gave up": {restart: twice, do: func(w *world) { w.giveUp("web.0") }, want: 2},
		"gave up, stopped": {restart: twice, do: func(w *world) {
			w.giveUp("web.0")
			w.giveUp("web.1")
			w.do(&JobStop{Meta: w.at(), ID: "web"})
		}},
		"gave up, removed": {restart: twice, do: func(w *world) {
			w.giveUp("web.0")
			w.giveUp("web.1")
			w.do(&JobRemove{Meta: w.at(), IDs: []string{"web"}})
		}},
		"gave up, scaled down": {restart: twice, do: func(w *world) {
			w.giveUp("web.1")
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 1})
		}, want: 1},
	} {
		w := newWorld(t, 1, 1)
		w.crashing("web", 2, c.restart)
		c.do(w)
		if got := w.open(api.IncidentTaskFailed); got != c.want {
			t.Errorf("%s: %d are open, want %d", name, got, c.want)
		}
		checkSums(t, w.View())
	}
}

// giveUp has a task fail until its service gives it up.
func (w *world) giveUp(id string) {
	w.Helper()
	for w.View().Task(id).Pending() {
		w.now = w.View().Task(id).NotBefore
		w.place(id, 0)
		w.report(id, api.TaskRunning, "")
		w.report(id, api.TaskFailed, api.ReasonExited)
	}
}

// A service that gave up stays an incident, which says so.
func TestIncidentOfAServiceThatGaveUp(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.crashing("web", 1, api.RestartPolicy{Attempts: 1})
	w.giveUp("web.0")
	for n := range w.View().Incidents() {
		if !n.Over.IsZero() || n.Action != "gave up after attempt 2" {
			t.Errorf("%+v", n)
		}
	}
}

// A node that was stopped is an incident until it is back or removed, and what
// was wrong with it before is none any more.
func TestIncidentsOfNodes(t *testing.T) {
	set := func(w *world, s api.NodeState) {
		w.do(&NodeState{Meta: w.at(), ID: nodeID(1), State: s, Reason: "was stopped", Since: w.View().Node(nodeID(1)).Since})
	}
	hello := func(w *world, full bool) {
		h := testHello(64000)
		h.Resources.Mem, h.DiskFull = 64<<30, full
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
	}
	w := newWorld(t, 1, 2)
	check := func(what string, stopped, lost, full int) {
		t.Helper()
		if s, l, f := w.open(api.IncidentNodeStopped), w.open(api.IncidentNodeLost), w.open(api.IncidentDiskFull); s != stopped || l != lost || f != full {
			t.Errorf("%s: %d stopped, %d lost, %d full, want %d, %d, %d", what, s, l, f, stopped, lost, full)
		}
		checkSums(t, w.View())
	}
	hello(w, true)
	check("full", 0, 0, 1)
	set(w, api.NodeDown)
	check("stopped", 1, 0, 0)
	hello(w, true)
	check("back, and full still", 0, 0, 1)
	hello(w, false)
	check("with room", 0, 0, 0)
	set(w, api.NodeUnreachable)
	check("lost", 0, 1, 0)
	set(w, api.NodeDown)
	check("said to be stopped", 1, 0, 0)
	w.do(&NodeRemove{Meta: w.at(), ID: nodeID(1)})
	check("removed", 0, 0, 0)
}

func TestCloseIncidents(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.crashing("web", 2, api.RestartPolicy{})
	closeThem := func(ids ...uint64) error {
		_, err := w.Do(t.Context(), &IncidentClose{Meta: Meta{At: w.now, Actor: "user:ann"}, IDs: ids})
		return err
	}
	if err := closeThem(1, 9); api.ErrorCode(err) != api.CodeNotFound || w.open(api.IncidentTaskFailed) != 2 {
		t.Errorf("one that is not there: %v", err)
	}
	if err := closeThem(1, 1); err != nil || w.open(api.IncidentTaskFailed) != 1 {
		t.Errorf("twice the same: %v", err)
	}
	if err := closeThem(1, 2); api.ErrorCode(err) != api.CodeConflict || w.open(api.IncidentTaskFailed) != 1 {
		t.Errorf("one that is over: %v", err)
	}
	for n := range w.View().Incidents() {
		if n.ID == 1 && (n.Over.IsZero() || n.Action != "closed by user:ann") {
			t.Errorf("%+v", n)
		}
	}
}

// What stayed open at level 0 is closed when level 1 is reached.
func TestStaleIncidentsEndWithTheLevel(t *testing.T) {
	w := newWorld(t, 0, 1)
	w.crashing("web", 2, api.RestartPolicy{})
	w.do(&JobStop{Meta: w.at(), ID: "web"})
	if w.open(api.IncidentTaskFailed) != 2 {
		t.Fatal("level 0 changed")
	}
	w.do(&LevelSet{Meta: w.at(), Level: 1})
	if w.open(api.IncidentTaskFailed) != 0 {
		t.Error("they are open still")
	}
	for n := range w.View().Incidents() {
		if !strings.Contains(n.Action, "stopped") {
			t.Errorf("%+v", n)
		}
	}
	checkSums(t, w.View())
}
