package server

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// A testNode is the fake of Cluster, too.

func (n *testNode) NodeID() string   { return n.id }
func (n *testNode) IsLeader() bool   { return *n.world.leader.Load() == n.id }
func (n *testNode) HasReplica() bool { return n.replica }
func (n *testNode) Healthy() error   { return n.sick }
func (n *testNode) Links() string    { return n.links }

func (n *testNode) Level() api.LevelStatus { return api.LevelStatus{Level: 1, Next: 1} }

func (n *testNode) StateAnswer(of uint64) (api.StateAnswer, bool) {
	return api.StateAnswer{NodeID: n.id}, of == 1
}

func (n *testNode) CheckState(context.Context, string) (*api.StateCheck, error) {
	return &api.StateCheck{}, nil
}

func (n *testNode) HoldLevel(bool) error { return nil }

func (n *testNode) Seen(string) Sighting { return Sighting{} }

func (n *testNode) SetLevel(context.Context, api.LevelRequest, string) (api.LevelStatus, error) {
	return n.Level(), nil
}

func (n *testNode) LeaderID() string {
	if b := n.belief.Load(); b != nil {
		return *b
	}
	return *n.world.leader.Load()
}

// PassOn are all others; a link that is cut is one of the leader's.
func (n *testNode) PassOn(leader string) []string {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	var out []string
	for id := range n.world.nodes {
		if id != leader && id != n.id {
			out = append(out, id)
		}
	}
	return out
}

func (n *testNode) Role(id string) string {
	if id == n.LeaderID() {
		return "voter, leader"
	}
	return "voter"
}

func (n *testNode) OutOfRaft(id string) bool { return n.IsLeader() && n.retired[id] }

func (n *testNode) Peer(id string) (string, http.RoundTripper, error) {
	n.world.mu.Lock()
	far := n.world.nodes[id]
	cut := n.world.cuts[[2]string{n.id, id}]
	n.world.mu.Unlock()
	if cut {
		n.lost.Add(1)
		if n.world.pooled.Load() {
			return "10.0.0.1:1", noAck{n.lost.Load() == 1}, nil
		}
		return "10.0.0.1:1", noAnswer{}, nil
	}
	if far == nil {
		return "", nil, api.Errorf(api.CodeUnavailable, "no address of %s", id)
	}
	return far.http.Listener.Addr().String(), certified{far.http.Client().Transport, n.id}, nil
}

// noAnswer is a link that takes everything and gives nothing back.
type noAnswer struct{}

func (noAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// noAck is a link that a connection is left to, which ends some time after a
// request went into it; no other can be made.
type noAck struct{ left bool }

func (n noAck) RoundTrip(r *http.Request) (*http.Response, error) {
	if !n.left {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if t := httptrace.ContextClientTrace(r.Context()); t != nil {
		t.GotConn(httptrace.GotConnInfo{Reused: true})
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}
}

// cut cuts the link between two nodes.
func (w *world) cut(a, b string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]string{a, b}], w.cuts[[2]string{b, a}] = true, true
	for _, id := range []string{a, b} {
		w.nodes[id].server.http.Patience.Connect = exchange.DefaultPatience().Connect
	}
}

// certified shows the node's certificate with each request.
type certified struct {
	http.RoundTripper
	id string
}

func (c certified) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(testCert, c.id)
	return c.RoundTripper.RoundTrip(r)
}

func (n *testNode) Join(_ context.Context, r api.JoinRequest) (*api.JoinGrant, error) {
	n.joined = append(n.joined, r)
	return &api.JoinGrant{NodeID: "new", Name: r.Name, Cluster: &api.Cluster{}}, n.joinErr
}

func (w *world) votes(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.workers[id]
}

func (n *testNode) MayFetch(_ context.Context, id, _ string) error {
	if n.noBlobs {
		return api.Errorf(api.CodeNotAllowed, "node %s has no task that runs it", id)
	}
	return nil
}

func (n *testNode) Session() string { return "session-of-" + n.id }

func (n *testNode) Claim(_ context.Context, id string, c *api.SessionClaim) error {
	n.claims = append(n.claims, id+" "+c.Session)
	return nil
}

