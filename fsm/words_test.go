package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// The incident of a node that is gone says which of its tasks do not start
// elsewhere, and what to do about them; below the level it says what older
// voters say.
func TestIncidentNamesWhatStays(t *testing.T) {
	gone := map[string]func(w *world, n *api.Node) Command{
		"lost": func(w *world, n *api.Node) Command {
			return &NodeState{Meta: w.at(), ID: n.ID, State: api.NodeUnreachable, Since: n.Since}
		},
		"stopped": func(w *world, n *api.Node) Command {
			return &NodeState{Meta: w.at(), ID: n.ID, State: api.NodeDown, Since: n.Since}
		},
		"away": func(w *world, n *api.Node) Command {
			return &NodeAway{Meta: w.at(), ID: n.ID, State: api.NodeUnreachable, Since: n.Since}
		},
	}
	for name, c := range gone {
		for level := Level(1); level <= Newest; level++ {
			for tasks := range 3 {
				w := newWorld(t, level, 2)
				w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 1)})
				w.place("web.0", 1)
				if tasks > 0 {
					spec := testSpec(api.KindBatch, "once", tasks)
					spec.AtMostOnce = true
					w.do(&JobCreate{Meta: w.at(), Spec: spec})
					for i := range tasks {
						w.place(api.TaskID("once", i), 1)
					}
				}
				w.do(c(w, w.View().Node(nodeID(1))))
				var action string
				for n := range w.View().Incidents() {
					action = n.Action
				}
				if told := strings.Contains(action, "node rm --force n1"); told != (tasks > 0 && level >= features[PlainWords].level) || action == "" {
					t.Errorf("%s, level %d, %d tasks: %q", name, level, tasks, action)
				} else if told && strings.Contains(action, "1 task that runs at most once: it waits") != (tasks == 1) {
					t.Errorf("%s, %d tasks: %q", name, tasks, action)
				}
			}
		}
	}
}

// One is spoken of as one.
func TestEventsCountInWords(t *testing.T) {
	for level, want := range map[Level]string{2: "batch, 1 tasks", Newest: "batch, 1 task"} {
		w := newWorld(t, level, 1)
		w.batch(1, 0)
		if got := w.RecentEvents(1)[0].Message; got != want+", partition default" {
			t.Errorf("level %d: %q", level, got)
		}
	}
}
