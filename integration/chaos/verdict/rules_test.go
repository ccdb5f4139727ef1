package verdict

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
)

// As many as may run are full, one more is wrong; who waits or has ended counts nowhere.
func TestRunning(t *testing.T) {
	on := func(n int, state api.TaskState, node string) (out []*api.Task) {
		for range n {
			out = append(out, &api.Task{Partition: "most", State: state, NodeID: node})
		}
		return out
	}
	beside := append(append(on(9, api.TaskStaging, ""), on(9, api.TaskFinished, "a")...), &api.Task{Partition: "other", State: api.TaskRunning, NodeID: "a"})
	for n, want := range map[int]struct {
		full  bool
		wrong int
	}{0: {}, 1: {}, 2: {full: true}, 3: {wrong: 1}} {
		full, wrong := Running(append(on(n, api.TaskRunning, "a"), beside...), map[string]int{"most": 2})
		if full != want.full || len(wrong) != want.wrong {
			t.Errorf("%d of 2: full %t, %v", n, full, wrong)
		}
	}
}

// What starts before its job's release was sent is wrong, and whatever starts of one
// that was never released.
func TestHeld(t *testing.T) {
	held := map[string]float64{"a.b": 7, "never": 0}
	for _, c := range []struct {
		what, task string
		at         float64
		wrong      bool
	}{{"start", "a.b.0", 6.99, true}, {"start", "a.b.0", 7, false}, {"end", "a.b.0", 6, false}, {"start", "never.3", 900, true}, {"start", "a.0", 1, false}, {"parted", "-", 1, false}} {
		if got := Held(record.Line{What: c.what, Task: c.task, At: c.at}, held); len(got) > 0 != c.wrong {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Who was told to leave may be stopped once it was to, and may end before by itself.
func TestNoticed(t *testing.T) {
	boot := time.Unix(1000, 0)
	leaves := map[record.Attempt]time.Time{{Task: "a.0", Number: 2}: boot.Add(10 * time.Second)}
	for _, c := range []struct {
		what    string
		attempt int
		at      float64
		wrong   bool
	}{{"stopped", 2, 9.5, true}, {"stopped", 2, 9.95, false}, {"stopped", 2, 11, false}, {"end", 2, 5, false}, {"stopped", 1, 5, false}} {
		if got := Noticed(record.Line{What: c.what, Task: "a.0", Attempt: c.attempt, At: c.at}, leaves, boot); len(got) > 0 != c.wrong {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The report is the same by whatever it sums up, and has the attempts that there were.
func TestReport(t *testing.T) {
	row := func(name string, attempts int64, hours float64) *api.ReportRow {
		return &api.ReportRow{Name: name, Attempts: attempts, Starts: attempts, CoreHours: hours}
	}
	report := func() map[string][]*api.ReportRow {
		return map[string][]*api.ReportRow{
			api.ReportUser: {row("root", 3, 0.5)}, api.ReportPartition: {row("p", 2, 0.25), row("q", 1, 0.25)},
			api.ReportNode: {row("oak", 3, 0.5000001)}, api.ReportJob: {row("a", 2, 0.3), row("b", 1, 0.2)},
		}
	}
	tasks := map[string]*api.Task{"a.0": {Job: "a", Attempt: 2}, "b.0": {Job: "b", Attempt: 1}}
	started := map[record.Attempt]bool{{Task: "a.0", Number: 1}: true, {Task: "b.0", Number: 1}: true}
	if wrong := Report(report(), tasks, started); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
	for name, spoil := range map[string]func(by map[string][]*api.ReportRow){
		"an attempt that a node has not": func(by map[string][]*api.ReportRow) { by[api.ReportNode][0].Attempts-- },
		"a start more":                   func(by map[string][]*api.ReportRow) { by[api.ReportUser][0].Starts++ },
		"hours that one has not":         func(by map[string][]*api.ReportRow) { by[api.ReportPartition][0].CoreHours -= 0.001 },
		"one that runs":                  func(by map[string][]*api.ReportRow) { by[api.ReportJob][0].Running = 1 },
		"an attempt too many of a job": func(by map[string][]*api.ReportRow) {
			by[api.ReportJob][0].Attempts, by[api.ReportJob][1].Attempts = 3, 0
		},
		"an attempt of a job is missing":   func(by map[string][]*api.ReportRow) { by[api.ReportJob][1].Name = "c" },
		"one that was preempted elsewhere": func(by map[string][]*api.ReportRow) { by[api.ReportUser][0].Preempted = 1 },
	} {
		by := report()
		spoil(by)
		if wrong := Report(by, tasks, started); len(wrong) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}
