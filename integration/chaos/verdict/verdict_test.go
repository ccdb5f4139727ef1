package verdict

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A promise that was broken in any way is found, and one that was kept is not.
func TestBatch(t *testing.T) {
	code := func(n int) *int { return &n }
	task := func(index int, state api.TaskState, reason api.Reason, exit *int) *api.Task {
		return &api.Task{ID: api.TaskID("b", index), Job: "b", Attempt: 1, State: state, Reason: reason, ExitCode: exit}
	}
	good := task(0, api.TaskFinished, "", code(0))
	for _, tt := range []struct {
		name    string
		p       Promise
		state   api.JobState
		tasks   []*api.Task
		forgets bool
		wrong   string // a part of it; "" if nothing is
	}{
		{"done", Promise{Codes: []int{0}}, api.JobFinished, []*api.Task{good}, false, ""},
		{"failed as it had to", Promise{Codes: []int{7}}, api.JobFailed, []*api.Task{task(0, api.TaskFailed, api.ReasonExited, code(7))}, false, ""},
		{"a task is gone", Promise{Codes: []int{0, 0}}, api.JobFinished, []*api.Task{good}, false, "task 1 of b is not there"},
		{"a stopped task is gone", Promise{Codes: []int{0, 0}, Stopped: true}, api.JobStopped, []*api.Task{good}, false, "task 1 of b is not there"},
		{"a stopped task is gone, as it was before levels", Promise{Codes: []int{0, 0}, Stopped: true}, api.JobStopped, []*api.Task{good}, true, ""},
		{"a task continues", Promise{Codes: []int{0}}, api.JobFinished, []*api.Task{task(0, api.TaskRunning, "", nil)}, false, "has not ended"},
		{"another code", Promise{Codes: []int{0}}, api.JobFailed, []*api.Task{task(0, api.TaskFailed, api.ReasonExited, code(1))}, false, "its exit code is 1, want 0"},
		{"no code", Promise{Codes: []int{0}}, api.JobFailed, []*api.Task{task(0, api.TaskLost, api.ReasonExited, nil)}, false, "its exit code is none, want 0"},
		{"failed with the code of success", Promise{Codes: []int{0}}, api.JobFailed, []*api.Task{task(0, api.TaskFailed, api.ReasonExited, code(0))}, false, "want 0"},
		{"stopped", Promise{Codes: []int{0}, Stopped: true}, api.JobStopped, []*api.Task{task(0, api.TaskKilled, api.ReasonStopped, nil)}, false, ""},
		{"stopped, and nobody asked for it", Promise{Codes: []int{0}}, api.JobStopped, []*api.Task{task(0, api.TaskKilled, api.ReasonStopped, nil)}, false, "want 0"},
		{"stopped, and finished with another code", Promise{Codes: []int{3}, Stopped: true}, api.JobFinished, []*api.Task{good}, false, "want 3"},
		{"the job says otherwise than its tasks", Promise{Codes: []int{0}}, api.JobFailed, []*api.Task{good}, false, "batch b is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.Job, tt.p.Acked = "b", true
			tasks := map[string]*api.Task{}
			for _, x := range tt.tasks {
				tasks[x.ID] = x
			}
			same(t, tt.p.Batch(&api.Job{ID: "b", State: tt.state}, tasks, tt.forgets), tt.wrong)
		})
	}
	same(t, (&Promise{Job: "b", Acked: true}).Batch(nil, nil, false), "acknowledged and is not there")
	same(t, (&Promise{Job: "b"}).Batch(nil, nil, false), "")
	same(t, (&Promise{Job: "b", Idle: true}).Batch(&api.Job{}, nil, false), "")
	same(t, (&Promise{Job: "b", Idle: true}).Batch(&api.Job{Counts: api.JobCounts{Running: 1}}, nil, false), "no tasks, and has 1")
}

func same(t *testing.T, wrong []string, want string) {
	t.Helper()
	got := strings.Join(wrong, "; ")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// What a task wrote last has to be what the cluster says, if it ended by itself.
func TestWritten(t *testing.T) {
	five := 5
	failed := &api.Task{ID: "b.0", State: api.TaskFailed, Reason: api.ReasonExited, ExitCode: &five}
	same(t, Written(failed, "5"), "")
	same(t, Written(failed, ""), `wrote ""`)
	same(t, Written(failed, "0"), `wrote "0"`)
	same(t, Written(&api.Task{State: api.TaskKilled, Reason: api.ReasonStopped}, ""), "")
}

// Each unit of a node is in one place.
func TestLedger(t *testing.T) {
	of := func(free, allocated api.MilliCPU, mem api.Bytes) *api.NodeStatus {
		return &api.NodeStatus{Node: &api.Node{Name: "n1", Resources: api.Resources{CPUs: 4000, Mem: 100}},
			Ledger: api.Ledger{Free: api.Resources{CPUs: free, Mem: mem}, Allocated: api.Resources{CPUs: allocated, Mem: 100 - mem}}}
	}
	same(t, Ledger(of(3000, 1000, 50)), "")
	same(t, Ledger(of(3000, 1001, 50)), "n1")
	same(t, Ledger(of(3000, 999, 50)), "n1")
	same(t, Ledger(of(-1, 4001, 50)), "n1")
	same(t, Ledger(of(4000, 0, -1)), "n1")
}
