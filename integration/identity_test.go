package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/lab"
	"go.etcd.io/bbolt"
)

// clusterCA reads the CA in the log of a voter that is stopped.
func clusterCA(t *testing.T, n *lab.Node) (*tlsconf.CA, *fsm.ClusterInit) {
	t.Helper()
	db, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(n.Dir, "raft", "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := uint64(1); ; i++ {
		var l raft.Log
		if err := db.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		cmds, err := fsm.Decode(l.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cmds {
			if made, ok := c.(*fsm.ClusterInit); ok {
				ca, err := tlsconf.LoadCA(made.Authority.CACert, made.Authority.CAKey)
				if err != nil {
					t.Fatal(err)
				}
				return ca, made
			}
		}
	}
}

// certify gives nodes that are stopped a certificate as it was signed then.
func certify(t *testing.T, voter *lab.Node, signed time.Time, life time.Duration, nodes ...*lab.Node) {
	t.Helper()
	ca, made := clusterCA(t, voter)
	for _, n := range nodes {
		files := tlsconf.Files{Dir: n.Dir}
		key, err := files.LoadKey()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := key.CSR()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: n.Name, ClusterID: made.Cluster.ID}, signed, life)
		if err != nil {
			t.Fatal(err)
		}
		if err := files.SaveCert(cert); err != nil {
			t.Fatal(err)
		}
	}
}

func expire(t *testing.T, voter *lab.Node, nodes ...*lab.Node) {
	t.Helper()
	certify(t, voter, time.Now().Add(-30*time.Minute), 10*time.Minute, nodes...)
}

func logOf(t *testing.T, n *lab.Node) string {
	t.Helper()
	b, err := os.ReadFile(n.Dir + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A cluster that was off for longer than its certificates live comes back by
// itself, and so does one voter, and a worker; and so does one whose clocks
// stand before its certificates were made.
func TestExpiredCertificates(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	worker := l.Nodes[3]
	l.Nodes[0].Submit(sleeper("old", 4))
	settled(l, l.Nodes[0], "old", 4)
	all := func(change func()) {
		t.Helper()
		for _, n := range l.Nodes {
			n.Terminate()
		}
		change()
		for _, n := range l.Nodes {
			n.Launch("start")
		}
		for _, n := range l.Nodes {
			n.AwaitReady()
		}
		settled(l, l.Nodes[0], "old", 4)
	}
	all(func() { expire(t, l.Nodes[0], l.Nodes...) })
	for _, n := range l.Nodes {
		if said := logOf(t, n); !strings.Contains(said, "certificate expired while it was off") {
			t.Errorf("%s does not say what is expired and what is done", n.Name)
		}
	}
	all(func() { certify(t, l.Nodes[0], time.Now().Add(1000*time.Hour), tlsconf.DefaultLife, l.Nodes...) })

	tok := l.Nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin, Name: "spare", MaxUses: 1})
	voter := l.Other(l.Leader(), worker)
	voter.Terminate()
	expire(t, voter, voter)
	voter.Launch("join", l.Leader().IP, "--token", tok)
	voter.AwaitReady()
	if said := logOf(t, voter); !strings.Contains(said, "the token was not needed") {
		t.Error("a token that was not needed is ignored without a word")
	}
	worker.Terminate()
	voter.Terminate()
	expire(t, voter, worker)
	voter.Start()
	worker.Start()
	settled(l, l.Nodes[0], "old", 4)
}

