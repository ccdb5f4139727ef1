package integration

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// processes counts the living processes of a sleeper service of this lab,
// whatever the cluster believes; another run may have left some of the same
// name. One that is just forking counts twice.
func processes(l *lab.Lab, name string) (n int) {
	for _, pid := range lab.PidsOf("mesita-test-"+name, "while :") {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && strings.Contains(string(groups), "/mesita-"+l.ID+"-") { // an error: it just ended
			n++
		}
	}
	return n
}

func settled(l *lab.Lab, n *lab.Node, job string, count int) {
	l.T.Helper()
	l.Await(lab.Patience, "exactly the wanted number of processes", func() bool {
		return len(n.Running(job)) == count && processes(l, job) == count
	})
}

// The leader is killed: the next write succeeds by itself.
func TestLeaderKilled(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	for range 2 {
		leader := l.Leader()
		other := l.Other(leader)
		leader.Kill()
		j := other.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
		j = other.AwaitJob(j.ID, "ended")
		if j.State != api.JobFinished {
			t.Fatalf("job %s is %s", j.ID, j.State)
		}
		leader.Start()
		l.Await(lab.Patience, "the killed node to be ready again", func() bool {
			for _, m := range other.Members() {
				if m.State != api.NodeReady {
					return false
				}
			}
			return true
		})
	}
}

// A node is lost: its tasks start elsewhere. When it is back, exactly the
// wanted number runs.
func TestNodeLost(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	leader.Submit(sleeper("lost", 3))
	settled(l, leader, "lost", 3)
	victim := l.Other(leader)
	victim.Kill()
	l.Await(lab.Patience, "three tasks on the two nodes that are left", func() bool {
		run := leader.Running("lost")
		return len(run) == 3 && !slices.ContainsFunc(run, func(t *api.Task) bool { return t.Node == victim.Name })
	})
	l.Await(lab.Patience, "the lost node's task to continue under its keeper, beside the three", func() bool { return processes(l, "lost") == 4 })
	victim.Start()
	settled(l, leader, "lost", 3)
}

// A node is cut off from the network: its tasks keep running, and when the
// network is back exactly the wanted number runs.
func TestNodeCutOff(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	leader.Submit(sleeper("cut", 3))
	settled(l, leader, "cut", 3)
	victim := l.Other(leader)
	l.Run("ip", "-n", victim.NS, "link", "set", "eth0", "down")
	l.Await(lab.Patience, "replacement", func() bool {
		run := leader.Running("cut")
		return len(run) == 3 && !slices.ContainsFunc(run, func(t *api.Task) bool { return t.Node == victim.Name })
	})
	l.Await(lab.Patience, "the cut-off node's task to continue, beside the three", func() bool { return processes(l, "cut") == 4 })
	l.Run("ip", "-n", victim.NS, "link", "set", "eth0", "up")
	settled(l, leader, "cut", 3)
}

// The daemon is killed with -9: the same processes continue, what they print is
// not lost, and an exit code in between arrives.
func TestDaemonKilled(t *testing.T) { daemonKilled(t, func(*lab.Node) {}) }

// Nor does anything change if the node's journal is damaged meanwhile, as by a
// disk that forgets a bit: the keeper knows what runs and what ended.
func TestDamagedJournal(t *testing.T) {
	daemonKilled(t, func(n *lab.Node) {
		path := n.Dir + "/executor/journal.db"
		b, err := os.ReadFile(path)
		phase := []byte(`"phase":`)
		if err != nil || !bytes.Contains(b, phase) {
			t.Fatal("the journal has no attempt", err)
		}
		for at := range b { // pages of before hold some of it, too
			if bytes.HasPrefix(b[at:], phase) {
				b[at+len(phase)] ^= 1
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if kept := glob(t, path+".corrupt-*"); len(kept) != 1 {
				t.Errorf("kept aside: %v", kept)
			}
		})
	})
}

func daemonKilled(t *testing.T, meanwhile func(*lab.Node)) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Start()
	n.Submit(sleeper("stay", 1))
	gate := n.Dir + ".gate"
	j := n.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/sh", "-c", "while [ ! -e " + gate + " ]; do sleep 0.1; done; exit 7"}})
	settled(l, n, "stay", 1)
	n.AwaitJob(j.ID, "running")
	pid := n.Running("stay")[0].PID
	n.Kill()
	touch(t, gate)
	n.Await(lab.Patience, "the batch's process to end", func() bool { return len(lab.PidsOf(gate)) == 0 })
	meanwhile(n)
	n.Start()
	j = n.AwaitJob(j.ID, "ended")
	if j.ExitCode == nil || *j.ExitCode != 7 {
		t.Errorf("the exit code of while the daemon was away is %v, want 7", j.ExitCode)
	}
	run := n.Running("stay")
	if len(run) != 1 || run[0].PID != pid || run[0].Attempt != 1 {
		t.Fatalf("the service's process changed: %+v, want pid %d", run, pid)
	}
	settled(l, n, "stay", 1)
	before, _, _ := n.CLI("logs", "stay")
	n.Await(lab.Patience, "the log to continue", func() bool {
		now, _, _ := n.CLI("logs", "stay")
		return strings.Count(now, "tick") > strings.Count(before, "tick")+2
	})
}

