package server

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
)

// This file has what a request is about, for the audit, and the reading of audits.
// What is recorded is decided by the route alone: see exchange.Route.Recorded.

// What the audit compares of a noun, before and after: what users ask for.
type (
	auditedJob struct {
		Version int          `json:"version"`
		Stop    bool         `json:"stop"`
		Spec    *api.JobSpec `json:"spec"`
	}
	auditedTask struct {
		State   api.TaskState `json:"state"`
		Desired api.Desired   `json:"desired"`
		Node    string        `json:"node"`
	}
	auditedNode struct {
		State   api.NodeState `json:"state"`
		Drain   bool          `json:"drain"`
		DrainBy time.Time     `json:"drainBy,omitzero"`
	}
	auditedFramework struct {
		Name       string    `json:"name"`
		Partitions []string  `json:"partitions"`
		Ended      time.Time `json:"ended,omitzero"`
	}
)

// before notes what the path names, as it is.
func (c *call) before() {
	if !c.Route.Recorded() {
		return
	}
	s := &c.Subject
	s.Object, s.Partition, s.Before = c.named()
	if c.Route.Lasting() { // is recorded as it begins, and changes nothing
		s.Before = nil
	}
	if c.Route.Action == auth.Exec {
		s.Asked = c.Query.Text("cmd") // the first word: arguments may be secret
	}
}

// after notes what the path names, or the body made, as it has become.
func (c *call) after(answer any, err error) {
	if err != nil || !c.Route.Recorded() || c.Route.Lasting() {
		return
	}
	s := &c.Subject
	if c.Route.Path == applyPath { // of several: its handler has noted them
		return
	}
	name, partition, now := c.named()
	if name == "" {
		name, partition, now = made(answer)
	}
	s.Object, s.Partition, s.After = cmp.Or(name, s.Object), cmp.Or(partition, s.Partition), now
	if c.Route.Scope == auth.OfCluster && c.Route.Action != auth.BeNode {
		s.Asked = c.asked()
	}
}

// maxAsked bounds what is recorded of a body, in bytes.
const maxAsked = 512

// asked is the body of a request that changes the cluster itself, and its query:
// no such body holds a secret.
func (c *call) asked() string {
	text := strings.TrimSpace(string(c.Body()) + " " + c.R.URL.RawQuery)
	return strings.ToValidUTF8(text[:min(len(text), maxAsked)], "")
}

// named is what the path names, its partition, and how it is. What is not there has
// no name.
func (c *call) named() (name, partition string, now any) {
	v, arg := c.Store.View(), c.Args[0]
	switch path := c.Route.Path; {
	case arg == "":
	case strings.HasPrefix(path, "/v1/jobs/"):
		if j := v.Job(arg); j != nil {
			return cmp.Or(j.Spec.Name, j.ID), j.Spec.Partition, auditedJob{j.Version, j.Stop, j.Spec}
		}
	case strings.HasPrefix(path, "/v1/tasks/"), strings.HasPrefix(path, "/v1/local/tasks/"):
		if t := v.Task(arg); t != nil {
			return t.ID, t.Partition, auditedTask{t.State, t.Desired, t.NodeID}
		}
	case strings.HasPrefix(path, "/v1/nodes/"):
		if n, err := findNode(v, arg); err == nil {
			return n.Name, "", auditedNode{n.State, n.Drain, n.DrainBy}
		}
	case strings.HasPrefix(path, "/v1/partitions/"):
		if p := v.Partition(arg); p != nil {
			return p.Path, p.Path, p
		}
	case strings.HasPrefix(path, "/v1/frameworks/"):
		if f := v.Framework(arg); f != nil {
			return f.ID, strings.Join(f.Partitions, ","), auditedFramework{f.Name, f.Partitions, f.Ended}
		}
	case strings.HasPrefix(path, "/v1/offers/"):
		if o := v.Offer(arg); o != nil {
			return o.ID, o.Partition, o
		}
	case strings.HasPrefix(path, "/v1/tokens/"):
		if t := v.Token(arg); t != nil {
			return t.ID, "", shown(t)
		}
	}
	return "", "", nil
}

// made is what an answer shows that was made, or changed.
func made(answer any) (name, partition string, now any) {
	switch a := answer.(type) {
	case exchange.With:
		return made(a.Value)
	case *api.Job:
		if a != nil {
			return cmp.Or(a.Spec.Name, a.ID), a.Spec.Partition, auditedJob{a.Version, a.Stop, a.Spec}
		}
	case jobID:
		return a.ID, "", nil
	case api.TokenGrant:
		return a.ID, "", a.Token
	case *api.JoinGrant:
		if a != nil {
			return a.Name, "", nil
		}
	}
	return "", "", nil
}

var auditQuery = words("since", "user", "action", "object", "refused", "limit")

