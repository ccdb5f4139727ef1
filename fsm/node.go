package fsm

import (
	"crypto/subtle"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// nodeRow is a node with what its tasks and offers hold of it.
type nodeRow struct {
	node       *api.Node
	allocated  api.Resources
	reclaiming api.Resources
	offered    api.Resources
	tasks      int
	edition    uint64 // of the tables, when it was made
}

var nodeNoun = noun[nodeRow]{
	less:     func(a, b *nodeRow) bool { return a.node.ID < b.node.ID },
	watch:    TableNodes,
	id:       func(r *nodeRow) string { return r.node.ID },
	revision: func(r *nodeRow) *uint64 { return &r.node.Revision },
	follow:   (*tx).sumCapacity,
	told:     true,
	forms: []form[nodeRow]{{record: recNode, out: func(r *nodeRow) any { return r.node }, in: func(body []byte) (*nodeRow, error) {
		n, err := decoded[api.Node](body)
		return &nodeRow{node: n}, err
	}}},
}

// ClusterInit makes the cluster. It happens once.
type ClusterInit struct {
	Meta
	Cluster   *api.Cluster   `json:"cluster"`
	Authority *api.Authority `json:"authority"`
	Node      *api.Node      `json:"node"` // the first
	Level     Level          `json:"level,omitempty"`
}

func (c *ClusterInit) apply(x *tx) (any, error) {
	if x.cluster != nil {
		if x.cluster.ID == c.Cluster.ID {
			return x.cluster, nil
		}
		return nil, conflict("the cluster %q is made already", x.cluster.Name)
	}
	x.cluster, x.authority, x.level = c.Cluster, c.Authority, c.Level
	first := &api.Partition{Path: api.DefaultPartition, Created: c.At}
	first.Normalize()
	x.partitions.put(x, first)
	x.putNode(c.Node)
	x.touch(TableCluster, c.Cluster.ID)
	x.happened(api.Event{Kind: api.EventClusterCreated, Object: c.Cluster.ID, Message: c.Cluster.Name})
	x.happened(api.Event{Kind: api.EventPartition, Object: first.Path, Message: "made, with the cluster"})
	x.happened(api.Event{Kind: api.EventNodeJoined, Object: c.Node.ID, Node: c.Node.Name, Message: "made the cluster"})
	return c.Cluster, nil
}

// NodeJoin admits a node that shows a join token. Its value is the *api.Node.
// The same node may join again with the same token without using it up.
type NodeJoin struct {
	Meta
	Token     string `json:"token"` // its id
	Hash      string `json:"hash"`  // of the secret that was shown
	NodeID    string `json:"nodeID"`
	Name      string `json:"name"`
	VoterOnly bool   `json:"voterOnly,omitempty"`
}

func (c *NodeJoin) apply(x *tx) (any, error) {
	tok := x.tokens.get(&api.Token{ID: c.Token})
	old, _ := x.node(c.NodeID)
	again := joinsAgain(old, c)
	if err := checkJoin(tok, c, again); err != nil {
		return nil, err
	}
	if old != nil && old.State == api.NodeGone && x.does(RemovedKeys) {
		return nil, &api.Error{Code: api.CodeConflict, Field: "csr", Message: "the key in this data folder is of " + old.Name + ", which was removed from the cluster: move the folder away, and join anew"}
	}
	var clash *api.Node
	for r := range x.nodes.all() {
		if r.node.Name == c.Name && r.node.ID != c.NodeID && r.node.State != api.NodeGone {
			clash = r.node
			break
		}
	}
	if clash != nil {
		return nil, &api.Error{Code: api.CodeConflict, Field: "name", Message: "another node is named " + c.Name + ": choose one with --name, or remove that node with `mesita node rm " + c.Name + "`"}
	}
	if again && old.Name == c.Name && old.VoterOnly == c.VoterOnly {
		return old, nil
	}
	if !again {
		used := *tok
		used.Uses++
		x.tokens.put(x, &used)
		x.happened(api.Event{Kind: api.EventTokenUsed, Object: tok.ID, Node: c.Name, Message: "to join"})
	}
	n := &api.Node{ID: c.NodeID, State: api.NodeDown, Reason: "has not reported yet", Joined: c.At, Since: c.At}
	if old != nil && old.State != api.NodeGone { // it may still hold tasks
		kept := *old
		n = &kept
	}
	// A token gives rights and takes none: who may vote already still may.
	n.WorkerOnly = tok.WorkerOnly && (old == nil || old.State == api.NodeGone || old.WorkerOnly)
	n.Name, n.VoterOnly, n.JoinToken = c.Name, c.VoterOnly, c.Token
	x.putNode(n)
	how := "with join token " + c.Token
	if n.WorkerOnly {
		how += ", never to vote"
	}
	x.happened(api.Event{Kind: api.EventNodeJoined, Object: n.ID, Node: n.Name, Message: how})
	return n, nil
}

// CheckJoin is what apply would say of the token of a join, without an entry in
// the log: nil if it would be taken.
func (v *View) CheckJoin(c *NodeJoin) error {
	old := v.Node(c.NodeID)
	return checkJoin(v.Token(c.Token), c, joinsAgain(old, c))
}

// joinsAgain reports whether a node that is in the cluster shows the token that it
// joined with: its first answer was lost.
func joinsAgain(old *api.Node, c *NodeJoin) bool {
	return old != nil && old.State != api.NodeGone && old.JoinToken == c.Token
}

func checkJoin(tok *api.Token, c *NodeJoin, again bool) error {
	deny := func(why string) error {
		return &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: why + ": get a new one with `mesita node token` on a node of the cluster"}
	}
	switch {
	case tok == nil || tok.Kind != api.TokenJoin || subtle.ConstantTimeCompare([]byte(tok.Hash), []byte(c.Hash)) != 1:
		return deny("is not valid in this cluster, or was revoked")
	case !tok.Expires.IsZero() && c.At.After(tok.Expires):
		return deny("expired at " + tok.Expires.Format(time.RFC3339))
	case tok.MaxUses > 0 && tok.Uses >= tok.MaxUses && !again:
		return deny("is used up")
	case tok.WorkerOnly && c.VoterOnly:
		return &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: "is for nodes that never vote: leave --voter-only out, or get a token with `mesita node token --voter-only`"}
	case tok.VoterOnly && !c.VoterOnly:
		return &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: "is for voter-only nodes: add --voter-only"}
	}
	return nil
}

