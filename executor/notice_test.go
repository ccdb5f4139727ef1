package executor_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

var leavesAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// leaving is a task that the cluster has told when it will be stopped.
func leaving(tk *api.Task, _ *api.JobSpec) {
	tk.Desired, tk.Reason, tk.State, tk.Leaves = api.DesiredLeave, api.ReasonPreempted, api.TaskRunning, &leavesAt
}

func signaledBy(sig string) func(*api.Task, *api.JobSpec) {
	return func(_ *api.Task, s *api.JobSpec) { s.NoticeSignal = sig }
}

// noticeOf is what the file says that a task was told of, nil: there is none.
func (n *node) noticeOf(id string) *executor.Notice {
	n.t.Helper()
	for _, r := range n.rt.Started() {
		for _, v := range r.Env {
			path, ok := strings.CutPrefix(v, "MESITA_NOTICE=")
			if !ok || r.ID != id {
				continue
			}
			b, err := os.ReadFile(path)
			if os.IsNotExist(err) {
				return nil
			}
			out := new(executor.Notice)
			if err == nil {
				err = json.Unmarshal(b, out)
			}
			if err != nil {
				n.t.Fatal(err)
			}
			return out
		}
	}
	n.t.Fatalf("%s has no MESITA_NOTICE", id)
	return nil
}

// A task is told once when it will be stopped, by a file and, if its job asked for
// one, by a signal; it runs on until the cluster says that it is time, whatever the
// clock of the node says, and a daemon that starts again tells it again.
func TestNoticeIsGivenOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
		both := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
			return set(assignment("file", 0, 1, append(change, batch)...), assignment("both", 0, 1, append(change, batch, signaledBy("SIGUSR1"))...))
		}
		n.Assign(both())
		settle()
		if n.noticeOf("file.0/1") != nil || n.noticeOf("both.0/1") != nil {
			t.Fatal("there is a notice before it is given")
		}
		n.Assign(both(leaving))
		settle()
		for _, id := range []string{"file.0/1", "both.0/1"} {
			if got := n.noticeOf(id); got == nil || !got.Stop.Equal(leavesAt) || got.Reason != api.ReasonPreempted || !strings.Contains(got.Message, "SIGTERM") {
				t.Fatalf("%s: %+v", id, got)
			}
		}
		n.Assign(both(leaving))
		pass(100 * time.Hour)
		equal(t, "signals", n.rt.Signals(), []string{"both.0/1 user defined signal 1"})
		n.stop()
		n.start()
		n.Assign(both(leaving))
		settle()
		equal(t, "signals after the daemon came back", n.rt.Signals(), []string{"both.0/1 user defined signal 1", "both.0/1 user defined signal 1"})
		n.Assign(both(leaving, moved))
		settle()
		if got := n.rt.Signals(); len(got) != 4 || len(n.rt.Alive()) != 2 {
			t.Fatalf("when it is time: %v", got)
		}
		pass(time.Duration(api.DefaultStopGrace) + time.Second)
		equal(t, "alive", n.rt.Alive(), []string{})
	})
}

// A file that cannot be written is tried again, and the signal does not wait for it for
// ever, and comes once.
func TestNoticeIsWrittenBeforeTheSignal(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
		n.Assign(set(assignment("b", 0, 1, batch, signaledBy("SIGUSR2"))))
		settle()
		dir := filepath.Join(n.dir, "tasks", "b.0.1")
		if err := os.Rename(dir, dir+"x"); err != nil {
			t.Fatal(err)
		}
		n.Assign(set(assignment("b", 0, 1, batch, signaledBy("SIGUSR2"), leaving)))
		pass(time.Second)
		equal(t, "signals at first", n.rt.Signals(), []string{})
		pass(time.Minute)
		equal(t, "signals without a file", n.rt.Signals(), []string{"b.0/1 user defined signal 2"})
		if err := os.Rename(dir+"x", dir); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		settle()
		if n.noticeOf("b.0/1") == nil {
			t.Fatal("it was not told")
		}
		equal(t, "signals", n.rt.Signals(), []string{"b.0/1 user defined signal 2"})
	})
}

// What is in the file a program sees where it is told to look: in its own folder or,
// where it works in another's, in its own /tmp; as a user of its own, too.
func TestRealNotice(t *testing.T) {
	r := newReal(t)
	ways := map[string]func(*api.Task, *api.JobSpec){
		"own":  func(*api.Task, *api.JobSpec) {},
		"dir":  func(_ *api.Task, s *api.JobSpec) { s.Dir = "/" },
		"user": func(_ *api.Task, s *api.JobSpec) { s.User = api.TaskUser },
	}
	plain := command("sh", "-c", `until [ -e "$MESITA_NOTICE" ]; do sleep 0.05; done; cat "$MESITA_NOTICE"; exit 3`)
	var first, then []api.Assignment
	for name, way := range ways {
		first = append(first, assignment(name, 0, 1, batch, plain, way))
		then = append(then, assignment(name, 0, 1, batch, plain, way, leaving))
	}
	r.Assign(first)
	for name := range ways {
		r.state(name+".0", api.TaskRunning)
	}
	r.Assign(then)
	for name := range ways {
		if st := r.state(name+".0", api.TaskFailed); *st.ExitCode != 3 {
			t.Errorf("%s: %+v", name, st)
		}
		if got := r.log(name+".0", executor.LogOptions{Follow: true}); !strings.Contains(got, `"stop":"2026-03-04T05:06:07Z"`) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
