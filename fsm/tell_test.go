package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// mirror is what a reader of events holds, who knows nothing else.
type mirror struct {
	jobs       map[string]api.Job
	tasks      map[string]api.Task
	nodes      map[string]api.Node
	partitions map[string]api.Partition
	incidents  map[uint64]api.Incident
}

func newMirror() *mirror {
	return &mirror{map[string]api.Job{}, map[string]api.Task{}, map[string]api.Node{}, map[string]api.Partition{}, map[uint64]api.Incident{}}
}

func (m *mirror) dropTasks(job string) {
	for id, t := range m.tasks {
		if t.Job == job {
			delete(m.tasks, id)
		}
	}
}

func (m *mirror) take(e *api.Event) {
	p := &e.Payload
	switch e.Kind {
	case api.EventJobRemoved:
		delete(m.jobs, e.Object)
		m.dropTasks(e.Object)
		return
	case api.EventTaskRemoved:
		delete(m.tasks, e.Object)
	case api.EventPartitionGone:
		delete(m.partitions, e.Object)
		return
	case api.EventIncidentRemoved:
		delete(m.incidents, e.Incident)
		return
	case api.EventJobCreated:
		m.dropTasks(e.Object)
	}
	if e.Task != nil {
		m.tasks[e.Task.ID] = *e.Task
	}
	switch {
	case p.Job != nil && e.Task == nil && e.Kind != api.EventTaskRemoved:
		m.jobs[p.Job.ID] = *p.Job
	case p.Job != nil: // of a task nothing but the sum is sent
		j := m.jobs[p.Job.ID]
		j.Take(p.Job.Sum())
		m.jobs[p.Job.ID] = j
	case p.Node != nil:
		m.nodes[p.Node.ID] = *p.Node
	case p.Partition != nil:
		m.partitions[p.Partition.Path] = *p.Partition
	case p.Incident != nil:
		m.incidents[p.Incident.ID] = *p.Incident
	}
}

func asText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// lines are all that the mirror holds, and holds of a view what it should hold.
func (m *mirror) lines() map[string]string {
	out := map[string]string{}
	for id, j := range m.jobs {
		out["job "+id] = asText(&j)
	}
	for id, t := range m.tasks {
		out["task "+id] = asText(&t)
	}
	for id, n := range m.nodes {
		out["node "+id] = asText(&n)
	}
	for id, p := range m.partitions {
		out["partition "+id] = asText(&p)
	}
	for id, n := range m.incidents {
		out[fmt.Sprint("incident ", id)] = asText(&n)
	}
	return out
}

func listed(v *View) map[string]string {
	out := map[string]string{}
	for j := range v.Jobs() {
		out["job "+j.ID] = asText(j)
		for t := range v.MadeTasks(j.ID) {
			out["task "+t.ID] = asText(t)
		}
	}
	for n := range v.Nodes() {
		out["node "+n.ID] = asText(n)
	}
	for p := range v.Partitions() {
		out["partition "+p.Path] = asText(p)
	}
	for n := range v.Incidents() {
		out[fmt.Sprint("incident ", n.ID)] = asText(n)
	}
	return out
}

// Who applies what events carry to what there was holds what there is, after each
// command whatever it does, and from any replica: also one that began with a snapshot.
func TestEventsCarryAllThatChanges(t *testing.T) {
	kinds := map[api.EventKind]bool{}
	followed := 0
	for seed := range uint64(16) {
		m, seen := newMirror(), uint64(0)
		begun := false
		follow := func(s *Store) {
			v := s.View()
			if !begun {
				if begun = v.Does(ToldChanges); begun { // the level has risen: from now on all is told
					seen = v.LastEvent()
					for id, text := range listed(v) {
						m.load(t, id, text)
					}
				}
				return
			}
			for seen < v.LastEvent() {
				events, err := s.Events(t.Context(), seen, 100)
				if err != nil {
					t.Fatal(err)
				}
				for i := range events {
					seen = events[i].Index
					kinds[events[i].Kind] = true
					m.take(&events[i])
				}
			}
			if diff := differ(m.lines(), listed(v)); diff != "" {
				t.Fatalf("seed %d, index %d: %s", seed, v.Index(), diff)
			}
		}
		var snapshot []byte
		log := randomLog(t, seed+2000, 400, func(s *Store) {
			if follow(s); s.View().Index() == 300 {
				snapshot = snapshotBytes(t, s)
			}
		})
		if begun {
			followed++
		}
		if seed < 4 {
			sameEvents(t, snapshot, log)
		}
	}
	if followed < 10 {
		t.Errorf("in %d logs alone the level rose: the test tests little", followed)
	}
	for _, k := range []api.EventKind{api.EventTaskUpdated, api.EventIncidentUpdated, api.EventIncidentRemoved, api.EventNodeUpdated, api.EventJobUpdated, api.EventJobRemoved} {
		if !kinds[k] {
			t.Errorf("no %s happened: the test does not test it", k)
		}
	}
}

func (m *mirror) load(t *testing.T, id, text string) {
	t.Helper()
	noun, name, _ := strings.Cut(id, " ")
	var err error
	switch b := []byte(text); noun {
	case "job":
		j := api.Job{}
		err = json.Unmarshal(b, &j)
		m.jobs[name] = j
	case "task":
		x := api.Task{}
		err = json.Unmarshal(b, &x)
		m.tasks[name] = x
	case "node":
		n := api.Node{}
		err = json.Unmarshal(b, &n)
		m.nodes[name] = n
	case "partition":
		p := api.Partition{}
		err = json.Unmarshal(b, &p)
		m.partitions[name] = p
	case "incident":
		n := api.Incident{}
		err = json.Unmarshal(b, &n)
		m.incidents[n.ID] = n
	}
	if err != nil {
		t.Fatal(err)
	}
}

func differ(has, want map[string]string) string {
	for id, text := range want {
		if has[id] != text {
			return fmt.Sprintf("%s is\n%s, and who follows the events has\n%s", id, text, has[id])
		}
	}
	for id, text := range has {
		if want[id] == "" {
			return fmt.Sprintf("%s is gone, and who follows the events has\n%s", id, text)
		}
	}
	return ""
}

// sameEvents checks that a replica that begins with a snapshot tells of what it applies
// what one that applied all of the log tells.
func sameEvents(t *testing.T, snapshot []byte, log [][]byte) {
	t.Helper()
	all, late := NewStore(nil), NewStore(nil)
	if err := late.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	from := late.View().LastEvent()
	for i, e := range log {
		for _, s := range []*Store{all, late} {
			if _, err := s.Apply([]Entry{{uint64(i + 1), e}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := all.Events(t.Context(), from, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got, err := late.Events(t.Context(), from, 1<<20)
	if err != nil || len(want) == 0 || asText(got) != asText(want) {
		t.Fatalf("from a snapshot on %d events are told, want %d: %v", len(got), len(want), err)
	}
}
