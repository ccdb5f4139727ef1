package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// Health asks a node how the cluster is.
func (c *Client) Health(ctx context.Context) (*api.Health, error) {
	h := new(api.Health)
	return h, c.call(ctx, http.MethodGet, "/v1/health", nil, h)
}

// Standing is what Health is, from a node that cannot serve, too: its reason
// says why, and well is false.
func (c *Client) Standing(ctx context.Context) (h *api.Health, well bool, err error) {
	r := request{method: http.MethodGet, path: "/v1/health", header: http.Header{}, unwell: true}
	res, err := c.try(ctx, r)
	if err != nil {
		return nil, false, err
	}
	h = new(api.Health)
	if err := r.read(res, h); err != nil {
		return nil, false, err
	}
	if h.Node == "" {
		return nil, false, api.Errorf(api.CodeUnavailable, "no mesita node answers there")
	}
	return h, res.StatusCode < 300, nil
}

// Cluster is the cluster, with who leads it and the number of its nodes.
type Cluster struct {
	*api.Cluster
	Leader string `json:"leader"` // its name; "" while there is none
	Nodes  int    `json:"nodes"`
	Voters int    `json:"voters"`
	// MayVote is how many of the nodes vote, or may become voters; 0 if the node that
	// answered does not say.
	MayVote int `json:"mayVote,omitempty"`
	// CA is how far a change of the CA's key is.
	CA api.CAStatus `json:"ca,omitzero"`
}

// Cluster describes the cluster.
func (c *Client) Cluster(ctx context.Context) (*Cluster, error) {
	v := new(Cluster)
	return v, c.call(ctx, http.MethodGet, "/v1/cluster", nil, v)
}

// SetCluster changes what the cluster holds of itself.
func (c *Client) SetCluster(ctx context.Context, change api.ClusterChange) error {
	return c.call(ctx, http.MethodPost, "/v1/cluster", change, nil)
}

// Level says which level the cluster has, and which each node knows.
func (c *Client) Level(ctx context.Context) (*api.LevelStatus, error) {
	s := new(api.LevelStatus)
	return s, c.call(ctx, http.MethodGet, "/v1/level", nil, s)
}

// CheckState compares the states of all voters now.
func (c *Client) CheckState(ctx context.Context) (*api.StateCheck, error) {
	s := new(api.StateCheck)
	return s, c.call(ctx, http.MethodPost, "/v1/statecheck", nil, s)
}

// SetLevel holds the level, lets it rise by itself again, or raises it now.
func (c *Client) SetLevel(ctx context.Context, r api.LevelRequest) (*api.LevelStatus, error) {
	s := new(api.LevelStatus)
	return s, c.call(ctx, http.MethodPost, "/v1/level", r, s)
}

// Submit submits a new job.
func (c *Client) Submit(ctx context.Context, s *api.JobSpec) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPost, "/v1/jobs", s, j)
}

// Apply makes the job of that name be as the spec says.
func (c *Client) Apply(ctx context.Context, s *api.JobSpec) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPut, "/v1/jobs/"+url.PathEscape(s.Name), s, j)
}

// Plan says what submitting the spec would do.
func (c *Client) Plan(ctx context.Context, s *api.JobSpec) (*api.Plan, error) {
	p := new(api.Plan)
	if s.Name == "" {
		return p, c.call(ctx, http.MethodPost, "/v1/jobs?dry_run=1", s, p)
	}
	return p, c.call(ctx, http.MethodPut, "/v1/jobs/"+url.PathEscape(s.Name)+"?dry_run=1", s, p)
}

// Jobs lists the jobs that have not ended, or all.
func (c *Client) Jobs(ctx context.Context, all bool, labels ...string) ([]*api.Job, error) {
	jobs, _, err := c.FindJobs(ctx, JobQuery{All: all, Labels: labels})
	return jobs, err
}

// JobQuery says which jobs are wanted.
type JobQuery struct {
	All    bool     // also those that ended
	Labels []string // conditions on their labels
	Sort   string   // a field of their JSON, with - before it the other way round; "" = as submitted
	Limit  int      // the first so many; 0 = all
}