func (n *testNode) CAs(context.Context, bool) (*api.CARoots, error) {
	a := n.store.View().Authority()
	if a == nil {
		return nil, api.Errorf(api.CodeUnavailable, "this node does not know the cluster's state now: ask another")
	}
	return a.CAs(), nil
}

func (n *testNode) CA() api.CAStatus { return api.CAStatus{Phase: "told"} }

func (n *testNode) RotateCA(context.Context, string) (api.CAStatus, error) {
	return api.CAStatus{Step: 1, Phase: "begun"}, nil
}

func (n *testNode) Renewal(_ context.Context, csr []byte, _ bool) (*api.Renewal, error) {
	return &api.Renewal{Certificate: append([]byte("for "), csr...)}, nil
}

func (n *testNode) Renew(_ context.Context, id string, csr []byte) ([]byte, error) {
	return append([]byte("cert of "+id+" for "), csr...), nil
}

func (n *testNode) RemoveNode(_ context.Context, node *api.Node, force bool, actor string) error {
	n.removed = append(n.removed, node.ID+" "+actor)
	return nil
}

func (n *testNode) MayRemoveNode(node *api.Node, force bool) error {
	if !force {
		return api.Errorf(api.CodeConflict, "node %s runs 1 task", node.Name)
	}
	return nil
}

func (n *testNode) DemoteNode(ctx context.Context, node *api.Node, actor string) (*api.Node, error) {
	out, err := n.store.Do(ctx, &fsm.NodeDemote{Meta: fsm.Meta{Actor: actor}, ID: node.ID})
	if err != nil {
		return nil, err
	}
	return out.(*api.Node), nil
}

// The fake of Planner.

func (n *testNode) CheckFits(*fsm.View, *api.JobSpec) error {
	if n.panics {
		panic("a bug")
	}
	return n.fits
}

func (n *testNode) Plan(_ context.Context, v *fsm.View, s *api.JobSpec, cmd fsm.Command) (*api.Plan, error) {
	if cmd != nil {
		if t := v.Trial(cmd); t.Err != nil {
			return nil, t.Err
		}
	}
	plan := &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks()}
	if n.tell != nil {
		n.tell(plan)
	}
	return plan, nil
}

func (n *testNode) PlanAll(_ context.Context, v *fsm.View, cmd *fsm.ApplyAll) (map[string]*api.Plan, error) {
	if t := v.Trial(cmd); t.Err != nil {
		return nil, t.Err
	}
	plans := map[string]*api.Plan{}
	for _, c := range cmd.Creates {
		plans[c.Spec.Name] = &api.Plan{Job: c.Spec.Name, Action: "create", Tasks: c.Spec.Tasks()}
		if n.tell != nil {
			n.tell(plans[c.Spec.Name])
		}
	}
	return plans, nil
}

// Drain and Rebalance are the fake of Moves: what they were asked for is in their answer.
func (n *testNode) Drain(_ context.Context, v *fsm.View, node string, deadline bool) (*api.DrainPlan, error) {
	plan := &api.DrainPlan{Node: v.Node(node).Name, Moves: []api.Move{{Task: "web.0", Job: "web", Attempt: 1, From: v.Node(node).Name, To: "oak"}}}
	if deadline {
		plan.Moves[0].Why = "at the deadline"
	}
	return plan, nil
}

func (n *testNode) Rebalance(_ context.Context, _ *fsm.View, partition string, most int) (*api.RebalancePlan, error) {
	return &api.RebalancePlan{Moves: []api.Move{{Task: "web.0", Job: "web", Attempt: most, From: "oak", To: "elm", Why: partition}}, Nodes: []api.NodeLoad{{Node: "oak", Now: 0.5}}}, nil
}