func (c *call) auditFilter() (f api.AuditFilter, limit int, err error) {
	f = api.AuditFilter{Since: c.when("since"), User: c.Query.Text("user"), Action: c.Query.Text("action"), Object: c.Query.Text("object"), Refused: c.Query.Flag("refused")}
	limit = c.Query.Number("limit", 100, 1, api.MaxAudit)
	return f, limit, c.Query.Err
}

func localAudit(c *call) (any, error) {
	f, limit, err := c.auditFilter()
	if err != nil || c.Audit == nil {
		return exchange.List{Items: func(func(any) bool) {}}, err
	}
	records, err := c.Audit.Newest(c.R.Context(), f, limit)
	return exchange.ListOf(slices.Values(records)), err
}

func localAuditCheck(c *call) (any, error) {
	number := c.Query.Index("number")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	if c.Audit == nil {
		return api.AuditCheck{Node: c.NodeName}, nil
	}
	return c.Audit.Verify(c.R.Context(), number)
}

// listAudit merges what all nodes have recorded.
func listAudit(c *call) (any, error) {
	f, limit, err := c.auditFilter()
	if err != nil {
		return nil, err
	}
	var out []api.AuditRecord
	gone := gather(c, "", func(ctx context.Context, n *api.Node) (records []api.AuditRecord, err error) {
		if n.ID == c.Cluster.NodeID() {
			if c.Audit == nil {
				return nil, nil
			}
			return c.Audit.Newest(ctx, f, limit)
		}
		var a struct {
			Items []api.AuditRecord `json:"items"`
		}
		err = c.askAudit(ctx, n, "/v1/local/audit", c.Query.Values, &a)
		return a.Items, err
	}, func(records []api.AuditRecord) { out = append(out, records...) })
	sort.SliceStable(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Node, b.Node), cmp.Compare(a.Number, b.Number)) < 0
	})
	l := exchange.ListOf(slices.Values(out[max(0, len(out)-limit):]))
	l.Extra = missing{gone}
	return l, nil
}

// checkAudit has each node, or the one that was named, look whether its audit is as
// it was written.
func checkAudit(c *call) (any, error) {
	only := ""
	if c.Query.Has("node") {
		n, err := findNode(c.Store.View(), c.Query.Text("node"))
		if err != nil {
			return nil, api.InField("node", err)
		}
		only = n.ID
	}
	var out []*api.AuditCheck
	gone := gather(c, only, func(ctx context.Context, n *api.Node) (*api.AuditCheck, error) {
		var number uint64
		if n.Audit != nil {
			number = n.Audit.Number
		}
		check := new(api.AuditCheck)
		var err error
		if n.ID != c.Cluster.NodeID() {
			err = c.askAudit(ctx, n, "/v1/local/audit/check", url.Values{"number": {strconv.FormatUint(number, 10)}}, check)
		} else if c.Audit != nil {
			check, err = c.Audit.Verify(ctx, number)
		}
		if what := n.Audit.Against(check.First, check.Head.Number, check.At); err == nil && what != "" {
			check.Faults = append(check.Faults, api.AuditFault{Kind: api.AuditCutOff, What: what + ", as the cluster was told"})
		}
		if err == nil && n.Audit != nil && n.Audit.Trouble != "" {
			check.Notes = append(check.Notes, n.Audit.Trouble)
		}
		return check, err
	}, func(check *api.AuditCheck) { out = append(out, check) })
	slices.SortFunc(out, func(a, b *api.AuditCheck) int { return strings.Compare(a.Node, b.Node) })
	l := exchange.ListOf(slices.Values(out))
	l.Extra = missing{gone}
	return l, nil
}

// auditTimeout is for a node to read all of its audit.
const auditTimeout = 20 * time.Second

// gather asks all nodes that should answer, or the only one, some at a time, and
// returns which did not.
func gather[T any](c *call, only string, ask func(context.Context, *api.Node) (T, error), take func(T)) []missingNode {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, statsAtOnce)
		gone  = []missingNode{}
	)
	for n := range c.Store.View().Nodes() {
		if n.State == api.NodeGone && n.ID != only || only != "" && n.ID != only {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(c.R.Context(), auditTimeout)
			defer cancel()
			a, err := ask(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				gone = append(gone, missingNode{n.Name, err.Error()})
				return
			}
			take(a)
		})
	}
	wg.Wait()
	sort.Slice(gone, func(i, j int) bool { return gone[i].Node < gone[j].Node })
	return gone
}

// askAudit asks another node in the name of the caller.
func (c *call) askAudit(ctx context.Context, n *api.Node, path string, q url.Values, out any) error {
	if n.State != api.NodeReady && n.State != api.NodeDraining {
		return api.Errorf(api.CodeUnavailable, "is %s", n.State)
	}
	h := http.Header{}
	c.ID.Forward(h)
	h.Set(auth.HeaderFrom, c.ID.From(c.R))
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	_, err := c.AskNode(ctx, n.ID, http.MethodGet, path, h, nil, out)
	return err
}