// The daemon is stopped and started, as in an upgrade: nothing restarts.
func TestDaemonRestarted(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	l.Nodes[0].Submit(sleeper("up", 3))
	settled(l, l.Nodes[0], "up", 3)
	before := map[string]int{}
	for _, task := range l.Nodes[0].Running("up") {
		before[task.ID] = task.PID
	}
	for _, n := range l.Nodes {
		n.Terminate()
		n.Start()
	}
	after := map[string]int{}
	l.Await(lab.Patience, "the tasks to be seen to run", func() bool { return len(l.Nodes[0].Running("up")) == len(before) })
	for _, task := range l.Nodes[0].Running("up") {
		after[task.ID] = task.PID
	}
	if !maps.Equal(before, after) {
		t.Errorf("pids were %v and are %v", before, after)
	}
}

// The power fails everywhere: what was acknowledged is there, and services
// come back.
func TestPowerCut(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	leader.Submit(sleeper("power", 3))
	settled(l, leader, "power", 3)
	var ids []string
	for range 20 {
		ids = append(ids, leader.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}}).ID)
	}
	for _, n := range l.Nodes {
		n.PowerOff()
	}
	l.Await(lab.Patience, "nothing to live after the power cut", func() bool { return processes(l, "power") == 0 })
	for _, n := range l.Nodes {
		n.Launch("start")
	}
	for _, n := range l.Nodes {
		n.AwaitReady()
	}
	settled(l, l.Nodes[0], "power", 3)
	for _, id := range ids {
		j := l.Nodes[1].AwaitJob(id, "ended")
		if j.State != api.JobFinished {
			t.Errorf("job %s is %s", id, j.State)
		}
	}
}

// A node that comes back with another address is the same node.
func TestNewAddress(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	n := l.Other(leader)
	n.Terminate()
	n.Move("10.77.0.99")
	n.Start()
	l.Await(lab.Patience, "the node under its new address", func() bool {
		for _, m := range leader.Members() {
			if m.Name == n.Name {
				return m.Addr == "10.77.0.99:5050" && m.State == api.NodeReady && strings.HasPrefix(m.Role, "voter")
			}
		}
		return false
	})
	if got := len(leader.Members()); got != 3 {
		t.Errorf("there are %d nodes, want 3", got)
	}
	// It votes from there: the cluster does without the third node.
	third := l.Other(leader, n)
	third.Kill()
	leader.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
}

// A fourth node works without voting, follows its assignments over a stream,
// and takes the place of a voter that is gone for good.
func TestWorkerIsPromoted(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	worker := l.Nodes[3]
	leader := l.Leader()
	s := sleeper("work", 1)
	s["constraints"] = []string{"node.name=" + worker.Name}
	leader.Submit(s)
	settled(l, leader, "work", 1)
	worker.Must(http.MethodPost, "/v1/jobs/work/scale", map[string]int{"count": 2}, nil)
	settled(l, worker, "work", 2)
	voter := l.Other(leader, worker)
	voter.Kill()
	l.Await(lab.Patience, "the worker to vote", func() bool {
		roles := map[string]string{}
		for _, m := range leader.Members() {
			roles[m.Name] = m.Role
		}
		return strings.HasPrefix(roles[worker.Name], "voter") && roles[voter.Name] == "worker"
	})
	settled(l, leader, "work", 2)
}

// Whoever started a daemon may be gone when it gets ready, and nobody reads what
// it prints then: the node works all the same.
func TestNobodyReadsThatANodeIsReady(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	unread, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	unread.Close()
	n.LaunchTo(out, "start")
	out.Close()
	l.Await(lab.Patience, "the node to have said that it is ready", func() bool {
		log, err := os.ReadFile(n.Dir + ".log")
		return n.Ended() || err == nil && strings.Contains(string(log), "✓")
	})
	j := n.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	j = n.AwaitJob(j.ID, "ended")
	if j.State != api.JobFinished {
		t.Errorf("job %s is %s", j.ID, j.State)
	}
}
