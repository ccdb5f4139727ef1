package integration

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// Executors that a framework brought run its tasks while the links of their nodes are cut and
// lose packets, and while voters are killed: each task runs once and finishes.
func TestMesosExampleInTrouble(t *testing.T) {
	l, workers := apartLab(t)
	bin := buildExample(t)
	leader := l.Leader()
	one := workers[0]
	two := l.Other(append(workers, leader)...)
	const tasks = 500
	e := startExample(t, two, bin, "protobuf", tasks)
	some := 0
	more := func() { // tasks have finished since
		t.Helper()
		some += tasks / 10
		l.Await(lab.Patience, "more tasks to have finished", func() bool { return e.finished() >= some || e.finished() == tasks })
	}
	more()
	l.Wire.Between(leader, one, lab.Trouble{Cut: true})
	more()
	l.Wire.Between(leader, one, lab.Trouble{})
	for _, n := range append(workers, two) {
		l.Wire.Between(leader, n, lab.Trouble{Loss: 0.2})
	}
	more()
	for _, n := range append(workers, two) {
		l.Wire.Between(leader, n, lab.Trouble{})
	}
	for range 2 { // the second while what the first left is still told
		leads := l.Leader()
		leads.Kill()
		leads.Launch("start", append([]string{"--voter-only"}, forMesos...)...)
		leads.AwaitReady()
	}
	more()
	e.await()
	e.onceEach(tasks)
}

// onceEach fails unless so many tasks were launched, each by one executor and once.
func (e *example) onceEach(tasks int) {
	e.t.Helper()
	seen := map[string]int{}
	for line := range strings.Lines(e.said()) {
		if i := strings.Index(line, " launching task "); i >= 0 {
			id, _, _ := strings.Cut(line[i+len(" launching task "):], " ")
			if seen[id]++; seen[id] > 1 {
				e.t.Errorf("task %s was launched twice: %s", id, line)
			}
		}
	}
	if len(seen) != tasks {
		e.t.Errorf("%d tasks were launched, not %d", len(seen), tasks)
	}
}

// A node is cut off from all others while it runs tasks of a framework: the framework is told
// that they are unreachable, and after that that they run, as they did all the time. What it
// wanted killed meanwhile is killed then.
func TestTasksOfACutNodeAreUnreachable(t *testing.T) {
	l := mesosLab(t)
	leader := l.Leader()
	cut := l.Other(leader)
	s := subscribeMesos(t, leader, "")
	offer, agent := s.offerOf(leader, cut)
	s.launch(offer, agent, "kept", "killed")
	s.states(agent, map[string]string{"kept": "TASK_RUNNING", "killed": "TASK_RUNNING"})
	for _, n := range l.Nodes {
		if n != cut {
			l.Wire.Between(cut, n, lab.Trouble{Cut: true})
		}
	}
	s.states(agent, map[string]string{"kept": "TASK_UNREACHABLE", "killed": "TASK_UNREACHABLE"})
	s.call("KILL", "kill", map[string]any{"task_id": value("killed"), "agent_id": value(agent)})
	for _, n := range l.Nodes {
		if n != cut {
			l.Wire.Between(cut, n, lab.Trouble{})
		}
	}
	s.states(agent, map[string]string{"kept": "TASK_RUNNING", "killed": "TASK_KILLED"})
	s.call("KILL", "kill", map[string]any{"task_id": value("kept"), "agent_id": value(agent)})
	s.states(agent, map[string]string{"kept": "TASK_KILLED"})
}

// states acknowledges updates until tasks of an agent are in the states that are wanted.
func (s *mesosStream) states(agent string, want map[string]string) {
	s.t.Helper()
	is := map[string]string{}
	s.until("UPDATE", func(e map[string]any) bool {
		status := at(e, "update", "status")
		id, state := at(status, "task_id", "value").(string), at(status, "state").(string)
		if uuid := at(status, "uuid"); uuid != nil {
			s.call("ACKNOWLEDGE", "acknowledge", map[string]any{"agent_id": value(agent), "task_id": value(id), "uuid": uuid})
		}
		is[id] = state
		for id, state := range want {
			if is[id] != state {
				return false
			}
		}
		return true
	})
}

// offerOf waits for an offer of a node.
func (s *mesosStream) offerOf(asked, n *lab.Node) (offer, agent string) {
	s.t.Helper()
	s.until("OFFERS", func(e map[string]any) bool {
		for _, o := range at(e, "offers", "offers").([]any) {
			offer, agent = at(o, "id", "value").(string), at(o, "agent_id", "value").(string)
			if nodeOf(asked, agent) == n.Name {
				return true
			}
		}
		return false
	})
	return offer, agent
}

// launch accepts an offer with tasks that sleep.
func (s *mesosStream) launch(offer, agent string, ids ...string) {
	s.t.Helper()
	var infos []any
	for _, id := range ids {
		infos = append(infos, map[string]any{"name": id, "task_id": value(id), "agent_id": value(agent), "command": map[string]any{"value": "exec sleep 1000"},
			"resources": []any{scalar("cpus", 0.1), scalar("mem", 32)}})
	}
	s.call("ACCEPT", "accept", map[string]any{"offer_ids": []any{value(offer)}, "operations": []any{map[string]any{"type": "LAUNCH", "launch": map[string]any{"task_infos": infos}}}})
}
