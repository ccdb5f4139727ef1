package server

import (
	"net/http"

	"github.com/mesita/mesita/api"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete

	anybody  = api.RoleNone
	viewer   = api.RoleViewer
	operator = api.RoleOperator
	admin    = api.RoleAdmin
	peer     = api.RoleNode
)

func words(w ...string) []string { return w }

// routeTable is the API: what is served, who may, and what it looks like.
func routeTable() []*route {
	var table []*route
	for _, part := range [][]*route{clusterRoutes(), jobRoutes(), taskRoutes(), nodeRoutes(), otherRoutes(), peerRoutes()} {
		table = append(table, part...)
	}
	return table
}

func clusterRoutes() []*route {
	return []*route{
		{method: get, path: "/", role: anybody, handle: index, local: true, answer: text(""), summary: "this list"},
		{method: get, path: "/v1/health", role: anybody, handle: getHealth, local: true, answer: api.Health{}, summary: "can this node serve: 200 or 503"},
		{method: get, path: "/v1/openapi.json", role: anybody, handle: getOpenAPI, local: true, answer: map[string]any{}, summary: "this API in OpenAPI 3.1"},
		{method: get, path: "/metrics", role: viewer, handle: getMetrics, local: true, answer: text(""), summary: "metrics in the text format of Prometheus"},
		{method: get, path: "/v1/whoami", role: viewer, handle: getWhoami, answer: Whoami{}, summary: "who the caller is, and its role"},
		{method: get, path: "/v1/cluster", role: viewer, handle: getCluster, answer: ClusterStatus{}, summary: "the cluster, its nodes and voters in numbers"},
		{method: post, path: "/v1/join", role: anybody, handle: joinNode, body: api.JoinRequest{}, answer: &api.JoinGrant{}, summary: "admit a node with a join token"},
	}
}

func jobRoutes() []*route {
	return []*route{
		{method: post, path: "/v1/jobs", role: operator, handle: createJob, query: words("dry_run"), body: api.JobSpec{}, answer: api.Job{}, summary: "submit a job; dry_run=1 answers the plan"},
		{method: get, path: "/v1/jobs", role: viewer, handle: listJobs, query: words("kind", "state", "all"), answer: []api.Job{}, summary: "jobs; all=1 also ended ones"},
		{method: get, path: "/v1/jobs/{id}", role: viewer, handle: getJob, query: words("wait", "timeout"), held: true, answer: api.Job{}, summary: "a job; wait=running|ended|stopped holds the answer until so"},
		{method: put, path: "/v1/jobs/{id}", role: operator, handle: applyJob, query: words("dry_run", "if_version"), body: api.JobSpec{}, answer: api.Job{}, summary: "create or update a job by name"},
		{method: del, path: "/v1/jobs/{id}", role: operator, handle: removeJob, answer: removed{}, summary: "forget an ended job"},
		{method: post, path: "/v1/jobs/{id}/scale", role: operator, handle: scaleJob, body: scaleRequest{}, answer: api.Job{}, summary: "change how many tasks a service keeps running"},
		{method: post, path: "/v1/jobs/{id}/stop", role: operator, handle: stopJob, answer: api.Job{}, summary: "stop a job"},
		{method: get, path: "/v1/jobs/{id}/why", role: viewer, handle: whyJob, answer: api.Why{}, summary: "why a job is in its state"},
	}
}

func taskRoutes() []*route {
	return []*route{
		{method: get, path: "/v1/tasks", role: viewer, handle: listTasks, query: words("job", "node", "state", "all"), answer: []api.Task{}, summary: "tasks; all=1 also ended ones"},
		{method: get, path: "/v1/tasks/{id}", role: viewer, handle: getTask, answer: api.Task{}, summary: "a task"},
		{method: post, path: "/v1/tasks/{id}/stop", role: operator, handle: stopTask, body: taskStop{}, answer: api.Task{}, summary: "stop a task, or move it to another node"},
		{method: get, path: "/v1/tasks/{id}/why", role: viewer, handle: whyTask, answer: api.Why{}, summary: "why a task is in its state"},
		{method: get, path: "/v1/tasks/{id}/logs", role: viewer, handle: taskLogs, query: logQuery, stream: true, answer: LogLine{}, summary: "a task's log as NDJSON; follow=1 goes on"},
		{method: post, path: "/v1/tasks/{id}/exec", role: operator, handle: execTask, query: execQuery, stream: true, answer: text(""), summary: "run a command beside a task; upgrades to mesita-exec"},
		{method: get, path: "/v1/stats", role: viewer, handle: allStats, answer: []api.TaskStats{}, summary: "what the running tasks use now"},
	}
}

