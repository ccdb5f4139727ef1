package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// Two of three voters are lost and the third is made the only one. A worker
// that heard of no voter of old follows it by itself. Both lost ones come back
// with their data: they are of another age, so neither side takes the other for
// its own, and both say so. Told to rejoin, they vote again; what was written
// since the recovery is there, and what ran on them continued until the cluster
// knew of it.
func TestRecoveredQuorum(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	leader := l.Leader()
	leader.Submit(sleeper("keep", 4))
	settled(l, leader, "keep", 4)
	before := leader.Submit(trueJob())
	worker := l.Nodes[3]
	left := l.Other(leader, worker)
	var at, has api.Health
	leader.Must(http.MethodGet, "/v1/health", nil, &at)
	l.Await(lab.Patience, "the node that will be left to have all", func() bool {
		return left.Call(http.MethodGet, "/v1/health", nil, &has) == nil && has.Index >= at.Index
	})
	lost := slices.DeleteFunc(slices.Clone(l.Nodes), func(n *lab.Node) bool { return n == left || n == worker })
	for _, n := range lost {
		n.Kill()
	}
	left.Await(lab.Patience, "the quorum to be missed", func() bool { return left.Call(http.MethodGet, "/v1/health", nil, nil) != nil })
	recoverNode(left)
	after := left.Submit(trueJob())
	after = left.AwaitJob(after.ID, "ended")
	var told struct{ Items []api.Event }
	left.Must(http.MethodGet, "/v1/events?since=10m&limit=1000", nil, &told)
	if !slices.ContainsFunc(told.Items, func(e api.Event) bool {
		return e.Kind == api.EventClusterRestored && e.Actor == "node:"+left.Name && strings.Contains(e.Message, "only voter")
	}) {
		t.Errorf("no event tells of the recovery: %+v", told.Items)
	}
	l.Await(lab.Patience, "the worker to follow", func() bool {
		return slices.ContainsFunc(left.Members(), func(m api.NodeStatus) bool {
			return m.Name == worker.Name && m.State == api.NodeReady && strings.HasPrefix(m.Role, "voter")
		})
	})
	l.Await(lab.Patience, "the work of the lost ones to be done by those that are left", func() bool { return len(left.Running("keep")) == 4 })
	for _, n := range lost {
		if got := processesOn(n, "keep"); got != 1 {
			t.Errorf("%s, whose daemon is gone, runs %d processes, want 1", n.Name, got)
		}
	}

	for _, n := range lost {
		n.Launch("start")
	}
	l.Await(lab.Patience, "the lost ones to have a leader of their own", func() bool {
		var h api.Health
		return lost[0].Call(http.MethodGet, "/v1/health", nil, &h) == nil && (h.Leader == lost[0].Name || h.Leader == lost[1].Name)
	})
	for _, n := range append(lost, left) {
		l.Await(lab.Patience, n.Name+" to say that it is of another age", func() bool {
			log, err := os.ReadFile(n.Dir + ".log")
			return err == nil && bytes.Contains(log, []byte("node start --rejoin"))
		})
	}
	next := left.Submit(trueJob())
	next = left.AwaitJob(next.ID, "ended")
	for _, n := range lost {
		n.Terminate()
		n.Launch("start", "--rejoin")
	}
	for _, n := range lost {
		n.AwaitReady()
	}
	l.AwaitVoters(3)
	for _, n := range l.Nodes {
		for _, id := range []string{before.ID, after.ID, next.ID} {
			j := n.AwaitJob(id, "ended")
			if j.State != api.JobFinished {
				t.Errorf("%s says that job %s is %s", n.Name, id, j.State)
			}
		}
	}
	settled(l, left, "keep", 4)
	left.Kill() // the others are a majority of the cluster as it is now
	lost[0].Submit(trueJob())
	lost[1].Must(http.MethodGet, "/v1/jobs/"+next.ID, nil, nil)
}

func trueJob() map[string]any {
	return map[string]any{"kind": "batch", "command": []string{"/bin/true"}}
}

// processesOn counts the processes of a sleeper service on one node.
func processesOn(on *lab.Node, name string) (n int) {
	for _, pid := range lab.PidsOf("mesita-test-"+name, "while :") {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && strings.Contains(string(groups), "/"+on.Slice()+"/") {
			n++
		}
	}
	return n
}

// recoverNode makes a node whose quorum is lost the only voter, and starts it.
func recoverNode(n *lab.Node) {
	n.T.Helper()
	var self struct{ Cluster string }
	if b, err := os.ReadFile(filepath.Join(n.Dir, "node.json")); err != nil || json.Unmarshal(b, &self) != nil {
		n.T.Fatalf("%v: %s", err, b)
	}
	recoverArgs := []string{"cluster", "recover", self.Cluster, "--data", n.Dir, "--listen", n.IP + ":5050"}
	if _, errs, code := n.CLI(recoverArgs...); code != 5 {
		n.T.Errorf("recovering a node that runs ends with %d, want 5: %s", code, errs)
	}
	n.Terminate()
	if out, errs, code := n.CLI(recoverArgs...); code != 0 {
		n.T.Fatalf("recover: exit code %d: %s%s", code, out, errs)
	}
	n.Start()
}

// Both lost nodes start again with their old data, after they were removed:
// they are enough to elect a leader among themselves, and it must not become
// that of the recovered node and undo what was written since.
func TestRemovedVotersDoNotTakeOver(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	left := l.Other(l.Leader())
	b := l.Other(left)
	c := l.Other(left, b)
	b.PowerOff()
	c.PowerOff()
	recoverNode(left)
	after := left.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	after = left.AwaitJob(after.ID, "ended")
	for _, n := range []*lab.Node{b, c} {
		if _, errs, code := left.CLI("node", "rm", "--force", n.Name); code != 0 {
			t.Fatalf("remove %s: exit code %d: %s", n.Name, code, errs)
		}
		n.Launch("start")
	}
	l.Await(lab.Patience, "the removed nodes to have a leader of their own", func() bool {
		var h api.Health
		return b.Call(http.MethodGet, "/v1/health", nil, &h) == nil && (h.Leader == b.Name || h.Leader == c.Name)
	})
	next := left.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	next = left.AwaitJob(next.ID, "ended")
	var h api.Health
	left.Must(http.MethodGet, "/v1/health", nil, &h)
	if h.Leader != left.Name {
		t.Errorf("%s leads the recovered node", h.Leader)
	}
	left.Must(http.MethodGet, "/v1/jobs/"+after.ID, nil, nil)
	if out, errs, code := left.CLI("node", "ls", "-q"); code != 0 || strings.Contains(out, b.Name) || strings.Contains(out, c.Name) {
		t.Errorf("exit code %d, nodes: %s%s", code, out, errs)
	}
}