// A node that was cut off, removed and then reached again learns that it was
// removed: it ends its tasks, says what to do, and does not come back.
func TestRemovedNodeLearnsIt(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	leader := l.Leader()
	leader.Submit(sleeper("gone", 4))
	settled(l, leader, "gone", 4)
	worker, voter := l.Nodes[3], l.Other(leader, l.Nodes[3])
	rest := l.Other(leader, worker, voter)
	count := 4
	for _, n := range []*lab.Node{worker, voter} {
		l.Wire.Around(n, lab.Trouble{Cut: true})
		l.Await(lab.Patience, n.Name+" to be lost", func() bool {
			for _, m := range leader.Members() {
				if m.Name == n.Name {
					return m.State == api.NodeUnreachable
				}
			}
			return false
		})
		leader.Must(http.MethodDelete, "/v1/nodes/"+n.Name+"?force=1", nil, nil)
		l.Await(lab.Patience, "replacement", func() bool { return len(leader.Running("gone")) == count })
		if got := processes(l, "gone"); got <= count {
			t.Errorf("%d processes run, and %s ended its own while it was cut off", got, n.Name)
		}
		l.Wire.Around(n, lab.Trouble{})
		settled(l, leader, "gone", count)
		l.Await(lab.Patience, n.Name+" to say that it was removed", func() bool {
			err := n.Call(http.MethodGet, "/v1/health", nil, nil)
			return err != nil && strings.Contains(err.Error(), "removed") && strings.Contains(err.Error(), "503")
		})
		n.Kill()
		n.Launch("start")
		l.Await(lab.Patience, n.Name+" to refuse to start", n.Ended)
		if code := n.Cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(logOf(t, n), "join anew") {
			t.Errorf("%s ended with %d", n.Name, code)
		}
	}
	settled(l, rest, "gone", count)
}

// clone is a machine of its own with a copy of a node's data folder.
func clone(t *testing.T, l *lab.Lab, of *lab.Node, number int) *lab.Node {
	t.Helper()
	c := l.AddNode(number)
	if err := lab.CopyLive(of.Dir, c.Dir); err != nil {
		t.Fatal(err)
	}
	c.Name = of.Name // as its folder says
	return c
}

func refusesToStart(t *testing.T, n *lab.Node, words string) {
	t.Helper()
	n.Launch("start")
	n.Await(lab.Patience, n.NS+" to refuse to start", n.Ended)
	if code := n.Cmd.ProcessState.ExitCode(); code == 0 || n.Ready() || !strings.Contains(logOf(t, n), words) {
		t.Errorf("%s ended with %d, ready %v", n.NS, code, n.Ready())
	}
}

// A copy of a node's data folder is turned away while the node answers, and
// every task runs once; a node that is silent is taken over at once, and ends
// its tasks when it wakes up.
func TestCopiedDataFolder(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	nodes := l.Nodes[:4]
	leader := l.Leader()
	worker, voter := nodes[3], l.Other(leader, nodes[3])
	leader.Submit(sleeper("copy", 4))
	settled(l, leader, "copy", 4)
	for i, of := range []*lab.Node{worker, voter, leader} {
		copied := clone(t, l, of, 5+i)
		l.Nodes = nodes
		refusesToStart(t, copied, "is a copy")
		refusesToStart(t, copied, "is a copy") // also when it is started again and again
		settled(l, leader, "copy", 4)
		if of.Ended() {
			t.Fatalf("%s ended over its copy", of.Name)
		}
		l.Await(lab.Patience, "node ls to say that "+of.Name+" was copied", func() bool {
			table, _, _ := leader.CLI("node", "ls")
			return strings.Count(table, "copied") == i+1
		})
	}
	if list, _, _ := leader.CLI("incidents"); strings.Count(list, string(api.IncidentNodeCopied)) != 3 {
		t.Errorf("incidents:\n%s", list)
	}

	copied := clone(t, l, worker, 8)
	l.Nodes = nodes
	worker.PowerOff()
	copied.Start() // the folder has moved, and the other machine is silent
	settled(l, leader, "copy", 4)
	refusesToStart(t, worker, "is a copy")
	settled(l, leader, "copy", 4)
	if err := copied.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	worker.Start()
	l.Await(lab.Patience, "four tasks that the cluster knows", func() bool { return len(leader.Running("copy")) == 4 })
	if err := copied.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.Await(lab.Patience, "the one that was taken over to end", copied.Ended)
	if !strings.Contains(logOf(t, copied), "another daemon speaks for this node") {
		t.Error("it does not say why")
	}
	settled(l, leader, "copy", 4)

	// The same daemon, killed and started at once, is not a copy.
	for _, n := range []*lab.Node{worker, voter, leader} {
		n.Kill()
		n.Start()
	}
	settled(l, leader, "copy", 4)
}
