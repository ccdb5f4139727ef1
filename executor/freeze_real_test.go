package executor_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/isolation"
)

// newFreezable is a real node on a machine that can freeze.
func newFreezable(t *testing.T) *real {
	r := newReal(t)
	// Another top slice of the test's own: the keeper makes and removes its.
	slice := r.slice + "-probe"
	h, err := isolation.Detect(isolation.Config{Slice: slice})
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + slice)
	for _, d := range append(dirs, "/sys/fs/cgroup/"+slice) {
		_ = os.Remove(d)
	}
	if h.Attributes()["isolation.freeze"] != "yes" {
		t.Skip("this machine has no cgroup freezer")
	}
	return r
}

// cpu is what the task has used of its processors' time.
func (r *real) cpu(task string) time.Duration {
	r.Helper()
	for _, s := range r.Stats(r.Context(), api.StatsAll) {
		if s.Task == task {
			return s.CPUTime
		}
	}
	r.Fatalf("%s has no statistics", task)
	return 0
}

func (r *real) ticks(task string) int { return strings.Count(r.log(task, executor.LogOptions{}), "\n") }

func (r *real) frozen(task string) api.TaskStatus {
	r.Helper()
	r.until(task+" is frozen", func() bool { return r.sink.last(task).Frozen })
	return r.sink.last(task)
}

func TestRealFreeze(t *testing.T) {
	r := newFreezable(t)
	// Two processes that never rest, one of them a child, and a log that shows it.
	busy := command("sh", "-c", "(while :; do :; done) & i=0; while :; do i=$((i+1)); [ $((i%500)) = 0 ] && echo $i; done")
	run, ice := set(assignment("b", 0, 1, batch, busy)), set(assignment("b", 0, 1, batch, busy, frozen))
	r.Assign(run)
	pid := r.state("b.0", api.TaskRunning).PID
	r.until("the loop turns", func() bool { return r.ticks("b.0") > 0 })
	r.Assign(ice)
	if st := r.frozen("b.0"); st.PID != pid || st.Attempt != 1 || st.State != api.TaskRunning {
		t.Fatalf("status %+v, want pid %d", st, pid)
	}
	still := func(when string) {
		t.Helper()
		r.until(when+": a frozen task uses no processor time", func() bool { // what it used before may be counted later
			before := r.cpu("b.0")
			<-time.After(200 * time.Millisecond) // that it could have used
			return r.cpu("b.0")-before <= time.Millisecond
		})
	}
	still("frozen")
	if _, err := r.Exec(t.Context(), executor.ExecRequest{Task: "b.0", Command: []string{"true"}}); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "is frozen") {
		t.Fatalf("exec: %v", err)
	}
	r.stop()
	r.start()
	r.Assign(ice)
	<-r.Synced()
	r.frozen("b.0")
	still("after a restart of the daemon")
	before, used := r.ticks("b.0"), r.cpu("b.0")
	r.Assign(run)
	r.until("it continues", func() bool { return r.ticks("b.0") > before && r.cpu("b.0") > used })
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatal(err)
	}
	r.until("commands run beside it again", func() bool {
		code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "b.0", Command: []string{"sh", "-c", "exit 4"}})
		return err == nil && code == 4
	})
	if st := r.sink.last("b.0"); st.PID != pid || st.Attempt != 1 {
		t.Fatalf("status %+v, want pid %d", st, pid)
	}
}

// A frozen task heeds its stop signal, and ends by force if it does not.
func TestRealFreezeThenStop(t *testing.T) {
	r := newFreezable(t)
	polite := command("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do :; done")
	deaf := func(_ *api.Task, s *api.JobSpec) {
		s.Command, s.StopGrace = []string{"sh", "-c", "trap '' TERM; echo up; while :; do :; done"}, api.Duration(200*time.Millisecond)
	}
	both := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
		return set(assignment("polite", 0, 1, append(change, polite)...), assignment("deaf", 0, 1, append(change, deaf)...))
	}
	r.Assign(both())
	for _, task := range []string{"polite.0", "deaf.0"} {
		r.state(task, api.TaskRunning)
		r.until(task+" is up", func() bool { return r.ticks(task) == 1 })
	}
	r.Assign(both(frozen))
	r.frozen("polite.0")
	r.frozen("deaf.0")
	r.Assign(both(stopped))
	if st := r.state("polite.0", api.TaskKilled); st.ExitCode == nil || *st.ExitCode != 0 {
		t.Fatalf("status %+v", st)
	}
	if got := r.log("polite.0", executor.LogOptions{Follow: true}); got != "up\nbye\n" {
		t.Fatalf("log %q", got)
	}
	if st := r.state("deaf.0", api.TaskKilled); st.Signal != "SIGKILL" {
		t.Fatalf("status %+v", st)
	}
}

// A frozen task that is killed from outside, and one whose keeper dies, end.
func TestRealFrozenDies(t *testing.T) {
	r := newFreezable(t)
	both := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
		sleep := command("sleep", "1000")
		return set(assignment("web", 0, 1, append(change, sleep)...), assignment("web", 1, 1, append(change, sleep)...))
	}
	r.Assign(both())
	r.state("web.0", api.TaskRunning)
	pid := r.state("web.1", api.TaskRunning).PID
	r.Assign(both(frozen))
	killed := r.frozen("web.0").PID
	r.frozen("web.1")
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := r.state("web.0", api.TaskFailed); st.Reason != api.ReasonSignaled {
		t.Fatalf("status %+v", st)
	}
	r.killKeeper()
	if st := r.state("web.1", api.TaskFailed); st.Reason != api.ReasonKeeperLost {
		t.Fatalf("status %+v", st)
	}
	r.until("the orphan dies", func() bool { return syscall.Kill(pid, 0) != nil })
}

// However often and fast it is frozen and thawed, commands beside it start or
// are refused, and none of them holds up the keeper.
func TestRealFreezeBesideExec(t *testing.T) {
	r := newFreezable(t)
	web := command("sleep", "1000")
	r.Assign(set(assignment("web", 0, 1, web)))
	r.state("web.0", api.TaskRunning)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var ran, refused int
		for end := time.Now().Add(patience); ran < 5 || refused < 5; {
			_, err := r.Exec(t.Context(), executor.ExecRequest{Task: "web.0", Command: []string{"true"}})
			switch {
			case err == nil:
				ran++
			case strings.Contains(err.Error(), "is frozen"):
				refused++
			default:
				t.Error(err)
				return
			}
			if time.Now().After(end) {
				t.Errorf("%d commands ran and %d were refused", ran, refused)
				return
			}
		}
	}()
	for i := 0; ; i++ {
		if i%2 == 0 {
			r.Assign(set(assignment("web", 0, 1, web, frozen)))
		} else {
			r.Assign(set(assignment("web", 0, 1, web)))
		}
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond << (i / 2 % 8)): // short for a fast machine, long for a slow one
		}
	}
}
