package executor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

func TestRunAndFinish(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			if r.ID == "b.0/1" {
				return runtimetest.Plan{Run: time.Minute}
			}
			return runtimetest.Plan{Run: time.Minute, Code: 3}
		}
		n.Assign(set(assignment("b", 0, 1, batch), assignment("b", 1, 1, batch)))
		settle()
		<-n.Synced()
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1", "b.1/1"})
		time.Sleep(2 * time.Minute)
		settle()
		equal(t, "b.0", n.sink.states("b.0"), []string{"1 TASK_RUNNING", "1 TASK_FINISHED exited"})
		equal(t, "b.1", n.sink.states("b.1"), []string{"1 TASK_RUNNING", "1 TASK_FAILED exited"})
		if st := n.sink.last("b.1"); st.ExitCode == nil || *st.ExitCode != 3 || st.NodeID != "n1" || st.PID == 0 {
			t.Fatalf("status %+v", st)
		}
		if all, _ := n.rt.Running(t.Context()); len(all) != 0 {
			t.Fatalf("the keeper was not told to forget: %v", all)
		}
		// The set still names them, and so does one that lags behind later.
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		n.Assign(nil)
		settle()
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		if got := len(n.rt.Started()); got != 2 {
			t.Fatalf("%d starts, want 2: an ended attempt ran twice", got)
		}
	})
}

func TestStopGrace(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: r.ID == "deaf.0/1"} }
		n.Assign(set(assignment("web", 0, 1), assignment("deaf", 0, 1)))
		settle()
		n.Assign(set(assignment("web", 0, 1, stopped), assignment("deaf", 0, 1, stopped)))
		settle()
		equal(t, "web", n.sink.states("web.0"), []string{"1 TASK_RUNNING", "1 TASK_KILLED stopped"})
		equal(t, "alive within the grace time", n.rt.Alive(), []string{"deaf.0/1"})
		time.Sleep(9 * time.Second)
		equal(t, "alive within the grace time", n.rt.Alive(), []string{"deaf.0/1"})
		time.Sleep(2 * time.Second)
		settle()
		equal(t, "deaf", n.sink.states("deaf.0"), []string{"1 TASK_RUNNING", "1 TASK_KILLED stopped"})
		if st := n.sink.last("deaf.0"); st.Signal != "SIGKILL" || *st.ExitCode != 137 {
			t.Fatalf("status %+v", st)
		}
	})
}

// Who asks once more may leave less time, never more.
func TestStopGraceGetsShorter(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
		grace := func(d time.Duration) func(*api.Task, *api.JobSpec) {
			return func(_ *api.Task, s *api.JobSpec) { s.StopGrace = api.Duration(d) }
		}
		n.Assign(set(assignment("a", 0, 1)))
		settle()
		n.Assign(set(assignment("a", 0, 1, stopped, grace(time.Minute))))
		time.Sleep(5 * time.Second)
		n.Assign(set(assignment("a", 0, 1, stopped, grace(10*time.Second))))
		time.Sleep(8 * time.Second)
		n.Assign(set(assignment("a", 0, 1, stopped, grace(time.Hour))))
		time.Sleep(time.Second)
		n.Assign(set(assignment("a", 0, 1, stopped, grace(10*time.Second))))
		equal(t, "alive within the shorter time", n.rt.Alive(), []string{"a.0/1"})
		time.Sleep(2 * time.Second)
		settle()
		equal(t, "after it", n.sink.states("a.0"), []string{"1 TASK_RUNNING", "1 TASK_KILLED stopped"})
	})
}

func TestTimeLimit(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		limited := func(_ *api.Task, s *api.JobSpec) { s.Time = api.Duration(time.Hour) }
		n.Assign(set(assignment("b", 0, 1, batch, limited)))
		settle()
		time.Sleep(30 * time.Minute)
		n.stop() // the limit holds over a restart of the daemon
		n.start()
		n.Assign(set(assignment("b", 0, 1, batch, limited)))
		settle()
		time.Sleep(29 * time.Minute)
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1"})
		time.Sleep(2 * time.Minute)
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskFailed || st.Reason != api.ReasonTimeLimit {
			t.Fatalf("status %+v", st)
		}
	})
}

