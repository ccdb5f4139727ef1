package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// A voter's raft.db is lost while all nodes are off, and the other voter that
// starts never had what was acknowledged: they decide nothing, say why, and all
// is there once the third is back.
func TestLostRaftLog(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	a := l.Leader()
	b := l.Other(a)
	c := l.Other(a, b)
	c.PowerOff()
	var ids []string
	for range 10 {
		ids = append(ids, a.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}}).ID)
	}
	b.PowerOff()
	a.PowerOff()
	if err := os.Remove(filepath.Join(b.Dir, "raft", "raft.db")); err != nil {
		t.Fatal(err)
	}
	b.Launch("start")
	c.Launch("start")
	l.Await(lab.Patience, "the damaged voter to say so", func() bool {
		var h api.Health
		err := b.Call(http.MethodGet, "/v1/health", nil, &h)
		return err != nil && strings.Contains(err.Error(), "raft.db is gone")
	})
	a.Launch("start")
	for _, n := range l.Nodes {
		n.AwaitReady()
	}
	for _, n := range l.Nodes {
		for _, id := range ids {
			n.Must(http.MethodGet, "/v1/jobs/"+id, nil, nil)
		}
	}
}

// A voter's whole data folder is put back from a copy while the others that know
// more are a worker and a voter that is off: the worker remembers.
func TestOlderCopyOfAVoter(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	a := l.Leader()
	var b, c, worker *lab.Node
	for _, m := range a.Members() {
		n := l.Nodes[slices.IndexFunc(l.Nodes, func(n *lab.Node) bool { return n.Name == m.Name })]
		switch {
		case n == a:
		case !strings.HasPrefix(m.Role, "voter"):
			worker = n
		case b == nil:
			b = n
		default:
			c = n
		}
	}
	b.PowerOff()
	copied := b.Dir + ".copy"
	l.Run("cp", "-a", b.Dir, copied)
	t.Cleanup(func() { os.RemoveAll(copied) })
	for range 2 { // so that the copy has missed a start that the worker saw
		b.Launch("start")
		b.AwaitReady()
		l.Await(lab.Patience, "the worker to hear of the start", func() bool { return startsSeen(b, worker) == starts(b) })
		b.PowerOff()
	}
	b.Launch("start")
	b.AwaitReady()
	c.PowerOff()
	job := a.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	b.PowerOff()
	a.PowerOff()
	l.Run("rm", "-r", b.Dir)
	l.Run("cp", "-a", copied, b.Dir)
	b.Launch("start")
	c.Launch("start")
	l.Await(lab.Patience, "the voter to hear that it is an older copy", func() bool {
		var h api.Health
		err := b.Call(http.MethodGet, "/v1/health", nil, &h)
		return err != nil && strings.Contains(err.Error(), "older copy")
	})
	a.Launch("start")
	for _, n := range []*lab.Node{a, b, c, worker} {
		n.AwaitReady()
		n.Must(http.MethodGet, "/v1/jobs/"+job.ID, nil, nil)
	}
	l.Await(lab.Patience, "it to be told what it had lost", func() bool {
		var list struct{ Items []*api.Incident }
		return a.Call(http.MethodGet, "/v1/incidents", nil, &list) == nil && slices.ContainsFunc(list.Items, func(n *api.Incident) bool {
			return n.Kind == api.IncidentRefilled && n.Node == b.Name && !n.Over.IsZero() && strings.Contains(n.Message, "older copy")
		})
	})
}

// starts is how often a node's folder was started, as it counts.
func starts(n *lab.Node) uint64 {
	n.T.Helper()
	var self struct{ Starts uint64 }
	b, err := os.ReadFile(filepath.Join(n.Dir, "node.json"))
	if err == nil {
		err = json.Unmarshal(b, &self)
	}
	if err != nil || self.Starts == 0 {
		n.T.Fatalf("%s counts %d starts: %v", n.Name, self.Starts, err)
	}
	return self.Starts
}

// startsSeen is how often another node saw one start, as it tells that one.
func startsSeen(of, by *lab.Node) uint64 {
	cert, err := tls.LoadX509KeyPair(filepath.Join(of.Dir, "node.crt"), filepath.Join(of.Dir, "node.key"))
	if err != nil {
		of.T.Fatalf("%v", err)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		conn, err := of.DialTo(by)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}), nil
	}}}
	res, err := c.Get("https://" + by.IP + "/v1/internal/seen")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	var seen struct{ Starts uint64 }
	if json.NewDecoder(res.Body).Decode(&seen) != nil {
		return 0
	}
	return seen.Starts
}