func removedNode() error {
	return &api.Error{Code: api.CodeNotAllowed, Message: "this node was removed from the cluster: join again with a new token"}
}

// NodeHello records what a node says of itself, and makes it ready. Its value
// is the *api.Node.
type NodeHello struct {
	Meta
	ID    string        `json:"id"`
	Hello api.NodeHello `json:"hello"`
	// Outdated is that the node's program is below the level of the cluster.
	Outdated bool `json:"outdated,omitempty"`
}

func (c *NodeHello) apply(x *tx) (any, error) {
	row := x.rowAt(c.ID)
	switch {
	case row == nil: // no node is ever forgotten, so it will be there
		return nil, api.Errorf(api.CodeUnavailable, "node %s is not in the cluster yet", c.ID)
	case row.node.State == api.NodeGone:
		return nil, removedNode()
	}
	old := row.node
	n := *old
	h := c.Hello
	if err := checkSession(old, h.Session); err != nil {
		return nil, err
	}
	if h.Session == "" { // it did not know yet that the cluster knows sessions
		h.Session = old.Session
	}
	x.giveUp(row, h.Resources)
	row = x.rowAt(c.ID)
	h.Resources = atLeast(h.Resources, row.allocated.Add(row.reclaiming).Add(row.offered))
	var changed []string
	for _, f := range said {
		if f.take(&n, &h) {
			changed = append(changed, f.name)
		}
	}
	n.Outdated = c.Outdated
	n.State, n.Reason, n.Away = api.NodeReady, "", false
	if n.Drain {
		n.State = api.NodeDraining
	}
	if n.State != old.State {
		n.Since = c.At
	}
	if len(changed) == 0 && n.State == old.State && n.Reason == old.Reason && n.Outdated == old.Outdated {
		return old, nil
	}
	x.nodeIncidents(old, &n)
	x.refillIncident(old, &n)
	kind, what := api.EventNodeUpdated, "it reported: "+strings.Join(changed, ", ")+" changed"
	if n.State != old.State {
		kind, what = api.EventNodeState, n.State.String()+": it reported, and was "+old.State.String()
	}
	x.happened(api.Event{Kind: kind, Object: n.ID, Node: n.Name, Message: what})
	x.putNode(&n)
	if n.State != old.State {
		x.inReach(n.ID)
	}
	return &n, nil
}

