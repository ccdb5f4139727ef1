package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/integration/lab"
)

// thief has the key and the certificate of a node.
type thief struct {
	t    *testing.T
	cert *tlsconf.Holder
}

func steal(t *testing.T, n *lab.Node) *thief {
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
	return &thief{t, h}
}

func (x *thief) dial(n *lab.Node, alpn string) *tls.Conn {
	x.t.Helper()
	c := tls.Client(n.DialIn(1)[0], x.cert.ClientConfig(alpn, ""))
	x.t.Cleanup(func() { c.Close() })
	return c
}

// streams tells whether a node gives the thief a stream of that protocol: who is
// refused hears it at the first read, others hear nothing.
func (x *thief) streams(n *lab.Node, alpn string) bool {
	x.t.Helper()
	c := x.dial(n, alpn)
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		x.t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	return err == nil || errors.As(err, &late) && late.Timeout()
}

// call is the status of a request with such headers, 0 if it was cut off.
func (x *thief) call(n *lab.Node, method, path, body string, header map[string]string) int {
	x.t.Helper()
	c := x.dial(n, "http/1.1")
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		x.t.Fatal(err)
	}
	q, err := http.NewRequest(method, "https://mesita"+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	for k, v := range header {
		q.Header.Set(k, v)
	}
	if q.Write(c) != nil {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(c), q)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func says(actor, role string, more ...string) map[string]string {
	h := map[string]string{auth.HeaderForwarded: "1", auth.HeaderActor: actor, auth.HeaderRole: role}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

var anAdmin = `{"kind":"client","name":"evil","role":"admin"}`

// A node that was removed has no part in the cluster any more, whomever it asks,
// and a worker has none but its own: neither gets a stream of Raft, is believed
// about who somebody is, or does in its own name what users do.
func TestStolenNodes(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	tok := l.Nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin})
	removed := l.AddNode(5)
	removed.Launch("join", l.Nodes[0].IP, "--token", tok)
	removed.AwaitReady()
	evil := steal(t, removed)
	removed.Terminate()
	l.Nodes = l.Nodes[:3]
	l.Await(lab.Patience, "the node to be removed", func() bool {
		return l.Leader().Call(http.MethodDelete, "/v1/nodes/"+removed.Name+"?force=1", nil, nil) == nil
	})

	worker := l.AddNode(4)
	worker.Launch("join", l.Nodes[0].IP, "--token", tok)
	worker.AwaitReady()
	l.Nodes = l.Nodes[:3]
	leader := l.Leader()
	leader.Submit(sleeper("prey", 4))
	var prey *api.Task
	l.Await(lab.Patience, "a task on the worker", func() bool {
		for _, task := range leader.Running("prey") {
			if task.Node == worker.Name {
				prey = task
			}
		}
		return prey != nil
	})
	if l.Other(leader).Call(http.MethodGet, "/v1/health", nil, nil) != nil || worker.Call(http.MethodPost, "/v1/tokens", json.RawMessage(`{"kind":"client","name":"mine","role":"viewer"}`), nil) != nil {
		t.Error("root of a node may not do what it may")
	}
	refused := func(who string, x *thief, n *lab.Node, method, path, body string, header map[string]string) {
		t.Helper()
		if got := x.call(n, method, path, body, header); got != 0 && got != http.StatusUnauthorized && got != http.StatusForbidden && got != http.StatusServiceUnavailable {
			t.Errorf("%s at %s: %s %s as %v: status %d", who, n.Name, method, path, header, got)
		}
	}
	dreg := steal(t, worker)
	for who, x := range map[string]*thief{"a removed node": evil, "a worker": dreg} {
		for _, n := range []*lab.Node{worker, leader, l.Other(leader)} {
			refused(who, x, n, "POST", "/v1/tokens", anAdmin, nil)
			refused(who, x, n, "POST", "/v1/tokens", anAdmin, says("token:ci", "admin"))
			refused(who, x, n, "POST", "/v1/tokens", anAdmin, says("root@"+leader.Name, "admin"))
			refused(who, x, n, "GET", "/v1/tokens", "", nil)
			refused(who, x, n, "GET", "/v1/internal/feed", "", says("node:"+leader.Name, "node", auth.HeaderNode, prey.NodeID))
			refused(who, x, n, "GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("token:ci", "admin"))
			if x.streams(n, tlsconf.ProtoRaft) {
				t.Errorf("%s gets a stream of Raft from %s", who, n.Name)
			}
			if x == evil {
				refused(who, x, n, "POST", "/v1/tokens", anAdmin, says("root", "admin"))
				refused(who, x, n, "GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("root", "admin"))
				refused(who, x, n, "GET", "/v1/internal/feed", "", nil)
				if x.streams(n, tlsconf.ProtoGossip) {
					t.Errorf("%s gets a stream of gossip from %s", who, n.Name)
				}
			}
		}
	}
	var left struct{ Items []api.Token }
	leader.Must(http.MethodGet, "/v1/tokens", nil, &left)
	for _, tok := range left.Items {
		if tok.Name == "evil" {
			t.Error("a token was made")
		}
	}
	// A worker that starts again while no voter answers lets nobody in whom it
	// cannot ask after.
	worker.Terminate()
	lab.Terminate(l.Nodes...)
	worker.Launch("start")
	l.Await(lab.Patience, "the worker's port", func() bool {
		err := worker.Call(http.MethodGet, "/v1/health", nil, nil)
		return err != nil && strings.Contains(err.Error(), "503") // it answers, and says that it cannot serve
	})
	refused("a removed node", evil, worker, "GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("root", "admin"))
	for _, proto := range []string{tlsconf.ProtoRaft, tlsconf.ProtoGossip} {
		if evil.streams(worker, proto) {
			t.Errorf("a removed node gets a stream of %s from a worker that is alone", proto)
		}
	}
}
