package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/integration/lab"
)

// thief holds a node's key and certificate as they were.
func thief(t *testing.T, n *lab.Node) *tlsconf.Holder {
	t.Helper()
	files := tlsconf.Files{Dir: n.Dir}
	key, err := files.LoadKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := files.LoadCert()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := files.LoadCA()
	if err != nil {
		t.Fatal(err)
	}
	h, err := tlsconf.NewHolder(key, cert, ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// letIn reports whether a node answers a request over TLS with a certificate. What the
// node shows is not looked at.
func letIn(t *testing.T, h *tlsconf.Holder, n *lab.Node) bool {
	t.Helper()
	raw, err := n.DialTo(n)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conf := h.ClientConfig("http/1.1", "")
	conf.VerifyConnection = nil
	c := tls.Client(raw, conf)
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET /v1/health HTTP/1.1\r\nHost: mesita\r\n\r\n")); err != nil {
		return false
	}
	b := make([]byte, 8)
	_, err = c.Read(b)
	return err == nil && string(b) == "HTTP/1.1"
}

// awaitCA waits until nodes trust one key of the CA and no other, that a change of so
// many steps led to.
func awaitCA(t *testing.T, l *lab.Lab, step uint64, nodes ...*lab.Node) {
	t.Helper()
	l.Await(lab.Patience, "all to trust the new key and nothing else", func() bool {
		var s struct{ CA api.CAStatus }
		if nodes[0].Call(http.MethodGet, "/v1/cluster", nil, &s) != nil || s.CA.Phase != "" || s.CA.Step != step {
			return false
		}
		first := roots(t, nodes[0])
		for _, n := range nodes {
			if got := roots(t, n); bytes.Count(got, []byte("BEGIN CERTIFICATE")) != 1 || !bytes.Equal(got, first) {
				return false
			}
		}
		return true
	})
}

func roots(t *testing.T, n *lab.Node) []byte {
	t.Helper()
	b, err := tlsconf.Files{Dir: n.Dir}.LoadCA()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}

// load submits jobs at nodes until it is stopped, and says how many it was and what
// failed.
func load(t *testing.T, nodes ...*lab.Node) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done atomic.Int64
	for _, n := range nodes {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := n.Do(http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "cpus": 0.05, "mem": "16MiB", "command": []string{"/bin/true"}}, nil)
				if err == nil {
					err = n.Do(http.MethodGet, "/v1/tasks", nil, nil)
				}
				if err != nil {
					t.Errorf("at %s: %v", n.Name, err)
				}
				done.Add(1)
				lab.Pause(ctx, 20*time.Millisecond)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return func() int64 { cancel(); wg.Wait(); return done.Load() }
}

// The key of the CA changes while jobs are submitted, whoever leads is killed in the
// middle, and a node is off all the while: no request fails, no task of a node
// that stays is started again, all nodes have the new key in the end, and the old one lets nobody in.
func TestTheCAKeyChangesUnderLoad(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	off := l.Nodes[3]
	off.Terminate()
	leader := l.Leader()
	leader.Submit(sleeper("stays", 3))
	settled(l, leader, "stays", 3)
	onLeader := map[string]bool{} // these may be replaced, if it takes long to come back
	attempts := map[string]int{}
	for _, task := range leader.Running("stays") {
		onLeader[task.ID], attempts[task.ID] = task.Node == leader.Name, task.Attempt // one may have been for the node that went
	}
	stolen := thief(t, l.Other(leader, off))
	for _, n := range l.Nodes[:3] {
		if !letIn(t, stolen, n) {
			t.Fatalf("%s refuses the key before it is changed", n.Name)
		}
	}
	others := []*lab.Node{l.Other(leader, off)}
	others = append(others, l.Other(leader, off, others[0]))
	stop := load(t, others...)
	before := leader.Token(api.TokenRequest{Kind: api.TokenClient, Name: "before", Role: api.RoleViewer})
	leader.Must(http.MethodPost, "/v1/ca", struct{}{}, nil)
	leader.Kill()
	l.Await(lab.Patience, "another leader", func() bool {
		var h api.Health
		return others[0].Call(http.MethodGet, "/v1/health", nil, &h) == nil && h.Leader != "" && h.Leader != leader.Name
	})
	leader.Start()
	awaitCA(t, l, 3, l.Nodes[:3]...)
	off.Start()
	awaitCA(t, l, 3, l.Nodes...)
	if n := stop(); n < 10 {
		t.Errorf("only %d jobs were submitted meanwhile", n)
	}
	for _, n := range l.Nodes {
		if letIn(t, stolen, n) {
			t.Errorf("%s lets the old key in", n.Name)
		}
	}
	for _, n := range l.Nodes { // the token leads from the old key to the new one
		loggedIn(n, t.TempDir(), before)
	}
	settled(l, l.Leader(), "stays", 3)
	for _, task := range l.Leader().Running("stays") {
		if was := attempts[task.ID]; !onLeader[task.ID] && task.Attempt != was {
			t.Errorf("task %s was started again: attempt %d, not %d", task.ID, task.Attempt, was)
		}
	}
	l.AwaitVoters(3)
}