// List is the fake of Queue: the jobs that wait, and last what moved back.
func (n *testNode) List(_ context.Context, latest func() *fsm.View) (*fsm.View, iter.Seq2[*api.Job, func() *api.Queued], error) {
	v := latest()
	return v, func(yield func(*api.Job, func() *api.Queued) bool) {
		place := 0
		jobs := slices.Collect(v.LiveJobs())
		slices.SortStableFunc(jobs, func(a, b *api.Job) int { return n.back[a.ID] - n.back[b.ID] })
		for _, j := range jobs {
			if j.Counts.Pending == 0 {
				continue
			}
			place++
			q := &api.Queued{Position: place, Job: j.ID, Task: api.TaskID(j.ID, 0), Count: j.Counts.Pending, Partition: j.Spec.Partition, User: j.Actor}
			if n.tell != nil {
				n.tell(q)
			}
			if !yield(j, func() *api.Queued { return q }) {
				return
			}
		}
	}, nil
}

// Start is the fake of Queue: the place in its list, in minutes. It knows nothing of more
// than nine places.
func (n *testNode) Start(ctx context.Context, latest func() *fsm.View, job string) (time.Time, api.Sure, bool, error) {
	_, rows, err := n.List(ctx, latest)
	for j, row := range rows {
		if place := row().Position; j.ID == job {
			return testTime.Add(time.Duration(place) * time.Minute), api.SureLimits, true, err
		}
	}
	return time.Time{}, "", true, err
}

func (n *testNode) Explain(_ *fsm.View, id string) (*api.Why, error) {
	why := &api.Why{ID: id, Summary: "because", Estimate: testTime.Add(time.Hour)} // a guess
	if n.tell != nil {
		n.tell(why)
	}
	return why, nil
}

// fakeShares is the fake of Shares: it knows usage and nothing of fairness.
type fakeShares struct {
	refuse    error
	warn      []string
	meanwhile func() // as a change is planned
	reclaim   []string
	foreseen  int // plans with what comes of them
}

func (f *fakeShares) Status(v *fsm.View) []api.PartitionStatus {
	var out []api.PartitionStatus
	for p := range v.Partitions() {
		out = append(out, api.PartitionStatus{Partition: p, PartitionUsage: v.Usage(p.Path), Capacity: v.Capacity(), Share: 0.25, Fair: 0.5})
	}
	return out
}

func (f *fakeShares) Plan(v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error) {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	p := cmd.Partition
	c := api.PartitionChange{Partition: p, Action: "create", Warnings: f.warn}
	if v.Partition(p.Path) != nil {
		c.Action = "update"
	}
	return c, f.refuse
}

func (f *fakeShares) Foresee(_ context.Context, v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error) {
	f.foreseen++
	c, err := f.Plan(v, cmd)
	c.Reclaimed = f.reclaim
	return c, err
}

func (f *fakeShares) PlanRemove(v *fsm.View, path string, _ bool) (api.PartitionChange, error) {
	return api.PartitionChange{Partition: v.Partition(path), Action: "remove"}, f.refuse
}

// fakeLocal is the fake of Local.
type fakeLocal struct {
	keepsNone error // why programs cannot be kept

	mu          sync.Mutex
	blobs       map[string][]byte
	full        bool
	logs        func(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error
	exec        func(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (int, error)
	stats       []api.TaskStats
	statsDetail api.StatsDetail

	statsErr error
}

func (f *fakeLocal) Logs(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error {
	return f.logs(ctx, q, emit)
}

func (f *fakeLocal) Exec(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (int, error) {
	return f.exec(ctx, r, start)
}

func (f *fakeLocal) Stats(_ context.Context, detail api.StatsDetail) ([]api.TaskStats, error) {
	f.statsDetail = detail
	return f.stats, f.statsErr
}

func (f *fakeLocal) HasBlob(d string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blobs[d] != nil
}

func (f *fakeLocal) OpenBlob(d string) (io.ReadCloser, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[d]
	if !ok {
		return nil, 0, api.Errorf(api.CodeNotFound, "program %s is not on this node", d)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (f *fakeLocal) PutBlob(d string, _ int64, fill func(io.Writer) error) error {
	if f.keepsNone != nil {
		return f.keepsNone
	}
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d] = b.Bytes()
	return nil
}

func (f *fakeLocal) Examine(context.Context) []api.Check {
	return []api.Check{{Node: "oak", What: "disk", State: api.CheckOK, Found: "1 ms"}}
}

func (f *fakeLocal) DiskFull() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "/var/lib/mesita", f.full
}

func (f *fakeLocal) setFull(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}
