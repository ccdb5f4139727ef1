package operator

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// The values of environments are for who may deploy there, in answers and in streams.
func TestValuesNeedTheirRight(t *testing.T) {
	for right, sees := range map[string]bool{"viewer": false, "viewer@web": false, "deployer@web": true, "deployer@default": false, "admin": true} {
		w := newWorld(t, auth.Bearer)
		w.token = w.newToken(right)
		w.lead()
		s, first := w.subscribe(wire.JSON)
		b, err := wire.Marshal(wire.JSON, first)
		if err != nil {
			t.Fatal(err)
		}
		all := string(b)
		for _, kind := range []v1.MasterCallType{v1.MasterCallTypeGetState, v1.MasterCallTypeGetTasks} {
			all += w.call(wire.JSON, &v1.MasterCall{Type: &kind}, 200)
		}
		tells := strings.Count(all, `"KEY"`)
		if strings.Contains(right, "default") != (tells == 0) || strings.Count(all, `"secret"`) != map[bool]int{true: tells}[sees] {
			t.Errorf("%s: %s", right, all)
		}
		if tells == 0 {
			continue
		}
		w.launch("t2", "elm")
		m := s.want(v1.MasterEventTypeTaskAdded).TaskAdded.Task
		if v := v1.Get(m.HealthCheck.Command.Environment.Variables[0].Value); (v == "secret") != sees {
			t.Errorf("%s is told %q", right, v)
		}
	}
}

// News are written once for all who are told the same, and no more is told to anybody.
func TestNewsAreWrittenForWhoMayReadThem(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	v := w.store.View()
	k := newKnown()
	k.learn(fsm.NewStore(nil).View())
	task := v.FrameworkTask("f1", "t1")
	all := k.news(v, map[fsm.Change]struct{}{{Table: fsm.TableTasks, ID: task.ID}: {}})
	for _, c := range []struct {
		rights string
		sees   bool
	}{{"admin", true}, {"viewer@web", false}, {"deployer@web", true}, {"viewer", false}} {
		if b := all[0].record(wire.JSON, rows.Of(v, auth.Identity{Rights: c.rights})); strings.Contains(string(b), "secret") != c.sees {
			t.Errorf("%s: %s", c.rights, b)
		}
	}
}

// How an attempt ended is not told to who sees its job only since it moved.
func TestTheEndBeforeAMoveIsNotTold(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	meta := fsm.Meta{At: testTime}
	id := rowsOf(w)[0]
	k := newKnown()
	k.learn(w.store.View())
	task := w.store.View().Task(id)
	w.do(&fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: id, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskFailed, ExitCode: new(7), Reason: api.ReasonOOM, Message: "said before", Time: testTime}}})
	spec := *w.store.View().Job(task.Job).Spec
	spec.Partition = "web"
	w.do(&fsm.JobUpdate{Meta: meta, ID: task.Job, Spec: &spec})
	now := w.store.View().Task(id)
	w.do(&fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: now.Job, Attempt: now.Attempt, NodeID: "elm"}}})
	v := w.store.View()
	news := k.news(v, map[fsm.Change]struct{}{{Table: fsm.TableTasks, ID: id}: {}})
	if len(news) != 2 {
		t.Fatalf("%d news", len(news))
	}
	for right, sees := range map[string]bool{"viewer@web": false, "viewer": true} {
		w.token = w.newToken(right)
		b := w.call(wire.JSON, &v1.MasterCall{Type: new(v1.MasterCallTypeGetTasks)}, 200)
		if !strings.Contains(b, `"`+id+`"`) {
			t.Fatalf("%s does not see the task: %s", right, b)
		}
		if strings.Contains(b, "said before") != sees || strings.Contains(b, "REASON_CONTAINER_LIMITATION_MEMORY") != sees {
			t.Errorf("%s: %s", right, b)
		}
		r := rows.Of(v, auth.Identity{Rights: right})
		if before, after := news[0].seen(r), news[1].seen(r); before != sees || !after {
			t.Errorf("%s is told of the attempt before: %v, of the one of now: %v", right, before, after)
		}
	}
}
