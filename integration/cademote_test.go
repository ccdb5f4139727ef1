package integration

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// keys lists the files of a node's folder that hold a private key that is not its own.
func keys(t *testing.T, n *lab.Node) (found []string) {
	t.Helper()
	err := filepath.WalkDir(n.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() || d.Name() == "node.key" {
			return nil // it is gone by now
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("PRIVATE KEY")) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A voter that is demoted is a worker: another votes in its place, it keeps its tasks
// and nothing that has a key of the CA, which is another one by then.
func TestADemotedVoterHasNoKey(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	leader := l.Leader()
	voter, worker := l.Other(leader, l.Nodes[3]), l.Nodes[3]
	s := sleeper("stays", 1)
	s["constraints"] = []string{"node.name=" + voter.Name}
	leader.Submit(s)
	settled(l, leader, "stays", 1)
	if len(keys(t, voter)) == 0 {
		t.Fatal("a voter does not have the key of the CA")
	}
	stolen := thief(t, voter)
	leader.Must(http.MethodPost, "/v1/nodes/"+worker.Name+"/promote", struct{}{}, nil)
	leader.Must(http.MethodPost, "/v1/nodes/"+voter.Name+"/demote", struct{}{}, nil)
	l.Await(lab.Patience, "the other to vote in its place", func() bool {
		roles := map[string]string{}
		for _, m := range l.Leader().Members() {
			roles[m.Name] = m.Role
		}
		return strings.HasPrefix(roles[worker.Name], "voter") && roles[voter.Name] == "worker"
	})
	awaitCA(t, l, 3, leader, l.Other(leader, voter), worker, voter)
	l.Await(lab.Patience, "the key to be erased", func() bool { return len(keys(t, voter)) == 0 })
	for _, n := range l.Nodes {
		if letIn(t, stolen, n) {
			t.Errorf("%s lets the old key in", n.Name)
		}
	}
	settled(l, l.Leader(), "stays", 1)
	if run := l.Leader().Running("stays"); len(run) != 1 || run[0].Attempt != 1 || run[0].Node != voter.Name {
		t.Errorf("its task was moved or started again: %+v", run)
	}
	// Made a voter again, it votes.
	leader.Must(http.MethodPost, "/v1/nodes/"+voter.Name+"/promote", struct{}{}, nil)
	l.Other(leader, voter).Kill()
	l.Await(lab.Patience, "it to vote again", func() bool {
		for _, m := range l.Leader().Members() {
			if m.Name == voter.Name && strings.HasPrefix(m.Role, "voter") {
				return true
			}
		}
		return false
	})
}
