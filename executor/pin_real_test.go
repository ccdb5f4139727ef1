package executor_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/isolation"
)

// newPinning is a node that gives tasks CPUs of their own.
func newPinning(t *testing.T) (r *real, cpus []int) {
	r = newReal(t)
	host, err := isolation.Detect(isolation.Config{Slice: r.slice})
	if err != nil {
		t.Fatal(err)
	}
	if cpus = host.Cores(); len(cpus) < 2 {
		t.Skip("no CPU can be given away here")
	}
	r.stop()
	r.cores = host
	r.start()
	return r, cpus
}

func pinned(n int64) func(*api.Task, *api.JobSpec) {
	return func(tk *api.Task, s *api.JobSpec) {
		tk.Resources.CPUs, tk.Resources.Pins, s.Pin = api.MilliCPU(n*1000), n, true
		s.Command = []string{"sleep", "1000"}
	}
}

// allowed is what a task's process may run on.
func (r *real) allowed(task string) string {
	r.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.state(task, api.TaskRunning).PID))
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

func (r *real) want(when, task, list string) {
	r.Helper()
	r.until(fmt.Sprintf("%s, %s may run on %s", when, task, list), func() bool { return r.allowed(task) == list })
}

// A task's own CPUs are nobody else's, from before it starts until it has ended,
// whoever else ends or begins meanwhile: the daemon, other tasks, commands beside
// it, the journal.
func TestRealOwnCPUs(t *testing.T) {
	r, cpus := newPinning(t)
	all, pool, own := isolation.CPUList(cpus), isolation.CPUList(cpus[:len(cpus)-1]), isolation.CPUList(cpus[len(cpus)-1:])
	sleep := command("sleep", "1000")
	before, mine, after := assignment("before", 0, 1, sleep), assignment("own", 0, 1, pinned(1)), assignment("after", 0, 1, sleep)
	r.Assign(set(before))
	r.want("at first", "before.0", all)
	r.Assign(set(before, mine))
	r.state("own.0", api.TaskRunning)
	if got := r.allowed("own.0"); got != own {
		t.Errorf("it may run on %s, and not on its own %s", got, own)
	}
	for _, s := range r.Stats(t.Context(), api.StatsAll) {
		if want := map[string]string{"own.0": own}[s.Task]; s.OwnCPUs != want {
			t.Errorf("%s is said to have %q, and not %q", s.Task, s.OwnCPUs, want)
		}
	}
	if got := r.allowed("before.0"); got != pool {
		t.Errorf("as it runs, another may run on %s, and not on %s", got, pool)
	}
	var out bytes.Buffer
	if code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "own.0", Command: []string{"grep", "Cpus_allowed_list", "/proc/self/status"}, Stdout: &out}); err != nil || code != 0 || strings.TrimSpace(strings.TrimPrefix(out.String(), "Cpus_allowed_list:")) != own {
		t.Errorf("a command beside it: %d %v %q", code, err, out.String())
	}
	r.Assign(set(before, mine, after))
	r.state("after.0", api.TaskRunning)
	if got := r.allowed("after.0"); got != pool {
		t.Errorf("one that came later may run on %s, and not on %s", got, pool)
	}
	for i, journal := range []bool{true, false} {
		r.stop()
		if !journal {
			if err := os.Remove(filepath.Join(r.dir, "executor", "journal.db")); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		later := assignment("later", i, 1, sleep)
		r.Assign(set(before, mine, after, later))
		r.state(later.Task.ID, api.TaskRunning)
		for task, list := range map[string]string{"own.0": own, "before.0": pool, "after.0": pool, later.Task.ID: pool} {
			r.want("after a restart", task, list)
		}
		r.Assign(set(before, mine, after))
		r.state(later.Task.ID, api.TaskKilled)
	}
	r.Assign(set(before, after, assignment("own", 0, 1, pinned(1), stopped)))
	r.state("own.0", api.TaskKilled)
	r.want("once it ended", "before.0", all)
	r.want("once it ended", "after.0", all)
}

// More than there is, or what cannot be kept, is refused and not run without; who
// is refused takes nothing.
func TestRealCPUsThatCannotBeHad(t *testing.T) {
	r, cpus := newPinning(t)
	r.Assign(set(assignment("greedy", 0, 1, batch, pinned(int64(len(cpus))))))
	st := r.state("greedy.0", api.TaskFailed)
	if st.Reason != api.ReasonUnsupported || st.PID != 0 || !strings.Contains(st.Message, "node oak has no "+fmt.Sprint(len(cpus))+" cpus left that no other task has") {
		t.Errorf("%+v", st)
	}
	r.Assign(set(assignment("greedy", 0, 1, batch, pinned(int64(len(cpus)))), assignment("own", 0, 1, pinned(int64(len(cpus)-1)))))
	r.want("as another was refused", "own.0", isolation.CPUList(cpus[1:]))
}

// One after the other has the same CPU, and each keeps off those that share.
func TestRealCPUsAreGivenOn(t *testing.T) {
	r, cpus := newPinning(t)
	n := int64(len(cpus) - 1)
	as := set(assignment("other", 0, 1, command("sleep", "1000")))
	r.Assign(as)
	for i := range 5 {
		job := fmt.Sprint("own", i)
		r.Assign(append(slices.Clone(as), assignment(job, 0, 1, pinned(n))))
		r.want("in turn", job+".0", isolation.CPUList(cpus[1:]))
		if got := r.allowed("other.0"); got != isolation.CPUList(cpus[:1]) {
			t.Errorf("another may run on %s meanwhile", got)
		}
		r.Assign(append(slices.Clone(as), assignment(job, 0, 1, pinned(n), stopped)))
		r.state(job+".0", api.TaskKilled)
	}
	pid := r.state("other.0", api.TaskRunning).PID
	if err := syscall.Kill(pid, 0); err != nil {
		t.Error(err)
	}
	r.want("in the end", "other.0", isolation.CPUList(cpus))
}
