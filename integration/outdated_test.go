package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// Programs from before the cluster's level are not admitted; a worker that went
// back to one keeps its tasks, gets no new ones, and is told apart.
func TestAnOlderProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds older versions")
	}
	l := newLab(t, 4)
	l.Form()
	leader := l.Leader()
	late := l.AddNode(5)
	newer, older := late.Bin, ""
	for _, commit := range []string{"64a1907", "1abf776"} {
		older = lab.BuildAt(t, commit, t.TempDir())
		late.Bin = older
		from := fileSize(late.Dir + ".log")
		late.Launch("join", leader.IP, "--token", leader.Token(api.TokenRequest{Kind: api.TokenJoin}))
		l.Await(lab.Patience, "the join of "+commit+" to be refused", late.Ended)
		if log, _ := os.ReadFile(late.Dir + ".log"); !strings.Contains(string(log[from:]), "upgrade mesita on this node first") {
			t.Errorf("%s is refused without a word: %s", commit, log[from:])
		}
		if got := len(leader.Members()); got != 4 {
			t.Errorf("there are %d nodes", got)
		}
	}
	status := func(n *lab.Node) api.NodeStatus {
		for _, m := range leader.Members() {
			if m.Name == n.Name {
				return m
			}
		}
		return api.NodeStatus{Node: &api.Node{}}
	}
	worker := l.Nodes[0]
	l.Await(lab.Patience, "three voters and a worker", func() bool {
		voters := 0
		for _, n := range l.Nodes[:4] {
			if is := status(n); is.Role == "worker" {
				worker = n
			} else if strings.HasPrefix(is.Role, "voter") {
				voters++
			}
		}
		return voters == 3
	})
	here := func(name string) map[string]any {
		spec := sleeper(name, 1)
		spec["constraints"] = []string{"rack=" + worker.Name}
		return spec
	}
	leader.Submit(here("kept"))
	settled(l, leader, "kept", 1)
	pid := leader.Tasks("kept")[0].PID
	worker.Terminate()
	worker.Bin = older
	worker.Launch("start")
	l.Await(lab.Patience, "the worker to be told apart", func() bool {
		n := status(worker)
		return n.State == api.NodeReady && n.Outdated
	})
	leader.Submit(here("new"))
	out, _, _ := leader.CLI("node", "ls")
	why, _, _ := leader.CLI("why", "new.0")
	incidents, _, _ := leader.CLI("incidents")
	if !strings.Contains(out, "outdated") || !strings.Contains(why, "runs an older mesita") || !strings.Contains(incidents, "upgrade mesita on this node") {
		t.Errorf("it is not said: %s\n%s\n%s", out, why, incidents)
	}
	if now := leader.Tasks("kept")[0]; now.PID != pid || now.State != api.TaskRunning {
		t.Errorf("its task did not continue: %+v", now)
	}
	worker.Terminate()
	worker.Bin = newer
	worker.Launch("start")
	settled(l, leader, "new", 1)
	if n := status(worker); n.Outdated || leader.Tasks("kept")[0].PID != pid {
		t.Errorf("upgraded: %+v", n)
	}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