// atLeast is what a node has, but never less than what is held of it: a node
// that comes back smaller shrinks as its tasks end.
func atLeast(has, held api.Resources) api.Resources {
	limits := max(has.MemLimit(), held.MemLimit())
	has.CPUs, has.Mem, has.Disk, has.GPUs = max(has.CPUs, held.CPUs), max(has.Mem, held.Mem), max(has.Disk, held.Disk), max(has.GPUs, held.GPUs)
	has.Pins = max(has.Pins, held.Pins)
	has.MemExtra = max(limits-has.Mem, 0)
	has.Ports = has.Ports.Union(held.Ports)
	for k, q := range held.Custom {
		if !(api.Resources{Custom: has.Custom}).Fits(api.Resources{Custom: map[string]api.Quantity{k: q}}) {
			has.Custom = maps.Clone(has.Custom)
			if has.Custom == nil {
				has.Custom = map[string]api.Quantity{}
			}
			has.Custom[k] = q
		}
	}
	return has
}

// NodeState records that a node does not answer, or stopped on purpose. Its
// tasks become pending again, but for those that may run only once.
type NodeState struct {
	Meta
	ID     string        `json:"id"`
	State  api.NodeState `json:"state"` // unreachable or down
	Reason string        `json:"reason,omitempty"`
	Since  time.Time     `json:"since"` // the node's Since that the decision was made on
}

func (c *NodeState) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if c.State != api.NodeUnreachable && c.State != api.NodeDown {
		return nil, conflict("a node cannot be set %s", c.State)
	}
	if old.State == c.State && !old.Away || old.State == api.NodeGone || !old.Since.Equal(c.Since) {
		return nil, conflict("node %s is now %s", old.Name, old.State)
	}
	n := *old
	n.State, n.Reason, n.Since, n.Away = c.State, c.Reason, c.At, false
	x.happened(api.Event{Kind: api.EventNodeState, Object: n.ID, Node: n.Name, Message: n.State.String() + ": " + c.Reason})
	x.nodeIncidents(old, &n)
	x.putNode(&n)
	x.replaceLost(&n)
	return &n, nil
}

// NodeDrain starts or ends a drain. Its value is the *api.Node.
type NodeDrain struct {
	Meta
	ID    string    `json:"id"`
	Drain bool      `json:"drain"`
	By    time.Time `json:"by"`
}

func (c *NodeDrain) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if old.State == api.NodeGone {
		return nil, conflict("node %s was removed", old.Name)
	}
	if old.Drain == c.Drain && old.DrainBy.Equal(c.By) {
		return old, nil
	}
	n := *old
	n.Drain, n.DrainBy = c.Drain, c.By
	switch {
	case c.Drain && n.State == api.NodeReady:
		n.State = api.NodeDraining
	case !c.Drain && n.State == api.NodeDraining:
		n.State = api.NodeReady
	}
	if n.State != old.State {
		n.Since = c.At
	}
	why := ": the drain is over"
	if c.Drain {
		why = ": to be emptied"
		if !c.By.IsZero() {
			why += " by " + c.By.Format(time.RFC3339)
		}
	}
	x.happened(api.Event{Kind: api.EventNodeState, Object: n.ID, Node: n.Name, Message: n.State.String() + why})
	x.putNode(&n)
	return &n, nil
}

// NodePromote lets a node become a voter that joined with a token for workers.
// Its value is the *api.Node.
type NodePromote struct {
	Meta
	ID string `json:"id"`
}

func (c *NodePromote) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	switch {
	case err != nil:
		return nil, err
	case old.State == api.NodeGone:
		return nil, conflict("node %s was removed", old.Name)
	case !old.WorkerOnly:
		return old, nil
	}
	n := *old
	n.WorkerOnly = false
	x.happened(api.Event{Kind: api.EventNodeUpdated, Object: n.ID, Node: n.Name, Message: "may become a voter from now on"})
	x.putNode(&n)
	return &n, nil
}

// MayVote is how many nodes may become voters, or are.
func (v *View) MayVote() int {
	may := 0
	for n := range v.Nodes() {
		if n.State != api.NodeGone && !n.WorkerOnly {
			may++
		}
	}
	return may
}