func TestEndsToldApart(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			switch r.ID {
			case "oom.0/1":
				return runtimetest.Plan{Run: time.Second, OOM: true}
			case "bad.0/1":
				return runtimetest.Plan{Err: fmt.Errorf("exec /x: %w", os.ErrNotExist)}
			}
			return runtimetest.Plan{}
		}
		none := func(_ *api.Task, s *api.JobSpec) { s.Command = []string{"no-such-program"} }
		nobody := func(_ *api.Task, s *api.JobSpec) { s.User = "no-such-user" }
		nowhere := func(_ *api.Task, s *api.JobSpec) { s.Dir = "/no/such/dir" }
		n.Assign(set(assignment("oom", 0, 1), assignment("bad", 0, 1), assignment("sig", 0, 1),
			assignment("none", 0, 1, none), assignment("nobody", 0, 1, nobody), assignment("nowhere", 0, 1, nowhere)))
		settle()
		n.rt.Exit("sig.0/1", 0, syscall.SIGSEGV)
		time.Sleep(2 * time.Second)
		settle()
		for task, want := range map[string]struct {
			reason api.Reason
			words  string
		}{
			"oom.0":     {api.ReasonOOM, "64MiB"},
			"bad.0":     {api.ReasonStartFailed, "/x"},
			"sig.0":     {api.ReasonSignaled, "SIGSEGV"},
			"none.0":    {api.ReasonStartFailed, "no-such-program"},
			"nobody.0":  {api.ReasonStartFailed, "no-such-user"},
			"nowhere.0": {api.ReasonStartFailed, "/no/such/dir"},
		} {
			st := n.sink.last(task)
			if st.State != api.TaskFailed || st.Reason != want.reason || !strings.Contains(st.Message, want.words) {
				t.Errorf("%s: %+v", task, st)
			}
		}
	})
}

func TestRequest(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("web", 3, 2, func(tk *api.Task, s *api.JobSpec) {
			tk.Ports = map[string]int{"http-main": 8080}
			tk.Partition = "ml/train"
			s.Command = []string{"sh", "-c", "serve {http-main} {index} {other}"}
			s.Env = map[string]string{"A": "b", "PATH": "/bin", "MESITA_JOB": "fake"}
		})))
		settle()
		r := n.rt.Started()[0]
		equal(t, "args", r.Args, []string{"sh", "-c", "serve 8080 3 {other}"})
		for _, v := range []string{"A=b", "PATH=/bin", "HOME=/root", "MESITA_TASK_ID=web.3", "MESITA_JOB=web", "MESITA_INDEX=3", "MESITA_ATTEMPT=2",
			"MESITA_NODE=oak", "MESITA_PARTITION=ml/train", "MESITA_PORT_HTTP_MAIN=8080", "MESITA_CPUS=0.1"} {
			if !slices.Contains(r.Env, v) {
				t.Errorf("environment lacks %s: %v", v, r.Env)
			}
		}
		if slices.Contains(r.Env, "MESITA_JOB=fake") {
			t.Error("a fact was replaced")
		}
		if r.Path != "/bin/sh" || r.Slice != "ml/train/job.web/3-a2" || !r.PrivatePIDs || r.AllowNewPrivileges ||
			r.Limits.Memory != 64<<20 || r.Limits.MilliCPU != 0 || r.Limits.CPUWeight != 250 || r.Limits.PIDs != 4096 || r.LogMax != 20<<20 {
			t.Errorf("request %+v", r)
		}
	})
}

func TestNewerAttemptAndOrphan(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
		n.Assign(set(assignment("web", 0, 1), assignment("web", 1, 1)))
		settle()
		n.Assign(set(assignment("web", 0, 2)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/2"})
		equal(t, "killed", n.sink.states("web.1"), []string{"1 TASK_RUNNING", "1 TASK_KILLED replaced"})
		for attempt, want := range map[int]api.Code{1: api.CodeConflict, 2: "", 0: ""} { // who was let into one does not come into another
			if _, err := n.Exec(t.Context(), executor.ExecRequest{Task: "web.0", Attempt: attempt, Command: []string{"true"}}); api.ErrorCode(err) != want {
				t.Errorf("a command beside attempt %d: %v", attempt, err)
			}
		}
		n.Assign(set(assignment("web", 0, 1))) // of a view that lags behind
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/2"})
		// What a keeper runs and the journal does not know is killed, unless it
		// is to run here.
		if _, err := n.rt.Start(t.Context(), keeper.StartRequest{ID: "ghost.0/1"}); err != nil {
			t.Fatal(err)
		}
		n.stop()
		n.start()
		settle()
		equal(t, "alive until it is known what is to run", n.rt.Alive(), []string{"ghost.0/1", "web.0/2"})
		n.Assign(set(assignment("web", 0, 2)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/2"})
	})
}

func TestReportsRetried(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.sink.fail = 8
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Run: 100 * time.Millisecond} }
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		n.stop() // with nothing acknowledged
		n.start()
		settle()
		time.Sleep(30 * time.Second)
		settle()
		equal(t, "reported", n.sink.states("b.0"), []string{"1 TASK_FINISHED exited"})
		if n.sink.calls != 9 {
			t.Fatalf("%d calls, want 9", n.sink.calls)
		}
		if got := len(n.rt.Started()); got != 1 {
			t.Fatalf("%d starts, want 1", got)
		}
	})
}

