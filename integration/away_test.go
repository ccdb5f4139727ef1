package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// diary is a file in which tasks write when they start and end.
type diary struct {
	t    *testing.T
	path string
}

// writer is a batch task that notes its start, does something, and notes its
// end.
func (d diary) writer(what string) []string {
	note := func(s string) string {
		return "echo " + s + " $MESITA_TASK_ID $MESITA_ATTEMPT $MESITA_NODE >> " + d.path
	}
	return []string{"/bin/sh", "-c", note("start") + "; " + what + "; " + note("end")}
}

// lines are the entries of one kind by task.
func (d diary) lines(kind string) map[string][]string {
	d.t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if f[0] == kind {
			out[f[1]] = append(out[f[1]], f[2]+"@"+f[3])
		}
	}
	return out
}

// once fails if a task has more entries of a kind than one, and returns how
// many tasks have one.
func (d diary) once(kind string) int {
	d.t.Helper()
	all := d.lines(kind)
	for task, at := range all {
		if len(at) > 1 {
			d.t.Errorf("%s: %d times %s: %v", task, len(at), kind, at)
		}
	}
	return len(all)
}

// howMany is the number that a variable of the environment says, or the usual one.
func howMany(t *testing.T, variable string, usual int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// linger lets real time pass, in which what must not happen may happen.
func linger(d time.Duration) {
	lab.Pause(context.Background(), d)
}

func memberOf(n, of *lab.Node) (m api.NodeStatus) {
	for _, m = range n.Members() {
		if m.Name == of.Name {
			return m
		}
	}
	return m
}

// A daemon is away for a while, killed or hanging: none of its tasks is started
// twice, and nothing new is placed there.
func TestDaemonAway(t *testing.T) {
	for _, how := range []string{"killed", "hangs"} {
		t.Run(how, func(t *testing.T) {
			l := newLab(t, 3)
			l.Form()
			leader := l.Leader()
			victim := l.Other(leader)
			d := diary{t, filepath.Join(t.TempDir(), "diary")}
			gate := d.path + ".gate"
			leader.Submit(sleeper("stay", 3))
			settled(l, leader, "stay", 3)
			j := leader.Submit(map[string]any{"kind": "batch", "array": "0-8", "cpus": 0.05, "mem": "16MiB", "command": d.writer("while [ ! -e " + gate + " ]; do sleep 0.1; done")})
			l.Await(lab.Patience, "all to run", func() bool { return len(d.lines("start")) == 9 && len(leader.Running(j.ID)) == 9 })
			before := pids(leader, "stay", j.ID)
			if how == "killed" {
				victim.Kill()
			} else if err := victim.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			l.Await(lab.Patience, "the node to be away", func() bool { m := memberOf(leader, victim); return m.Away && m.State == api.NodeUnreachable })
			linger(5 * time.Second) // a service moves after three times that
			if got := pids(leader, "stay", j.ID); !slices.Equal(got, before) {
				t.Errorf("tasks moved: %v were %v", got, before)
			}
			if how == "killed" {
				victim.Start()
			} else if err := victim.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			l.Await(lab.Patience, "the node to be ready again", func() bool { return memberOf(leader, victim).State == api.NodeReady })
			touch(t, gate)
			j = leader.AwaitJob(j.ID, "ended")
			if starts, ends := d.once("start"), d.once("end"); j.State != api.JobFinished || starts != 9 || ends != 9 {
				t.Errorf("the job is %s after %d starts and %d ends, want 9", j.State, starts, ends)
			}
			settled(l, leader, "stay", 3)
		})
	}
}

// pids lists the tasks of jobs with their nodes, attempts and processes.
func pids(n *lab.Node, jobs ...string) (out []string) {
	for _, j := range jobs {
		for _, t := range n.Tasks(j) {
			out = append(out, fmt.Sprintf("%s/%d %s %d", t.ID, t.Attempt, t.Node, t.PID))
		}
	}
	slices.Sort(out)
	return out
}

// The keeper dies as well: its tasks start elsewhere as after any silence.
func TestDaemonAndKeeperKilled(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	victim := l.Other(leader)
	leader.Submit(sleeper("moves", 3))
	settled(l, leader, "moves", 3)
	victim.PowerOff()
	var run []*api.Task
	l.Await(lab.Patience, "three tasks on the two nodes that are left", func() bool {
		run = leader.Running("moves")
		return len(run) == 3 && !slices.ContainsFunc(run, func(t *api.Task) bool { return t.Node == victim.Name })
	})
	for _, task := range run {
		for _, a := range task.Earlier { // a node that is away would keep them for a while
			if !strings.HasSuffix(a.Message, "was lost") {
				t.Errorf("%s moved since %s", task.ID, a.Message)
			}
		}
	}
}

// Leaders are killed while short tasks come and go; each is back within 15 s.
// No task runs to its end twice. MESITA_LEADER_KILLS says how many.
func TestLeaderKillsRunNothingTwice(t *testing.T) {
	kills := howMany(t, "MESITA_LEADER_KILLS", 3)
	l := newLab(t, 3)
	l.Form()
	d := diary{t, filepath.Join(t.TempDir(), "diary")}
	var jobs []string
	submit := func(n *lab.Node) {
		for i := range 3 {
			jobs = append(jobs, n.Submit(map[string]any{"kind": "batch", "array": "0-15", "cpus": 0.05, "mem": "16MiB",
				"command": d.writer(fmt.Sprintf("sleep %d.%d", i, len(jobs)%10))}).ID)
		}
	}
	for round := range kills {
		leader := l.Leader()
		other := l.Other(leader)
		submit(other)
		linger(time.Duration(round%7) * 150 * time.Millisecond) // some starting, some running, some done
		leader.Kill()
		submit(other)
		linger(time.Duration(2+round%9) * time.Second)
		leader.Start()
		l.Await(lab.Patience, "the killed node to be ready again", func() bool {
			return !slices.ContainsFunc(other.Members(), func(m api.NodeStatus) bool { return m.State != api.NodeReady })
		})
	}
	for _, id := range jobs {
		j := l.Nodes[0].AwaitJob(id, "ended")
		if j.State != api.JobFinished {
			t.Errorf("job %s is %s", id, j.State)
		}
	}
	if ends := d.once("end"); ends != 16*len(jobs) {
		t.Errorf("%d tasks ran to their end, want %d", ends, 16*len(jobs))
	}
	again := 0
	for _, at := range d.lines("start") {
		again += len(at) - 1
	}
	t.Logf("%d kills, %d tasks, %d started a second time before they were stopped", kills, 16*len(jobs), again)
}

// "Move the folder away and join again": what the old folder's keeper ran is
// ended. Another node of this machine is left alone, and named.
func TestTasksOfAMovedFolderEnd(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Start()
	n.Submit(sleeper("left", 2))
	settled(l, n, "left", 2)
	other := exec.Command(n.Bin, "node", "start", "--foreground", "--name", "twin", "--data", filepath.Join(t.TempDir(), "twin"), "--slice", n.Slice(),
		"--socket", filepath.Join(t.TempDir(), "twin.sock"), "--listen", "127.0.0.1:0")
	out, err := other.CombinedOutput()
	if err == nil || !strings.Contains(string(out), n.Dir) || !strings.Contains(string(out), "--slice") {
		t.Errorf("a second node in the same slice: %v, and it said\n%s", err, out)
	}
	if got := processes(l, "left"); got < 2 {
		t.Errorf("%d processes are left of the node that was there first, want 2", got)
	}
	n.Kill()
	if err := os.Rename(n.Dir, n.Dir+".old"); err != nil {
		t.Fatal(err)
	}
	before := n.Keepers()
	n.Start()
	if got := processes(l, "left"); got != 0 {
		t.Errorf("%d processes of the folder that was moved away run on", got)
	}
	l.Await(lab.Patience, "the old keeper to end", func() bool {
		return !slices.ContainsFunc(before, func(pid int) bool { return slices.Contains(n.Keepers(), pid) })
	})
	n.Submit(sleeper("left", 1))
	settled(l, n, "left", 1)
}
