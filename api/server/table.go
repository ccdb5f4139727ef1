package server

import (
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

// orPlan is what is answered instead with dry_run.
var orPlan = []exchange.Reply{{Answer: &api.Plan{}, About: "with dry_run: what it would come to"}}

func words(w ...string) []string { return w }

// routeTable is the API: what is served, who may, and what it looks like.
func routeTable(s *Server) []*exchange.Route {
	var table []*exchange.Route
	for _, part := range [][]*exchange.Route{clusterRoutes(s), jobRoutes(s), queueRoutes(s), taskRoutes(s), frameworkRoutes(s), nodeRoutes(s), partitionRoutes(s), otherRoutes(s), peerRoutes(s)} {
		table = append(table, part...)
	}
	return table
}

func clusterRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(index), Local: true, Answer: exchange.Text(""), Summary: "this list"},
		{Method: get, Path: "/v1/health", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getHealth), Local: true, Answer: api.Health{}, Else: []exchange.Reply{{Status: http.StatusServiceUnavailable, Answer: api.Health{}, About: "it cannot: reason says why"}}, Summary: "can this node serve: 200 or 503"},
		{Method: get, Path: "/v1/schema/job.json", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getSchema), Local: true, Answer: map[string]any{}, Summary: "a JSON Schema of the documents of files, for editors"},
		{Method: get, Path: "/v1/openapi.json", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getOpenAPI), Local: true, Answer: map[string]any{}, Summary: "this API in OpenAPI 3.1"},
		{Method: get, Path: "/docs", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getDocs), Local: true, Answer: exchange.Text("text/markdown, text/html"), Summary: "the list of the documentation's pages: in HTML for Accept: text/html, else in Markdown"},
		{Method: get, Path: "/docs/{topic}", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getDocs), Local: true, Answer: exchange.Text("text/markdown, text/html"), Summary: "a page of the documentation, likewise"},
		{Method: get, Path: "/metrics", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getMetrics), Local: true, Answer: exchange.Text(""), Summary: "metrics in the text format of Prometheus"},
		{Method: get, Path: "/v1/whoami", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getWhoami), Answer: exchange.Whoami{}, Summary: "who the caller is, and its role"},
		{Method: get, Path: "/v1/cluster", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getCluster), Answer: ClusterStatus{}, Summary: "the cluster, its nodes and voters in numbers"},
		{Method: post, Path: "/v1/cluster", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(setCluster), Body: api.ClusterChange{}, Answer: api.Cluster{}, Summary: "change what the cluster holds of itself: whether root of a machine that does not vote is an admin"},
		{Method: get, Path: "/v1/level", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getLevel), Answer: api.LevelStatus{}, Summary: "the level of the cluster, and which each node knows"},
		{Method: post, Path: "/v1/level", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(setLevel), Body: api.LevelRequest{}, Answer: api.LevelStatus{}, Summary: "hold the level, let it rise by itself again, or raise it now"},
		{Method: post, Path: "/v1/renew", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(renewKey), Local: true, Body: RenewalRequest{}, Answer: &api.Renewal{}, Summary: "a new certificate for a node that proves its key, or that it was removed"},
		{Method: get, Path: "/v1/ca", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(getCA), Query: words("relayed"), Local: true, Answer: &api.CARoots{}, Summary: "the certificates of the cluster's CA, and what leads from each of its keys to the next; relayed=1 asks no other node"},
		{Method: post, Path: "/v1/ca", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(rotateCA), Answer: api.CAStatus{}, Summary: "change the key of the cluster's CA"},
		{Method: post, Path: "/v1/statecheck", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(checkState), Answer: api.StateCheck{}, Summary: "compare the states of all voters now"},
		{Method: post, Path: "/v1/join", Action: auth.Nothing, Scope: auth.OfAny, Handle: s.on(joinNode), Body: api.JoinRequest{}, Answer: &api.JoinGrant{}, Summary: "admit a node with a join token"},
	}
}

func jobRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: post, Path: "/v1/jobs", Action: auth.Deploy, Scope: auth.OfBody, Handle: s.on(createJob), Query: words("dry_run"), Asks: map[string]string{"Prefer": "return=minimal: the id is enough"}, Body: api.JobSpec{}, Answer: api.Job{}, Status: http.StatusCreated, Else: append(orPlan, exchange.Reply{Status: http.StatusCreated, Answer: jobID{}, About: "with Prefer: return=minimal, its id"}), Summary: "submit a job; dry_run=1 answers the plan"},
		{Method: get, Path: "/v1/jobs", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listJobs), Query: words("kind", "state", "label", "all"), Key: exchange.Keyed(func(j *api.Job) string { return j.ID }), Answer: []api.Job{}, Summary: "jobs; label=K=V only those, may be repeated; all=1 also ended ones"},
		{Method: post, Path: applyPath, Action: auth.Deploy, Scope: auth.OfBody, Handle: s.on(applyAll), Query: words("dry_run"), Body: api.ApplyRequest{}, Answer: api.ApplyAnswer{}, Summary: "make partitions and jobs be as the body says, all of them or none, each as PUT makes one, and stop the jobs in stop that still have the revision given; dry_run=1 only says what would be"},
		{Method: get, Path: "/v1/jobs/{id}", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getJob), Query: words("wait", "timeout"), Held: "wait", Answer: api.Job{}, Summary: "a job; wait=running|ended|stopped holds the answer until so"},
		{Method: put, Path: "/v1/jobs/{id}", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(applyJob), Query: words("dry_run", "if_version", "if_revision"), Body: api.JobSpec{}, Answer: api.Job{}, Else: orPlan, Summary: "create or update a job by name; if_revision=N only if nobody changed it since"},
		{Method: del, Path: "/v1/jobs/{id}", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(removeJob), Answer: removed{}, Summary: "forget an ended job"},
		{Method: post, Path: "/v1/jobs/{id}/scale", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(scaleJob), Body: scaleRequest{}, Answer: api.Job{}, Summary: "change how many tasks a service keeps running"},
		{Method: post, Path: "/v1/jobs/{id}/stop", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(stopJob), Answer: api.Job{}, Summary: "stop a job"},
		{Method: post, Path: "/v1/jobs/{id}/set", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(setJob), Query: words("dry_run", "if_revision"), Body: api.JobChange{}, Answer: api.Job{}, Else: orPlan, Summary: "have a job that waits ask for something else; it keeps its place; dry_run=1 answers the plan"},
		{Method: post, Path: "/v1/jobs/{id}/hold", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(holdJob), Query: words("dry_run"), Answer: api.Job{}, Summary: "start nothing more of a job until it is released"},
		{Method: post, Path: "/v1/jobs/{id}/release", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(releaseJob), Query: words("dry_run"), Answer: api.Job{}, Summary: "let a job that is on hold start again, in its place"},
		{Method: post, Path: "/v1/jobs/{id}/requeue", Action: auth.Deploy, Scope: auth.OfJob, Handle: s.on(requeueJob), Query: words("dry_run"), Answer: api.Job{}, Summary: "end what runs of a job, and have it wait again in its place"},
		{Method: get, Path: "/v1/jobs/{id}/why", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(whyJob), Answer: api.Why{}, Summary: "why a job is in its state"},
	}
}

func queueRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/queue", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listQueue), Query: words("partition"), Key: exchange.Keyed(api.QueueKey), Answer: []*api.Queued{}, Summary: "what waits, in the order in which it will be served, a row for each job; partition=PATH only what is in it or below"},
	}
}

func taskRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/tasks", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listTasks), Query: words("job", "framework", "own", "node", "state", "label", "all", "fold"), Key: taskKey, Answer: []api.Task{}, Else: []exchange.Reply{{Answer: []api.TaskRun{}, About: "with fold"}}, Summary: "tasks; framework=ID only those of one, and own=ID with it the last to which it gave that id; label=K=V only those of such jobs, may be repeated; all=1 also ended ones; fold=1 those that wait and differ in their index alone are one row: the first, with through, the last index, and count"},
		{Method: get, Path: "/v1/tasks/{id}", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getTask), Answer: api.Task{}, Summary: "a task"},
		{Method: post, Path: "/v1/tasks/{id}/stop", Action: auth.Deploy, Scope: auth.OfTask, Handle: s.on(stopTask), Body: taskStop{}, Answer: api.Task{}, Summary: "stop a task, or move it to another node"},
		{Method: get, Path: "/v1/tasks/{id}/why", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(whyTask), Answer: api.Why{}, Summary: "why a task is in its state"},
		{Method: get, Path: "/v1/tasks/{id}/logs", Action: auth.ReadLogs, Scope: auth.OfTask, Handle: s.on(taskLogs), Query: logQuery, Stream: true, Raw: true, Answer: api.LogLine{}, Summary: "a task's log as NDJSON, or with Accept: application/octet-stream the bytes as they were written and, in the trailer X-Mesita-Missing, how many are missing; follow=1 continues; since is a time or how long ago, after=OUT,ERR where an earlier pos ended"},
		{Method: post, Path: "/v1/tasks/{id}/exec", Action: auth.Exec, Scope: auth.OfTask, Handle: s.on(execTask), Query: execQuery, Stream: true, Status: http.StatusSwitchingProtocols, Summary: "run a command beside a task; upgrades to mesita-exec"},
		{Method: get, Path: "/v1/stats", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(allStats), Query: words("node"), Asks: statsAsks, Answer: []api.TaskStats{}, Extra: missing{}, Summary: "what the running tasks use now, everywhere or on one node"},
	}
}

func frameworkRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/frameworks", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listFrameworks), Query: words("all"), Key: exchange.Keyed(func(f *api.FrameworkStatus) string { return f.ID }), Answer: []api.FrameworkStatus{}, Summary: "frameworks; all=1 also removed ones that are remembered"},
		{Method: get, Path: "/v1/frameworks/{id}", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getFramework), Text: true, Answer: api.FrameworkStatus{}, Summary: "a framework, and what its tasks hold"},
		{Method: del, Path: "/v1/frameworks/{id}", Action: auth.Deploy, Scope: auth.OfFramework, Handle: s.on(removeFramework), Text: true, Answer: removed{}, Summary: "end a framework for good, with all that it runs"},
		{Method: get, Path: "/v1/offers", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listOffers), Query: words("framework"), Key: exchange.Keyed(func(o *api.OfferStatus) string { return o.ID }), Answer: []api.OfferStatus{}, Summary: "what is on offer to frameworks; framework=ID only to that one"},
		{Method: del, Path: "/v1/offers/{id}", Action: auth.Deploy, Scope: auth.OfOffer, Handle: s.on(removeOffer), Text: true, Answer: removed{}, Summary: "take an offer back"},
	}
}

func nodeRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/nodes", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listNodes), Query: words("all"), Key: exchange.Keyed(func(n *api.NodeStatus) string { return n.ID }), Answer: []api.NodeStatus{}, Summary: "nodes; all=1 also removed ones"},
		{Method: get, Path: exchange.OwnNode, Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getNode), Answer: api.NodeStatus{}, Summary: "a node by name, id or the beginning of its id"},
		{Method: post, Path: "/v1/nodes/{ref}/drain", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(drainNode), Query: words("dry_run"), Body: drainRequest{}, Answer: api.NodeStatus{}, Else: []exchange.Reply{{Answer: api.DrainPlan{}, About: "with dry_run: where its tasks would go"}}, Summary: "move a node's tasks away; dry_run=1 answers where to"},
		{Method: get, Path: "/v1/rebalance", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(planRebalance), Query: words("partition", "max_moves"), Answer: api.RebalancePlan{}, Summary: "which tasks to move so that nodes are filled more evenly, at most max_moves (20 if it is not given); they are moved by /v1/tasks/{id}/stop"},
		{Method: post, Path: "/v1/nodes/{ref}/resume", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(resumeNode), Answer: api.NodeStatus{}, Summary: "let a drained node take work again"},
		{Method: post, Path: "/v1/nodes/{ref}/promote", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(promoteNode), Answer: api.NodeStatus{}, Summary: "let a node become a voter that joined as a worker"},
		{Method: post, Path: "/v1/nodes/{ref}/demote", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(demoteNode), Answer: api.NodeStatus{}, Summary: "take a node's right to vote; the key of the CA is changed then"},
		{Method: post, Path: "/v1/nodes/{ref}/unreserve", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(unreserve), Body: unreserveRequest{}, Answer: api.NodeStatus{}, Summary: "give back what is reserved of a node and no task uses, of all partitions or of one"},
		{Method: get, Path: "/v1/doctor", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(doctor), Query: words("node"), Answer: []api.Check{}, Extra: missing{}, Summary: "have each node, or one, look at what it needs: kernel, address, disk, certificate, clock, and the ways to the others, TCP and UDP"},
		{Method: del, Path: "/v1/nodes/{ref}", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(removeNode), Query: words("force", "dry_run"), Answer: removed{}, Summary: "remove a node for good; dry_run=1 only says whether it may be"},
	}
}

// partitionRoutes take a path with its slashes as they are: /v1/partitions/ml/train.
func partitionRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/partitions", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listPartitions), Key: exchange.Keyed(func(p api.PartitionStatus) string { return p.Path }), Answer: []api.PartitionStatus{}, Summary: "partitions and what their tasks hold"},
		{Method: get, Path: "/v1/partitions/{path...}", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getPartition), Answer: api.PartitionStatus{}, Summary: "a partition and what its tasks hold"},
		{Method: put, Path: "/v1/partitions/{path...}", Action: auth.ManagePartitions, Scope: auth.OfPartition, Handle: s.on(putPartition), Query: words("dry_run", "create", "if_version", "if_revision"), Body: api.Partition{}, Answer: api.PartitionChange{}, Summary: "make or change a partition; create=1 only makes it, if_revision=N only changes it if nobody did since, dry_run=1 only says what would be"},
		{Method: del, Path: "/v1/partitions/{path...}", Action: auth.ManagePartitions, Scope: auth.OfPartition, Handle: s.on(removePartition), Query: words("dry_run", "drain"), Answer: api.PartitionChange{}, Summary: "remove an empty partition; drain=1 lets its work end first"},
	}
}

func otherRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/events", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listEvents), Query: words("after", "before", "for", "limit", "since", "until"), Stream: true, Asks: map[string]string{"Last-Event-ID": "of a stream: the event to continue after"}, Answer: []api.Event{}, Extra: earlier{}, Summary: "the newest events, oldest first; since and until are a time or how long ago, before=INDEX is the page before, as the before of an answer that stops early, for what its events carry is much; as text/event-stream they continue: after the event that a list named they carry in payload all that changes in it"},
		{Method: get, Path: discoveryPath, Action: auth.Look, Scope: auth.OfAny, Handle: s.on(discover), Query: words("kind"), Answer: [1]target{}, Summary: "what Prometheus is to ask, as its http_sd_configs read it: nodes, and the tasks that the caller may see which have a port named metrics; kind=node|task only those, as credentials of a scrape job are sent to all that is scraped in it"},
		{Method: get, Path: "/v1/incidents", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(listIncidents), Query: words("open", "for"), Key: exchange.Keyed(incidentKey), Answer: []api.Incident{}, Summary: "failures that were seen, open ones first; open=1 only those"},
		{Method: get, Path: "/v1/report", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getReport), Query: words("by", "since"), Key: exchange.Keyed(reportKey), Answer: []api.ReportRow{}, Summary: "what work held, waited, lost and used, by=user|partition|job|node, of the days in UTC since a time, or how long ago (7d if it is not given), until now; by job of the last 35 days, else of 400"},
		{Method: post, Path: "/v1/incidents/close", Action: auth.CloseIncidents, Scope: auth.OfCluster, Handle: s.on(closeIncidents), Body: api.IncidentClose{}, Answer: closed{}, Summary: "close incidents by hand: all of them, or none if one is not open"},
		{Method: get, Path: "/v1/audit", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(listAudit), Query: auditQuery, Answer: []api.AuditRecord{}, Extra: missing{}, Summary: "who changed what, and who was refused, as all nodes have recorded it: the newest records, oldest first; since is a time or how long ago"},
		{Method: get, Path: "/v1/audit/check", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(checkAudit), Query: words("node"), Answer: []api.AuditCheck{}, Extra: missing{}, Summary: "whether the audit of each node, or of one, is as it was written"},
		{Method: get, Path: "/v1/tokens", Action: auth.ManageTokens, Scope: auth.OfCluster, Handle: s.on(listTokens), Query: words("kind"), Key: exchange.Keyed(func(t *api.Token) string { return t.ID }), Answer: []api.Token{}, Summary: "tokens, without their secrets"},
		{Method: post, Path: "/v1/tokens", Action: auth.ManageTokens, Scope: auth.OfCluster, Handle: s.on(createToken), Body: api.TokenRequest{}, Answer: api.TokenGrant{}, Status: http.StatusCreated, Summary: "make a token; its secret is shown once"},
		{Method: del, Path: "/v1/tokens/{id}", Action: auth.ManageTokens, Scope: auth.OfCluster, Handle: s.on(revokeToken), Answer: removed{}, Summary: "revoke a token"},
		{Method: post, Path: "/v1/tokens/{id}/rights", Action: auth.ManageTokens, Scope: auth.OfCluster, Handle: s.on(changeRights), Body: api.RightsChange{}, Answer: rightsChanged{}, Summary: "grant and revoke rights of the client tokens of that name or id"},
		{Method: get, Path: "/v1/can", Action: auth.Look, Scope: auth.OfAny, Handle: s.on(getCan), Query: words("who", "action", "on"), Answer: []api.Can{}, Summary: "whether the caller, or as admin: the tokens of a name, may do something on a partition or job"},
		{Method: get, Path: "/v1/blobs/{digest}", Action: auth.Fetch, Scope: auth.OfAny, Nodes: true, Handle: s.on(getBlob), Local: true, Answer: exchange.BlobBody, Summary: "an uploaded program, if this node has it"},
		{Method: http.MethodHead, Path: "/v1/blobs/{digest}", Action: auth.Upload, Scope: auth.OfAny, Handle: s.on(getBlob), Local: true, Answer: exchange.BlobBody, Summary: "whether this node has an uploaded program"},
		{Method: put, Path: "/v1/blobs/{digest}", Action: auth.Upload, Scope: auth.OfAny, Handle: s.on(putBlob), Query: words("name"), Body: exchange.BlobBody, Local: true, Answer: api.Blob{}, Summary: "upload a program to this node"},
	}
}