// FindJobs lists the jobs that are wanted, and says how many there are in all.
func (c *Client) FindJobs(ctx context.Context, want JobQuery) ([]*api.Job, int, error) {
	q := flag("all", want.All)
	if len(want.Labels) > 0 {
		q["label"] = want.Labels
	}
	if want.Sort != "" {
		q.Set("sort", want.Sort)
	}
	if want.Limit == 0 {
		all, err := getList[*api.Job](ctx, c, "/v1/jobs", q)
		return all, len(all), err
	}
	q.Set("limit", strconv.Itoa(want.Limit))
	l, err := getPage[*api.Job](ctx, c, "/v1/jobs", q)
	var old *api.Error
	if errors.As(err, &old) && old.Field == "limit" { // of a server that knows no pages
		all, err := c.Jobs(ctx, want.All, want.Labels...)
		return all[:min(want.Limit, len(all))], len(all), err
	}
	return l.Items, l.Total, err
}

func flag(name string, on bool) url.Values {
	if on {
		return url.Values{name: {"1"}}
	}
	return url.Values{}
}

// Job finds a job.
func (c *Client) Job(ctx context.Context, id string) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodGet, "/v1/jobs/"+url.PathEscape(id), nil, j)
}

// waitStep is how long one request waits: a node that dies meanwhile is noticed.
const waitStep = answerTimeout * 2 / 3

// WaitJob waits until the job is "running", "ended" or "stopped", or cannot
// become so. It fails with CodeTimeout when that takes longer than the timeout.
func (c *Client) WaitJob(ctx context.Context, id, until string, timeout time.Duration) (*api.Job, error) {
	for deadline := time.Now().Add(timeout); ; {
		left := max(time.Until(deadline), 0)
		j := new(api.Job)
		q := url.Values{"wait": {until}, "timeout": {min(left, waitStep).String()}}
		err := c.call(ctx, http.MethodGet, "/v1/jobs/"+url.PathEscape(id)+"?"+q.Encode(), nil, j)
		if err == nil {
			return j, nil
		}
		if api.ErrorCode(err) != api.CodeTimeout || left <= waitStep {
			return nil, err
		}
	}
}

// Scale changes how many tasks a service keeps running.
func (c *Client) Scale(ctx context.Context, id string, count int) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPost, "/v1/jobs/"+url.PathEscape(id)+"/scale", map[string]int{"count": count}, j)
}

// StopJob tells a job to stop.
func (c *Client) StopJob(ctx context.Context, id string) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPost, "/v1/jobs/"+url.PathEscape(id)+"/stop", struct{}{}, j)
}

// RemoveJob forgets an ended job.
func (c *Client) RemoveJob(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/jobs/"+url.PathEscape(id), nil, nil)
}

// Why explains the state of a job or a task.
func (c *Client) Why(ctx context.Context, id string) (*api.Why, error) {
	w := new(api.Why)
	err := c.call(ctx, http.MethodGet, "/v1/tasks/"+url.PathEscape(id)+"/why", nil, w)
	if api.ErrorCode(err) == api.CodeNotFound {
		err = c.call(ctx, http.MethodGet, "/v1/jobs/"+url.PathEscape(id)+"/why", nil, w)
	}
	return w, err
}

// Queue lists the first rows of what waits, all of it with 0, in the order in which
// it will be served, of one partition and those below it if one is named. It also
// tells how many tasks wait there in all.
func (c *Client) Queue(ctx context.Context, partition string, rows int) ([]*api.Queued, int, error) {
	q := url.Values{}
	if partition != "" {
		q.Set("partition", partition)
	}
	if rows == 0 {
		rows = api.MaxRows
	}
	q.Set("limit", strconv.Itoa(rows))
	l, err := getPage[*api.Queued](ctx, c, "/v1/queue", q)
	return l.Items, l.Total, err
}

// TaskQuery says which tasks are wanted; the zero value wants all that have not
// ended.
type TaskQuery struct {
	Job, Node string // "" = of any
	Framework string // only of the one with this id
	Own       string // only the last to which that framework gave this id
	All       bool   // also those that ended
	Labels    []string
	State     string // only those in it, such as "running"; "" = in any
	Sort      string // a field, with - before it the other way round; "" = by job and index
	Limit     int    // how many at most; 0 = all
}

func (t *TaskQuery) values() url.Values {
	q := flag("all", t.All)
	if len(t.Labels) > 0 {
		q["label"] = t.Labels
	}
	for name, s := range map[string]string{"job": t.Job, "framework": t.Framework, "own": t.Own, "node": t.Node, "state": t.State, "sort": t.Sort} {
		if s != "" {
			q.Set(name, s)
		}
	}
	if t.Limit > 0 {
		q.Set("limit", strconv.Itoa(t.Limit))
	}
	return q
}

