package cli

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// What a job's tasks are shown of says how many there are beside, and how to see them.
func TestAJobShowsHowManyTasksItLeavesOut(t *testing.T) {
	for tasks, more := range map[int]string{shownTasks: "", shownTasks + 1: "\nand 1 more: mesita ps 57 --all\n", 300: "\nand 250 more: mesita ps 57 --all\n"} {
		j := &api.Job{ID: "57", Spec: &api.JobSpec{Kind: api.KindBatch}, Counts: api.JobCounts{Finished: tasks}}
		var out strings.Builder
		if err := showJob(&out, j, make([]*api.Task, 0), nil); err != nil || strings.Contains(out.String(), "more:") {
			t.Errorf("%v: %s", err, out.String())
		}
		shown := make([]*api.Task, min(tasks, shownTasks))
		for i := range shown {
			shown[i] = &api.Task{ID: "57.0", Job: "57", State: api.TaskFinished}
		}
		out.Reset()
		if err := showJob(&out, j, shown, nil); err != nil || !strings.HasSuffix(out.String(), more) || strings.Contains(out.String(), "more:") != (more != "") {
			t.Errorf("%d tasks: %v: %s", tasks, err, out.String()[max(0, out.Len()-200):])
		}
	}
}
