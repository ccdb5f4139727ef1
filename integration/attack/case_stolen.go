package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/integration/lab"
)

// evil is the key of a node that was removed; the node is made and removed once.
func (r *run) evil() *caller {
	if r.removed != nil {
		return r.removed
	}
	n := r.lab.AddNode(5)
	r.lab.Nodes = r.lab.Nodes[:4]
	n.Launch("join", r.voters[0].IP, "--token", r.voters[0].Token(api.TokenRequest{Kind: api.TokenJoin}))
	n.AwaitReady()
	r.removed = steal(r.stage, n)
	n.Terminate()
	r.lab.Await(lab.Patience, "the node to be removed", func() bool {
		return r.lab.Leader().Call(http.MethodDelete, "/v1/nodes/"+n.Name+"?force=1", nil, nil) == nil
	})
	for _, other := range r.lab.Nodes { // a worker hears of it from its feed, within seconds
		r.lab.Await(lab.Patience, other.Name+" to hear of the removal", func() bool {
			return denied(r.removed.call(other, http.MethodGet, "/v1/local/tasks/none.0/logs", "", says("root", "admin")))
		})
	}
	return r.removed
}

// denied reports whether a status says that the caller may not, or cannot be asked
// after; 0 is a connection that was cut.
func denied(status int) bool {
	return status == 0 || status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusServiceUnavailable
}

// preyed is a running task of the worker's.
func (r *run) preyed() (prey *api.Task) {
	n := r.lab.Leader()
	if n.Call(http.MethodGet, "/v1/jobs/prey", nil, nil) != nil {
		n.Submit(map[string]any{"kind": "service", "name": "prey", "count": 4, "cpus": 0.05, "mem": "16MiB", "stopGrace": "1s", "env": map[string]string{"SECRET": secret},
			"command": []string{"/bin/sh", "-c", "while :; do echo tick; sleep 1; done"}})
	}
	r.lab.Await(lab.Patience, "a task on the worker", func() bool {
		for _, task := range n.Running("prey") {
			if task.Node == r.worker.Name {
				prey = task
			}
		}
		return prey != nil
	})
	return prey
}

// secret is a value that only some may read.
const secret = "whatnobodyknows"

// refused asks a node for what the caller may not have.
func (r *run) refused(who string, x *caller, n *lab.Node, method, path, body string, header map[string]string) {
	got := x.call(n, method, path, body, header)
	for got == http.StatusTooManyRequests && r.ctx.Err() == nil { // strangers are refused no faster
		lab.Pause(r.ctx, time.Second)
		got = x.call(n, method, path, body, header)
	}
	if !denied(got) {
		r.stage.Errorf("%s at %s: %s %s as %v: status %d", who, n.Name, method, path, header, got)
	}
}

// stolen: a node that was removed has no part in the cluster any more, whomever
// it asks, and a worker has none but its own: neither gets a stream of Raft, is
// believed about who somebody is, or does in its own name what users do.
func (r *run) stolen() {
	leader := r.lab.Leader()
	evil, prey := r.evil(), r.preyed()
	r.worker.Must(http.MethodPost, "/v1/tokens", json.RawMessage(`{"kind":"client","name":"mine","role":"viewer"}`), nil) // root of a node may
	for who, x := range map[string]*caller{"a removed node": evil, "a worker": steal(r.stage, r.worker)} {
		for _, n := range []*lab.Node{r.worker, leader, r.lab.Other(leader, r.worker)} {
			refused := func(method, path, body string, header map[string]string) {
				r.refused(who, x, n, method, path, body, header)
			}
			refused("POST", "/v1/tokens", anAdmin, nil)
			refused("POST", "/v1/tokens", anAdmin, says("token:ci", "admin"))
			refused("POST", "/v1/tokens", anAdmin, says("root@"+leader.Name, "admin"))
			refused("GET", "/v1/tokens", "", nil)
			refused("GET", "/v1/internal/feed", "", says("node:"+leader.Name, "node", auth.HeaderNode, prey.NodeID))
			refused("GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("token:ci", "admin"))
			if x.streams(n, tlsconf.ProtoRaft) {
				r.stage.Errorf("%s gets a stream of Raft from %s", who, n.Name)
			}
			if x == evil {
				refused("POST", "/v1/tokens", anAdmin, says("root", "admin"))
				refused("GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("root", "admin"))
				refused("GET", "/v1/internal/feed", "", nil)
				if x.streams(n, tlsconf.ProtoGossip) {
					r.stage.Errorf("%s gets a stream of gossip from %s", who, n.Name)
				}
			}
		}
	}
	r.noTokenOf("evil")
}

// noTokenOf holds that nobody made a token of that name.
func (r *run) noTokenOf(name string) {
	var left struct{ Items []api.Token }
	r.lab.Leader().Must(http.MethodGet, "/v1/tokens", nil, &left)
	for _, tok := range left.Items {
		if tok.Name == name {
			r.stage.Errorf("a token %q was made", name)
		}
	}
}

// alone: a worker that starts again while no voter answers lets nobody in whom it
// cannot ask after.
func (r *run) alone() {
	evil, prey := r.evil(), r.preyed()
	r.worker.Terminate()
	lab.Terminate(r.voters...)
	r.worker.Launch("start")
	r.lab.Await(lab.Patience, "the worker's port", func() bool {
		err := r.worker.Call(http.MethodGet, "/v1/health", nil, nil)
		return err != nil && strings.Contains(err.Error(), "503") // it answers, and says that it cannot serve
	})
	r.refused("a removed node", evil, r.worker, "GET", "/v1/local/tasks/"+prey.ID+"/logs", "", says("root", "admin"))
	for _, proto := range []string{tlsconf.ProtoRaft, tlsconf.ProtoGossip} {
		if evil.streams(r.worker, proto) {
			r.stage.Errorf("a removed node gets a stream of %s from a worker that is alone", proto)
		}
	}
	for _, n := range r.voters {
		n.Launch("start")
	}
	for _, n := range r.lab.Nodes {
		n.AwaitReady()
	}
	r.lab.AwaitVoters(len(r.voters))
}
