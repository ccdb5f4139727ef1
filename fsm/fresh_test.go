package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Whoever does something about a task that fails need not wait for the back-off
// of what it was before.
func TestBackOffBelongsToAVersion(t *testing.T) {
	corrected := func(w *world, change func(*api.JobSpec)) {
		s := *w.View().Job("web").Spec
		change(&s)
		w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &s})
		// As the controller does.
		_, _ = w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Move: true, Reason: api.ReasonReplaced}) // one that gave up is not there
	}
	restart := api.RestartPolicy{Delay: api.Duration(time.Minute), MaxDelay: api.Duration(time.Hour)}
	for name, c := range map[string]struct {
		running bool // it runs when something is done about it, and fails then
		restart api.RestartPolicy
		do      func(*world)
	}{
		"a corrected spec": {restart: restart, do: func(w *world) {
			corrected(w, func(s *api.JobSpec) { s.Command = []string{"./corrected"} })
		}},
		"a shorter delay": {restart: restart, do: func(w *world) { corrected(w, func(s *api.JobSpec) { s.Restart.Delay = api.Duration(time.Second) }) }},
		"a corrected spec while it runs": {running: true, restart: restart, do: func(w *world) {
			s := *w.View().Job("web").Spec
			s.Command = []string{"./corrected"}
			w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &s})
			w.report("web.0", api.TaskFailed, api.ReasonExited)
		}},
		"it gave up": {restart: api.RestartPolicy{Delay: restart.Delay, MaxDelay: restart.MaxDelay, Attempts: 1}, do: func(w *world) {
			corrected(w, func(s *api.JobSpec) { s.Command = []string{"./corrected"} })
			w.do(&TaskCreate{Meta: w.at(), Job: "web", First: 0, Count: 1})
		}},
		"restarted by hand": {restart: restart, do: func(w *world) {
			_, _ = w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Move: true, Reason: api.ReasonStopped}) // as older programs have it
		}},
		"scaled to 0 and back": {restart: restart, do: func(w *world) {
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 1}, &JobScale{Meta: w.at(), ID: "web", Count: 0},
				&TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Reason: api.ReasonScaledDown}, &JobScale{Meta: w.at(), ID: "web", Count: 2},
				&TaskCreate{Meta: w.at(), Job: "web", First: 0, Count: 1})
		}},
	} {
		for _, level := range []Level{1, Newest} {
			w := newWorld(t, level, 1)
			spec := testSpec(api.KindService, "web", 2)
			spec.Restart = c.restart
			w.do(&JobCreate{Meta: w.at(), Spec: spec})
			for range 2 {
				w.place("web.0", 0)
				w.report("web.0", api.TaskRunning, "")
				w.report("web.0", api.TaskFailed, api.ReasonExited)
			}
			if c.running {
				w.place("web.0", 0)
				w.report("web.0", api.TaskRunning, "")
			}
			was := w.View().Task("web.0")
			c.do(w)
			now := w.View().Task("web.0")
			fresh := now != nil && now.Pending() && now.NotBefore.IsZero() && now.Failures == 0 && (c.running || was.Attempt <= now.Attempt)
			if want := level == Newest || name == "scaled to 0 and back"; fresh != want {
				t.Errorf("%s, level %d: %+v", name, level, now)
			}
			checkSums(t, w.View())
		}
	}
	// The delay holds where nothing was done about it, whatever else changes.
	w := newWorld(t, Newest, 1)
	w.crashing("web", 2, restart)
	for range 2 {
		w.place("web.0", 0)
		w.report("web.0", api.TaskRunning, "")
		w.report("web.0", api.TaskFailed, api.ReasonExited)
	}
	s := *w.View().Job("web").Spec
	s.Priority = 3
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &s})
	if now := w.View().Task("web.0"); now.NotBefore.IsZero() || now.Failures == 0 {
		t.Errorf("another priority: %+v", now)
	}
	w.do(&TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Reason: api.ReasonStopped})
	s.Command = []string{"./corrected"}
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &s})
	if now := w.View().Task("web.0"); now == nil || now.State != api.TaskKilled {
		t.Errorf("one that somebody stopped came back: %+v", now)
	}
}

// A node that lacks what the old version needed may have what the new one does.
func TestANewVersionAvoidsNoNode(t *testing.T) {
	for _, level := range []Level{1, Newest} {
		w := newWorld(t, level, 3)
		w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
		w.fails("web.0", 0, api.ReasonStartFailed)
		w.fails("web.0", 1, api.ReasonStartFailed)
		s := *w.View().Job("web").Spec
		s.Command = []string{"./corrected"}
		w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &s}, &TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Move: true, Reason: api.ReasonReplaced})
		if ids, _ := w.View().Avoids(w.View().Job("web"), w.now); (len(ids) == 0) != (level == Newest) {
			t.Errorf("level %d: avoids %v", level, ids)
		}
		// And two nodes of then do not make three with one of now.
		if task := w.fails("web.0", 2, api.ReasonStartFailed); (task.Failures == 0) != (level == Newest) {
			t.Errorf("level %d: %+v", level, task)
		}
	}
}