// TaskRuns lists tasks in so many rows at most; those that wait and differ in their
// index alone are one. It also tells how many tasks there are in all.
func (c *Client) TaskRuns(ctx context.Context, want TaskQuery, rows int) ([]api.TaskRun, int, error) {
	want.Limit = rows
	q := want.values()
	q.Set("fold", "1")
	l, err := getPage[api.TaskRun](ctx, c, "/v1/tasks", q)
	var old *api.Error
	if errors.As(err, &old) && (old.Field == "fold" || old.Field == "limit") { // of a server that knows no pages
		want.Limit, want.Sort = 0, ""
		all, err := c.FindTasks(ctx, want)
		for i, t := range all[:min(rows, len(all))] {
			l.Items = append(l.Items, api.TaskRun{Task: all[i], Through: t.Index, Count: 1})
		}
		return l.Items, len(all), err
	}
	return l.Items, l.Total, err
}

// FindTasks lists all tasks that are wanted.
func (c *Client) FindTasks(ctx context.Context, want TaskQuery) ([]*api.Task, error) {
	if want.Limit > 0 {
		l, err := getPage[*api.Task](ctx, c, "/v1/tasks", want.values())
		var old *api.Error
		if !errors.As(err, &old) || old.Field != "limit" {
			return l.Items, err
		}
		rows := want.Limit // of a server that knows no pages
		want.Limit, want.Sort = 0, ""
		all, err := c.FindTasks(ctx, want)
		return all[:min(rows, len(all))], err
	}
	return getList[*api.Task](ctx, c, "/v1/tasks", want.values())
}

// Tasks lists tasks: of a job if it is not "", on a node if it is not "", and
// with all also those that ended.
func (c *Client) Tasks(ctx context.Context, job, node string, all bool, labels ...string) ([]*api.Task, error) {
	return c.FindTasks(ctx, TaskQuery{Job: job, Node: node, All: all, Labels: labels})
}

// Task finds a task.
func (c *Client) Task(ctx context.Context, id string) (*api.Task, error) {
	t := new(api.Task)
	return t, c.call(ctx, http.MethodGet, "/v1/tasks/"+url.PathEscape(id), nil, t)
}

// StopTask tells one task to end: for good, or with move to start again
// elsewhere.
func (c *Client) StopTask(ctx context.Context, id string, move bool) error {
	return c.call(ctx, http.MethodPost, "/v1/tasks/"+url.PathEscape(id)+"/stop", map[string]bool{"move": move}, nil)
}

// MoveTask tells one attempt of a task to end, and the task to start again elsewhere; it
// fails with CodeConflict once there is a newer attempt.
func (c *Client) MoveTask(ctx context.Context, id string, attempt int) error {
	return c.call(ctx, http.MethodPost, "/v1/tasks/"+url.PathEscape(id)+"/stop", map[string]any{"move": true, "attempt": attempt}, nil)
}

// Nodes lists the nodes; with all also those that were removed.
func (c *Client) Nodes(ctx context.Context, all bool) ([]*api.NodeStatus, error) {
	return getList[*api.NodeStatus](ctx, c, "/v1/nodes", flag("all", all))
}

// Node finds a node by name, id or the beginning of its id.
func (c *Client) Node(ctx context.Context, ref string) (*api.NodeStatus, error) {
	n := new(api.NodeStatus)
	return n, c.call(ctx, http.MethodGet, "/v1/nodes/"+url.PathEscape(ref), nil, n)
}

// Drain empties a node; tasks still there after the deadline are stopped.
func (c *Client) Drain(ctx context.Context, ref string, deadline time.Duration) error {
	return c.drain(ctx, ref, deadline, "", nil)
}

// PlanDrain says where the tasks of a node would go.
func (c *Client) PlanDrain(ctx context.Context, ref string, deadline time.Duration) (*api.DrainPlan, error) {
	p := new(api.DrainPlan)
	return p, c.drain(ctx, ref, deadline, "?dry_run=1", p)
}

func (c *Client) drain(ctx context.Context, ref string, deadline time.Duration, query string, out any) error {
	in := map[string]string{}
	if deadline > 0 {
		in["deadline"] = deadline.String()
	}
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(ref)+"/drain"+query, in, out)
}

