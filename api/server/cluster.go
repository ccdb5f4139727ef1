package server

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// nodeName is a node's name, or its id where the name is not known.
func (s *Server) nodeName(id string) string {
	if id == s.Cluster.NodeID() {
		return s.NodeName
	}
	if n := s.Store.View().Node(id); n != nil {
		return n.Name
	}
	return id
}

func getHealth(c *call) (any, error) {
	leader := c.Cluster.LeaderID()
	h := api.Health{Quorum: leader != "", Node: c.NodeName, Version: c.Version, Index: c.Store.View().Index(), Role: c.Cluster.Role(c.Cluster.NodeID()), Session: c.Cluster.Session()}
	if folder, full := c.Local.DiskFull(); full {
		h.Reason = "the disk of " + folder + " is full: no new work is taken here until there is room"
	}
	if links := c.Cluster.Links(); links != "" && h.Reason == "" {
		h.Reason = links
	}
	if err := c.Cluster.Healthy(); err != nil {
		h.Reason = err.Error()
		return exchange.With{Status: http.StatusServiceUnavailable, Value: h}, nil
	}
	if leader == c.Cluster.NodeID() && !c.Cluster.IsLeader() {
		h.Quorum, h.Reason = false, "this node was just elected, and reads what was agreed on before: try again in a moment"
		return exchange.With{Status: http.StatusServiceUnavailable, Value: h}, nil
	}
	if leader == "" {
		h.Reason = api.NoLeader + "; `mesita cluster show` on each says why it does not take part"
		return exchange.With{Status: http.StatusServiceUnavailable, Value: h}, nil
	}
	h.Leader = c.nodeName(leader)
	return h, nil
}

// ClusterStatus is the cluster with what it is made of.
type ClusterStatus struct {
	*api.Cluster
	Leader string `json:"leader"` // its name; "" while there is none
	Nodes  int    `json:"nodes"`
	Voters int    `json:"voters"`
	// MayVote is how many of the nodes vote, or may become voters.
	MayVote int `json:"mayVote"`
	// CA is how far a change of the CA's key is.
	CA api.CAStatus `json:"ca"`
}

func getCluster(c *call) (any, error) {
	v := c.Store.View()
	s := ClusterStatus{Cluster: v.Cluster(), MayVote: v.MayVote(), CA: c.Cluster.CA()}
	if s.Cluster == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the cluster is not made yet: try again in a moment")
	}
	if id := c.Cluster.LeaderID(); id != "" {
		s.Leader = c.nodeName(id)
	}
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		s.Nodes++
		if strings.HasPrefix(c.Cluster.Role(n.ID), "voter") {
			s.Voters++
		}
	}
	return s, nil
}

func setCluster(c *call) (any, error) {
	var in api.ClusterChange
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	return c.Do(&fsm.ClusterSet{Meta: c.Meta(), NoLocalAdmin: *in.NoLocalAdmin})
}

func checkState(c *call) (any, error) { return c.Cluster.CheckState(c.R.Context(), c.ID.Actor) }

func getCA(c *call) (any, error) {
	relayed := c.Query.Flag("relayed")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	return c.Cluster.CAs(c.R.Context(), relayed)
}

func rotateCA(c *call) (any, error) { return c.Cluster.RotateCA(c.R.Context(), c.ID.Actor) }

func getLevel(c *call) (any, error) { return c.Cluster.Level(), nil }

func setLevel(c *call) (any, error) {
	var in api.LevelRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if (in.Hold == nil) == !in.Raise {
		return nil, api.FieldErrorf("hold", "give hold or raise, one of the two")
	}
	return c.Cluster.SetLevel(c.R.Context(), in, c.ID.Actor)
}

// Sighting is how far a node saw another come in Raft, at least, and how often
// it saw it start.
type Sighting struct {
	Term      uint64 `json:"term"`
	LastTerm  uint64 `json:"lastTerm"`
	LastIndex uint64 `json:"lastIndex"`
	Starts    uint64 `json:"starts"`
}

// getSeen tells a node what this one saw of it.
func getSeen(c *call) (any, error) {
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	return c.Cluster.Seen(c.ID.NodeID), nil
}

func holdLevel(c *call) (any, error) {
	var in api.LevelRequest
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if in.Hold == nil {
		return nil, api.FieldErrorf("hold", "is missing")
	}
	return in, c.Cluster.HoldLevel(*in.Hold)
}

func getWhoami(c *call) (any, error) {
	return exchange.Whoami{Actor: c.ID.Actor, Role: c.ID.Role, Rights: c.ID.Rights}, nil
}

// joinNode admits a node. The token in the body is its credential; wrong ones
// count like wrong client tokens, where the joiner's own address is known.
func joinNode(c *call) (any, error) {
	var in api.JoinRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := api.ValidateName("name", in.Name); err != nil {
		return nil, err
	}
	if len(in.Token) > 512 || len(in.CSR) > 16<<10 {
		return nil, api.FieldErrorf("token", "is not a join token: get one with `mesita node token`")
	}
	if id, _, ok := strings.Cut(in.Token, "."); ok && len(in.Token) <= 512 {
		c.Subject.Object, c.Subject.Asked = in.Name, "join token "+id
	}
	in.Level = c.saidLevel()
	grant, err := c.Cluster.Join(c.R.Context(), in)
	if err != nil && api.ErrorCode(err) == api.CodeNotAllowed && !c.ID.Forwarded {
		c.Auth.Failed(c.R)
	}
	return grant, err
}

// saidLevel is the highest level that the program knows which sent this request,
// 0 if it does not say.
func (c *call) saidLevel() int {
	n, _ := strconv.Atoi(c.R.Header.Get(api.HeaderLevel))
	return min(max(n, 0), math.MaxInt16)
}

// index is a short guide for whoever looks at the address with a browser.
func index(c *call) (any, error) {
	var b strings.Builder
	b.WriteString("mesita " + c.Version + ", node " + c.NodeName + "\n\n")
	for _, r := range c.table {
		if r.Action != auth.BeNode {
			b.WriteString(r.Method + strings.Repeat(" ", 7-len(r.Method)) + r.Path + strings.Repeat(" ", max(1, 28-len(r.Path))) + r.Summary + "\n")
		}
	}
	return exchange.Text(b.String()), nil
}