// NodeRemove removes a node for good; its certificate is no longer accepted.
type NodeRemove struct {
	Meta
	ID    string `json:"id"`
	Force bool   `json:"force,omitempty"` // also while it runs tasks
}

func (c *NodeRemove) apply(x *tx) (any, error) {
	row := x.rowAt(c.ID)
	if row == nil {
		return nil, api.NotFound("node", c.ID)
	}
	if row.node.State == api.NodeGone {
		return row.node, nil
	}
	if row.tasks > 0 && !c.Force {
		return nil, conflict("node %s runs %s: drain it first, or use --force", row.node.Name, api.Count(row.tasks, "task"))
	}
	n := *row.node
	n.State, n.Reason, n.Since, n.Away = api.NodeGone, "removed", c.At, false
	why := "asked for; " + x.count(row.tasks, "task") + " were on it"
	if x.does(PlainWords) {
		why = "asked for, with " + x.count(row.tasks, "task") + " on it"
	}
	x.happened(api.Event{Kind: api.EventNodeRemoved, Object: n.ID, Node: n.Name, Message: why})
	x.nodeIncidents(row.node, &n)
	x.putNode(&n)
	x.closeIncident(api.IncidentNodeCopied, n.ID, "it was removed")
	x.replaceLost(&n)
	if c.Force && !n.WorkerOnly && x.does(CAChanges) { // nobody knows who has its disk
		x.oweCA()
	}
	return &n, nil
}

// Capacity is what the nodes that may run work have, without port numbers.
func (v *View) Capacity() api.Resources { return v.t.capacity }

// Room is a node with what may be given of it, for one read instead of two.
func (v *View) Room(nodeID string) (n *api.Node, free, reclaiming api.Resources) {
	r := v.row(nodeID)
	if r == nil {
		return nil, api.Resources{}, api.Resources{}
	}
	return r.node, r.room(), r.reclaiming
}

// Node finds a node by its id.
func (v *View) Node(id string) *api.Node {
	if r := v.row(id); r != nil {
		return r.node
	}
	return nil
}

func (v *View) row(id string) *nodeRow { return v.t.nodes.get(&nodeRow{node: &api.Node{ID: id}}) }

// FindNode finds a node that is not gone by its id, its name, or the unique
// beginning of its id. A word that was the name of a node is not taken for the
// beginning of another's id: who removes "c" twice removes one node.
func (v *View) FindNode(ref string) *api.Node {
	if n := v.Node(ref); n != nil && n.State != api.NodeGone {
		return n
	}
	var found *api.Node
	matches, was := 0, false
	for n := range v.Nodes() {
		switch {
		case n.State == api.NodeGone:
			was = was || n.Name == ref
		case n.Name == ref:
			return n
		case api.BeginsID(n.ID, ref):
			found, matches = n, matches+1
		}
	}
	if matches == 1 && !was {
		return found
	}
	return nil
}

// Nodes lists all nodes by id, also those that are gone.
func (v *View) Nodes() iter.Seq[*api.Node] {
	return func(yield func(*api.Node) bool) {
		v.t.nodes.rows.Ascend(func(r *nodeRow) bool { return yield(r.node) })
	}
}

// Ledger is where each unit of a node's resources is, and how many tasks hold
// some.
func (v *View) Ledger(nodeID string) (l api.Ledger, tasks int) {
	r := v.row(nodeID)
	if r == nil {
		return l, 0
	}
	return api.Ledger{Free: r.free(), Offered: r.offered, Allocated: r.allocated, Reclaiming: r.reclaiming}, r.tasks
}

// Free is what may be given of a node: no task, no offer and no other program
// has it.
func (v *View) Free(nodeID string) api.Resources {
	if r := v.row(nodeID); r != nil {
		return r.room()
	}
	return api.Resources{}
}

func (r *nodeRow) free() api.Resources {
	return r.node.Resources.Minus(r.allocated).Minus(r.reclaiming).Minus(r.offered)
}

// room is what is free and that no other program on the machine has.
func (r *nodeRow) room() api.Resources {
	left := r.free()
	if o := r.node.Outside; o != nil {
		left.Mem = max(left.Mem-o.Mem, 0)
		left.Ports = left.Ports.Minus(o.Resources().Ports)
	}
	return left
}
