package main

import (
	"net/http"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

func (r *run) floodHello() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "hello", from: r.strange(n, 1)}, 2048, nothing)
}

func (r *run) floodHellos() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "hello", from: r.strange(n, 2000)}, 2048, nothing)
}

// floodIdle opens, again and again, ten times what closed the API.
func (r *run) floodIdle() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "idle", from: r.strange(n, 1)}, 4096, nothing)
	r.lab.Await(lab.Patience, "an incident that names who floods", func() bool {
		var l struct{ Items []api.Incident }
		return n.Call(http.MethodGet, "/v1/incidents?for="+n.Name, nil, &l) == nil && slices.ContainsFunc(l.Items, func(i api.Incident) bool { return i.Kind == api.IncidentFlooded })
	})
}

func (r *run) floodSlow() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "slow", from: r.strange(n, 1)}, 1024, nothing)
}

// floodJoin is ten times the connection that held 2.46 GB.
func (r *run) floodJoin() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "join", from: r.strange(n, 4)}, 16, nothing)
}

func (r *run) floodResets() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "resets", from: r.strange(n, 4)}, 16, nothing)
}

// floodStreams opens ten times the streams that there are, while the worker comes
// back and root reads logs.
func (r *run) floodStreams() {
	leader := r.lab.Leader()
	prey := r.preyed()
	r.flooded(leader, flooding{kind: "streams", token: r.token("attack-viewer", "viewer"), from: r.strange(leader, 4)}, 80, func() {
		if err := leader.Call(http.MethodGet, "/v1/tasks/"+prey.ID+"/logs", nil, nil); api.ErrorCode(err) == api.CodeBusy {
			r.stage.Errorf("root reads no logs: %v", err)
		}
		r.worker.Kill()
		r.worker.Start()
		leader.Must(http.MethodPost, "/v1/jobs/prey/scale", map[string]int{"count": 8}, nil)
		r.lab.Await(lab.Patience, "more tasks", func() bool { return len(leader.Running("prey")) == 8 })
		leader.Must(http.MethodPost, "/v1/jobs/prey/scale", map[string]int{"count": 4}, nil)
	})
}

// floodSocket is a user without rights who had all files of the daemon.
func (r *run) floodSocket() {
	n := r.lab.Leader()
	r.flooded(n, flooding{kind: "socket", addr: n.Socket}, 40_000, nothing)
}