// A node whose disk answers nothing says at once whether it has space, as it last
// was: who asks may be the cluster, which takes one that is silent for dead.
func TestADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free, hangs := int64(0), make(chan struct{})
		close(hangs)
		n := newNode(t)
		n.cfg = func(c *executor.Config) {
			c.DiskFree = func(string) (int64, int64, error) { <-hangs; return free, 200 << 30, nil }
		}
		n.start()
		defer func() { n.stop() }()
		if !n.DiskFull() {
			t.Fatal("a full disk has space")
		}
		hung := make(chan struct{})
		hangs, free = hung, 100<<30
		began := time.Now()
		for range 3 {
			if !n.DiskFull() {
				t.Error("a disk that does not answer has space")
			}
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("three answers took %v", took)
		}
		close(hung)
		synctest.Wait()
		if n.DiskFull() {
			t.Error("the disk has space again")
		}
	})
}

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := int64(100 << 30)
		n := newNode(t)
		n.cfg = func(c *executor.Config) {
			c.DiskFree = func(string) (int64, int64, error) { return free, 200 << 30, nil }
		}
		n.start()
		defer func() { n.stop() }()
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		free = 511 << 20
		n.Assign(set(assignment("web", 0, 1), assignment("web", 1, 1)))
		settle()
		equal(t, "web.1", n.sink.states("web.1"), []string{"1 TASK_FAILED disk_full"})
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
		free = 1100 << 20
		if !n.DiskFull() {
			t.Fatal("there is no hysteresis")
		}
		free = 1300 << 20
		if n.DiskFull() {
			t.Fatal("the disk has space again")
		}
		free = 0
		if !n.DiskFull() {
			t.Fatal("a disk with little space was not looked at again")
		}
		free = 100 << 30
		if n.DiskFull() {
			t.Fatal("the disk has plenty of space")
		}
		free = 0
		if n.DiskFull() {
			t.Fatal("a disk that had plenty was looked at again at once")
		}
		time.Sleep(100 * time.Millisecond)
		if !n.DiskFull() {
			t.Fatal("it was never looked at again")
		}
	})
}

func TestGarbage(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = soonOver("b.0/1")
		n.Assign(set(assignment("b", 0, 1, batch), assignment("web", 0, 1)))
		settle()
		has := func(id string) bool {
			_, err := os.Stat(filepath.Join(n.dir, "tasks", strings.Replace(id, "/", ".", 1)))
			return err == nil
		}
		if !has("b.0/1") || !has("web.0/1") {
			t.Fatal("a working folder is missing")
		}
		// Files have times of the real clock, far ahead of the bubble's.
		if err := os.Chtimes(filepath.Join(n.dir, "tasks", "b.0.1"), time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		settle()
		if has("b.0/1") || !has("web.0/1") {
			t.Fatalf("folders after the garbage collection: b.0 %v, web.0 %v", has("b.0/1"), has("web.0/1"))
		}
	})
}

func TestManyCoalesced(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Run: time.Second} }
		var as []api.Assignment
		for i := range 1000 {
			as = append(as, assignment("b", i, 1, batch))
			n.Assign(slices.Clone(as))
		}
		time.Sleep(10 * time.Second)
		settle()
		if got := len(n.rt.Started()); got != 1000 {
			t.Fatalf("%d starts, want 1000", got)
		}
		if n.sink.calls > 200 {
			t.Errorf("%d reports for 2000 statuses: they were not batched", n.sink.calls)
		}
		for i := range 1000 {
			if st := n.sink.last(api.TaskID("b", i)); st.State != api.TaskFinished {
				t.Fatalf("task %d: %+v", i, st)
			}
		}
	})
}

// TestReportsWhileBusy: while starts wait, reports go together; a node that has
// nothing else to do tells at once.
func TestReportsWhileBusy(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		var mu sync.Mutex
		var free time.Time // of the keeper, which begins one after the other
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if free.Before(now) {
				free = now
			}
			free = free.Add(250 * time.Microsecond)
			return runtimetest.Plan{Slow: free.Sub(now), Run: time.Millisecond}
		}
		var as []api.Assignment
		for i := range 800 {
			as = append(as, assignment("b", i, 1, batch))
		}
		n.Assign(as)
		time.Sleep(time.Second)
		settle()
		for i := range as {
			if st := n.sink.last(api.TaskID("b", i)); st.State != api.TaskFinished {
				t.Fatalf("task %d: %+v", i, st)
			}
		}
		if n.sink.calls > 20 { // they took 200 ms
			t.Errorf("%d reports of 800 tasks", n.sink.calls)
		}
		begun := time.Now()
		n.Assign(append(as, assignment("c", 0, 1, batch)))
		for n.sink.last("c.0").State != api.TaskFinished {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if took := time.Since(begun); took > 15*time.Millisecond {
				t.Fatalf("the end of a single task was not told after %s", took)
			}
		}
	})
}
