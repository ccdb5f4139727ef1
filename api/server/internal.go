package server

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

const (
	maxStatuses   = 10_000 // in one report
	nodeHeartbeat = 10 * time.Second
)

// nodeOnly refuses callers that are not node themselves.
func (c *call) nodeOnly() error {
	if c.ID.NodeID == "" {
		return api.Errorf(api.CodeNotAllowed, "only nodes of the cluster may do this")
	}
	return nil
}

func helloNode(c *call) (any, error) {
	var in api.NodeHello
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	v := c.Store.View()
	if v.Level() > 0 {
		in.Level = max(in.Level, c.saidLevel()) // a node that starts may not have heard that the cluster has levels
	}
	if err := v.TakesHello(c.ID.NodeID, fsm.Level(in.Level)); err != nil {
		return nil, err
	}
	return c.Do(&fsm.NodeHello{Meta: c.Meta(), ID: c.ID.NodeID, Hello: in, Outdated: v.Does(fsm.OldPrograms) && fsm.Level(in.Level) < v.Level()})
}

// stateAnswer says what this node found when it hashed its state.
func stateAnswer(c *call) (any, error) {
	of := c.Query.Index("of")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	a, ok := c.Cluster.StateAnswer(of)
	if !ok {
		return nil, api.Errorf(api.CodeNotFound, "this node has no hash of its state after entry %d", of)
	}
	return a, nil
}

// claimNode is answered at once, also without a leader: a node that starts waits
// for it.
func claimNode(c *call) (any, error) {
	var in api.SessionClaim
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	leader := c.Cluster.LeaderID()
	addr, _, err := c.Cluster.Peer(leader) // an error: it is not known
	// A leader that starts again is still taken for one, and would be asked itself.
	// It believes only a voter for whom it asks.
	if c.Cluster.HasReplica() && !c.Cluster.IsLeader() && !c.ID.Forwarded && err == nil && leader != c.Cluster.NodeID() && addr != in.Addr {
		if answered, err := c.RelayTo(leader); answered {
			return exchange.Done{}, err
		}
	}
	return struct{}{}, c.Cluster.Claim(c.R.Context(), c.ID.NodeID, &in)
}

// reported says how many statuses were news.
type reported struct {
	Changed int `json:"changed"`
}

func reportStatus(c *call) (any, error) {
	var in []api.TaskStatus
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := c.Store.View().HoldsSession(c.ID.NodeID, c.ID.Session); err != nil {
		return nil, err
	}
	if len(in) > maxStatuses {
		return nil, api.Errorf(api.CodeTooLarge, "%d statuses, at most %d are accepted at a time: send them in parts", len(in), maxStatuses)
	}
	for i := range in {
		if in[i].NodeID != c.ID.NodeID {
			return nil, api.FieldErrorf("nodeID", "task %s is reported for another node, %q", in[i].Task, in[i].NodeID)
		}
	}
	if len(in) == 0 {
		return reported{}, nil
	}
	n, err := exchange.DoAs[int](c.Call, &fsm.TaskReport{Meta: c.Meta(), Statuses: in})
	return reported{n}, err
}

// RenewRequest asks for a new certificate.
type RenewRequest struct {
	CSR []byte `json:"csr"` // DER
}

// RenewGrant is the new certificate.
type RenewGrant struct {
	Certificate []byte `json:"certificate"` // PEM
}

func renewNode(c *call) (any, error) {
	var in RenewRequest
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := checkCSR(in.CSR); err != nil {
		return nil, err
	}
	cert, err := c.Cluster.Renew(c.R.Context(), c.ID.NodeID, in.CSR)
	return RenewGrant{cert}, err
}

// RenewalRequest asks for a new certificate for the key that signed the request.
type RenewalRequest struct {
	CSR     []byte `json:"csr"`               // DER
	Relayed bool   `json:"relayed,omitempty"` // by a node that could not answer
}

// renewKey needs no credentials: the request proves the key, and the answer is
// of use to who holds it alone.
func renewKey(c *call) (any, error) {
	var in RenewalRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := checkCSR(in.CSR); err != nil {
		return nil, err
	}
	return c.Cluster.Renewal(c.R.Context(), in.CSR, in.Relayed)
}

func checkCSR(csr []byte) error {
	if len(csr) == 0 || len(csr) > 16<<10 {
		return api.FieldErrorf("csr", "has %d bytes: send a certificate request", len(csr))
	}
	return nil
}

// AssignmentsDelta is one line of the stream of a node's assignments.
type AssignmentsDelta struct {
	Full   bool             `json:"full,omitempty"` // Put is all that there is
	Index  uint64           `json:"index"`
	Put    []api.Assignment `json:"put,omitempty"`
	Remove []string         `json:"remove,omitempty"` // ids of tasks
	Node   *api.Node        `json:"node,omitempty"`   // the node itself, at first and when it changed
}

// watchAssignments streams what the calling node should run: all at first,
// then what changed. Values of a view never change, so a task is unchanged as
// long as it is the same pointer.
func watchAssignments(c *call) (any, error) {
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	if id := c.Query.Text("node"); id != "" && id != c.ID.NodeID {
		return nil, api.FieldErrorf("node", "is another node: a node follows its own assignments")
	}
	if err := c.Store.View().HoldsSession(c.ID.NodeID, c.ID.Session); err != nil {
		return nil, err
	}
	w := c.Store.WatchKey(c.ID.NodeID, fsm.TableNodeTasks, fsm.TableNodes)
	defer w.Close()
	out := exchange.NewStream(c.Call)
	if out.Begin(exchange.NDJSON) != nil {
		return exchange.Done{}, nil
	}
	beat := time.NewTicker(nodeHeartbeat)
	defer beat.Stop()
	sent := map[string]api.Assignment{}
	var self *api.Node
	for first := true; ; first = false {
		select {
		case <-c.R.Context().Done():
			return exchange.Done{}, nil
		case <-beat.C:
			if !c.Cluster.IsLeader() || out.JSON(AssignmentsDelta{Index: c.Store.View().Index()}) != nil {
				return exchange.Done{}, nil
			}
			continue
		case <-w.Ready():
			w.Take()
		}
		v := c.Store.View()
		n := v.Node(c.ID.NodeID)
		if n != nil && n.State == api.NodeGone || v.HoldsSession(c.ID.NodeID, c.ID.Session) != nil {
			return exchange.Done{}, nil
		}
		d := delta(v, c.ID.NodeID, sent)
		d.Full = first
		if n != self {
			d.Node, self = n, n
		}
		if !first && len(d.Put) == 0 && len(d.Remove) == 0 && d.Node == nil {
			continue
		}
		if out.JSON(d) != nil {
			return exchange.Done{}, nil
		}
	}
}

// delta is what changed since sent, which it brings up to date.
func delta(v *fsm.View, nodeID string, sent map[string]api.Assignment) AssignmentsDelta {
	d := AssignmentsDelta{Index: v.Index()}
	now := v.Assignments(nodeID)
	there := make(map[string]bool, len(now))
	for _, a := range now {
		there[a.Task.ID] = true
		if old, ok := sent[a.Task.ID]; !ok || old != a {
			d.Put = append(d.Put, a)
			sent[a.Task.ID] = a
		}
	}
	for id := range sent {
		if !there[id] {
			d.Remove = append(d.Remove, id)
			delete(sent, id)
		}
	}
	return d
}