// PlanRebalance says which tasks to move, at most so many, so that nodes are filled more
// evenly; of one partition, if it is not "".
func (c *Client) PlanRebalance(ctx context.Context, partition string, most int) (*api.RebalancePlan, error) {
	p, q := new(api.RebalancePlan), url.Values{"max_moves": {strconv.Itoa(most)}}
	if partition != "" {
		q.Set("partition", partition)
	}
	return p, c.call(ctx, http.MethodGet, "/v1/rebalance?"+q.Encode(), nil, p)
}

// Resume ends a drain.
func (c *Client) Resume(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(ref)+"/resume", struct{}{}, nil)
}

// Unreserve gives back what is reserved of a node and not in use, of all partitions or of
// one. It answers what the node is then.
func (c *Client) Unreserve(ctx context.Context, ref, partition string) (*api.NodeStatus, error) {
	n := new(api.NodeStatus)
	body := map[string]string{}
	if partition != "" {
		body["partition"] = partition
	}
	return n, c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(ref)+"/unreserve", body, n)
}

// CA is the certificates of the cluster's CA.
func (c *Client) CA(ctx context.Context) (*api.CARoots, error) {
	r := new(api.CARoots)
	return r, c.call(ctx, http.MethodGet, "/v1/ca", nil, r)
}

// RotateCA begins a change of the CA's key; Cluster says how far it is.
func (c *Client) RotateCA(ctx context.Context) (*api.CAStatus, error) {
	s := new(api.CAStatus)
	return s, c.call(ctx, http.MethodPost, "/v1/ca", struct{}{}, s)
}

// Promote lets a node become a voter that joined as a worker.
func (c *Client) Promote(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(ref)+"/promote", struct{}{}, nil)
}

// Demote takes a node's right to vote, and has the key of the cluster's CA changed.
func (c *Client) Demote(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(ref)+"/demote", struct{}{}, nil)
}

// RemoveNode removes a node for good; with force also while it runs tasks.
func (c *Client) RemoveNode(ctx context.Context, ref string, force bool) error {
	return c.removeNode(ctx, ref, force, url.Values{})
}

// MayRemoveNode is why RemoveNode would refuse, nil if it would not.
func (c *Client) MayRemoveNode(ctx context.Context, ref string, force bool) error {
	return c.removeNode(ctx, ref, force, url.Values{"dry_run": {"1"}})
}

func (c *Client) removeNode(ctx context.Context, ref string, force bool, query url.Values) error {
	if force {
		query.Set("force", "1")
	}
	path := "/v1/nodes/" + url.PathEscape(ref)
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodDelete, path, nil, nil)
}

// Stats tells what the running tasks use now, or those of one node, and which nodes did
// not say. A cluster from before reads all, whatever the detail.
func (c *Client) Stats(ctx context.Context, node string, detail api.StatsDetail) ([]api.TaskStats, []SilentNode, error) {
	path := "/v1/stats"
	if node != "" {
		path += "?" + url.Values{"node": {node}}.Encode()
	}
	header := http.Header{}
	if detail != api.StatsAll {
		header.Set("Prefer", detail.Preference())
	}
	return ofNodes[api.TaskStats](ctx, c, path, header)
}

// Tokens lists tokens of a kind.
func (c *Client) Tokens(ctx context.Context, kind api.TokenKind) ([]*api.Token, error) {
	return getList[*api.Token](ctx, c, "/v1/tokens", url.Values{"kind": {kind.String()}})
}

// CreateToken makes a token. Its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, r api.TokenRequest) (*api.TokenGrant, error) {
	g := new(api.TokenGrant)
	return g, c.call(ctx, http.MethodPost, "/v1/tokens", r, g)
}

// RevokeToken revokes a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
}

// ChangeRights grants and revokes rights of the client tokens of that name or id,
// and says of how many.
func (c *Client) ChangeRights(ctx context.Context, of string, r api.RightsChange) (tokens int, err error) {
	var out struct {
		Tokens int `json:"tokens"`
	}
	err = c.call(ctx, http.MethodPost, "/v1/tokens/"+url.PathEscape(of)+"/rights", r, &out)
	return out.Tokens, err
}

// Can says whether the tokens of that name or id may do something on a partition,
// on a job or, with on = "", on the cluster; who = "" asks for the caller.
func (c *Client) Can(ctx context.Context, who, action, on string) ([]*api.Can, error) {
	q := url.Values{"action": {action}}
	if who != "" {
		q.Set("who", who)
	}
	if on != "" {
		q.Set("on", on)
	}
	return getList[*api.Can](ctx, c, "/v1/can", q)
}