func nodeRoutes() []*route {
	return []*route{
		{method: get, path: "/v1/nodes", role: viewer, handle: listNodes, query: words("all"), answer: []api.NodeStatus{}, summary: "nodes; all=1 also removed ones"},
		{method: get, path: "/v1/nodes/{ref}", role: viewer, handle: getNode, answer: api.NodeStatus{}, summary: "a node by name, id or the beginning of its id"},
		{method: post, path: "/v1/nodes/{ref}/drain", role: admin, handle: drainNode, body: drainRequest{}, answer: api.NodeStatus{}, summary: "move a node's tasks away"},
		{method: post, path: "/v1/nodes/{ref}/resume", role: admin, handle: resumeNode, answer: api.NodeStatus{}, summary: "let a drained node take work again"},
		{method: del, path: "/v1/nodes/{ref}", role: admin, handle: removeNode, query: words("force"), answer: removed{}, summary: "remove a node for good"},
	}
}

func otherRoutes() []*route {
	return []*route{
		{method: get, path: "/v1/events", role: viewer, handle: listEvents, query: words("after", "for", "limit"), stream: true, answer: []api.Event{}, summary: "events; as text/event-stream they go on"},
		{method: get, path: "/v1/tokens", role: admin, handle: listTokens, query: words("kind"), answer: []api.Token{}, summary: "tokens, without their secrets"},
		{method: post, path: "/v1/tokens", role: admin, handle: createToken, body: api.TokenRequest{}, answer: api.TokenGrant{}, summary: "make a token; its secret is shown once"},
		{method: del, path: "/v1/tokens/{id}", role: admin, handle: revokeToken, answer: removed{}, summary: "revoke a token"},
		{method: get, path: "/v1/partitions", role: viewer, handle: listPartitions, answer: []PartitionStatus{}, summary: "partitions and what their tasks hold"},
		{method: get, path: "/v1/blobs/{digest}", role: viewer, handle: getBlob, local: true, answer: blobBody, summary: "an uploaded program, if this node has it"},
		{method: http.MethodHead, path: "/v1/blobs/{digest}", role: viewer, handle: getBlob, local: true, answer: blobBody, summary: "whether this node has an uploaded program"},
		{method: put, path: "/v1/blobs/{digest}", role: operator, handle: putBlob, query: words("name"), body: blobBody, local: true, answer: api.Blob{}, summary: "upload a program to this node"},
	}
}

// peerRoutes are those that nodes use among themselves.
func peerRoutes() []*route {
	return []*route{
		{method: get, path: "/v1/local/stats", role: viewer, handle: localStats, local: true, answer: []api.TaskStats{}, summary: "what this node's tasks use now"},
		{method: get, path: "/v1/local/tasks/{id}/logs", role: viewer, handle: localLogs, query: logQuery, local: true, stream: true, answer: LogLine{}, summary: "a log that this node has"},
		{method: post, path: "/v1/local/tasks/{id}/exec", role: operator, handle: localExec, query: execQuery, local: true, stream: true, answer: text(""), summary: "run a command beside a task of this node"},
		{method: post, path: "/v1/internal/hello", role: peer, handle: helloNode, body: api.NodeHello{}, answer: api.Node{}, summary: "what a node says of itself"},
		{method: post, path: "/v1/internal/status", role: peer, handle: reportStatus, body: []api.TaskStatus{}, answer: reported{}, summary: "what became of a node's tasks"},
		{method: post, path: "/v1/internal/renew", role: peer, handle: renewNode, body: RenewRequest{}, answer: RenewGrant{}, summary: "a new certificate for a node"},
		{method: get, path: "/v1/internal/assignments", role: peer, handle: watchAssignments, query: words("node"), stream: true, answer: AssignmentsDelta{}, summary: "what a node should run, as it changes"},
		{method: post, path: "/v1/internal/blobs", role: operator, handle: recordBlob, body: blobHeld{}, answer: api.Blob{}, summary: "that a node holds an uploaded program"},
	}
}