// peerRoutes are those that nodes use among themselves.
func peerRoutes(s *Server) []*exchange.Route {
	return []*exchange.Route{
		{Method: get, Path: "/v1/local/audit", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(localAudit), Query: auditQuery, Local: true, Answer: []api.AuditRecord{}, Summary: "what this node has recorded"},
		{Method: get, Path: "/v1/local/audit/check", Action: auth.ManageCluster, Scope: auth.OfCluster, Handle: s.on(localAuditCheck), Query: words("number"), Local: true, Answer: api.AuditCheck{}, Summary: "whether the audit of this node is as it was written"},
		{Method: get, Path: "/v1/local/doctor", Action: auth.ManageNodes, Scope: auth.OfCluster, Handle: s.on(localDoctor), Local: true, Answer: []api.Check{}, Summary: "what this node finds of what it needs"},
		{Method: get, Path: "/v1/local/stats", Action: auth.Look, Scope: auth.OfAny, Nodes: true, Handle: s.on(localStats), Local: true, Asks: statsAsks, Answer: []api.TaskStats{}, Summary: "what this node's tasks use now"},
		{Method: get, Path: "/v1/local/tasks/{id}/logs", Action: auth.ReadLogs, Scope: auth.OfVouched, Handle: s.on(localLogs), Query: logQuery, Local: true, Stream: true, Raw: true, Answer: api.LogLine{}, Summary: "a log that this node has"},
		{Method: post, Path: "/v1/local/tasks/{id}/exec", Action: auth.Exec, Scope: auth.OfVouched, Handle: s.on(localExec), Query: execQuery, Local: true, Stream: true, Status: http.StatusSwitchingProtocols, Summary: "run a command beside a task of this node"},
		{Method: post, Path: "/v1/internal/hello", Routine: true, Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(helloNode), Body: api.NodeHello{}, Answer: api.Node{}, Summary: "what a node says of itself"},
		{Method: post, Path: "/v1/internal/claim", Routine: true, Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(claimNode), Local: true, Body: api.SessionClaim{}, Answer: struct{}{}, Summary: "to be the one daemon that speaks for the calling node"},
		{Method: post, Path: "/v1/internal/status", Routine: true, Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(reportStatus), Body: []api.TaskStatus{}, Answer: reported{}, Summary: "what became of a node's tasks"},
		{Method: post, Path: "/v1/internal/renew", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(renewNode), Body: RenewRequest{}, Answer: RenewGrant{}, Summary: "a new certificate for a node"},
		{Method: get, Path: "/v1/internal/state", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(stateAnswer), Query: words("of"), Local: true, Answer: api.StateAnswer{}, Summary: "hash of the state that this node had after an entry"},
		{Method: post, Path: "/v1/internal/level", Routine: true, Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(holdLevel), Local: true, Body: api.LevelRequest{}, Answer: api.LevelRequest{}, Summary: "that this node holds the level, or no longer"},
		{Method: get, Path: "/v1/internal/seen", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(getSeen), Local: true, Answer: Sighting{}, Summary: "how far this node saw the one that asks come"},
		{Method: get, Path: "/v1/internal/member", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(getMember), Query: words("id", "program"), Local: true, Answer: Member{}, Summary: "whether a node belongs to the cluster, and needs a program"},
		{Method: post, Path: NeededPath, Routine: true, Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(neededUploads), Body: NeededUploads{}, Answer: NeededUploads{}, Summary: "which of some uploads have to stay on the calling node"},
		{Method: get, Path: "/v1/internal/ring", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(getRing), Local: true, Answer: &api.GossipRing{}, Summary: "the keys of gossip"},
		{Method: get, Path: "/v1/internal/feed", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(watchFeed), Query: words("after"), Local: true, Stream: true, Answer: FeedRow{}, Summary: "what a node needs to know of the state, as it changes; after is the index that it holds"},
		{Method: get, Path: "/v1/internal/assignments", Action: auth.BeNode, Scope: auth.OfCluster, Handle: s.on(watchAssignments), Query: words("node"), Stream: true, Answer: AssignmentsDelta{}, Summary: "what a node should run, as it changes"},
		{Method: post, Path: "/v1/internal/blobs", Routine: true, Between: true, Action: auth.Upload, Scope: auth.OfAny, Handle: s.on(recordBlob), Body: blobHeld{}, Answer: api.Blob{}, Summary: "that a node holds an uploaded program"},
	}
}
