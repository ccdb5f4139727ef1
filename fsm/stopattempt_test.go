package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A stop that names an attempt is of no other, whatever became of the task in between.
func TestAStopOfOneAttemptIsOfNoOther(t *testing.T) {
	for _, move := range []bool{false, true} {
		w := newWorld(t, Newest, 1)
		w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 1)})
		for range 2 {
			w.place("web.0", 0)
			w.report("web.0", api.TaskRunning, "")
			if w.View().Task("web.0").Attempt == 1 {
				w.report("web.0", api.TaskFailed, api.ReasonExited)
			}
		}
		before := w.View().Task("web.0")
		if before.Attempt != 2 {
			t.Fatalf("%+v", before)
		}
		for attempt, want := range map[int]api.Code{1: api.CodeConflict, 3: api.CodeConflict} {
			if _, err := w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Move: move, Attempt: attempt}); api.ErrorCode(err) != want || w.View().Task("web.0") != before {
				t.Errorf("attempt %d: %v, %+v", attempt, err, w.View().Task("web.0"))
			}
		}
		for code, ids := range map[api.Code][]string{api.CodeInvalid: {"web.0", "web.1"}, api.CodeNotFound: {"web.1"}} {
			if _, err := w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: ids, Move: move, Attempt: 2}); api.ErrorCode(err) != code || w.View().Task("web.0") != before {
				t.Errorf("%v: %v, %+v", ids, err, w.View().Task("web.0"))
			}
		}
		w.do(&TaskStop{Meta: w.at(), IDs: []string{"web.0"}, Move: move, Attempt: 2})
		if w.View().Task("web.0").Desired == api.DesiredRun {
			t.Error("the attempt that was named is to run")
		}
	}
}
