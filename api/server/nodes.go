package server

import (
	"context"
	"iter"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

const maxDrain = 7 * 24 * time.Hour

func findNode(v *fsm.View, ref string) (*api.Node, error) {
	if n := v.FindNode(ref); n != nil {
		return n, nil
	}
	if n := v.Node(ref); n != nil {
		return n, nil // a gone one, by its whole id
	}
	return nil, noNode(v, ref)
}

// noNode says why a reference names no node.
func noNode(v *fsm.View, ref string) error {
	begins := 0
	var gone *api.Node
	for n := range v.Nodes() {
		switch {
		case n.State == api.NodeGone && n.Name == ref:
			gone = n
		case n.State != api.NodeGone && api.BeginsID(n.ID, ref):
			begins++
		}
	}
	switch {
	case begins > 1 && gone == nil:
		return api.Errorf(api.CodeNotFound, "the ids of %s begin with %q: give a name, or more of the id; `mesita node ls -o wide` lists them", api.Count(begins, "node"), ref)
	case gone != nil:
		return api.Errorf(api.CodeNotFound, "node %q was removed: `mesita node ls --all` still lists it, with its id", ref)
	}
	return api.Errorf(api.CodeNotFound, "no node %q: give the name of one, or its id or the first %d or more of it; `mesita node ls -o wide` lists them", ref, api.LeastOfID)
}

func (s *Server) nodeStatus(v *fsm.View, n *api.Node) *api.NodeStatus {
	l, tasks := v.Ledger(n.ID)
	return &api.NodeStatus{Node: n, Role: s.Cluster.Role(n.ID), Ledger: l, Tasks: tasks, Remark: v.Copied(n.ID)}
}

func listNodes(c *call) (any, error) {
	all := c.Query.Flag("all")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	var rows iter.Seq[*api.NodeStatus] = func(yield func(*api.NodeStatus) bool) {
		for n := range v.Nodes() {
			if (all || n.State != api.NodeGone) && !yield(c.nodeStatus(v, n)) {
				return
			}
		}
	}
	return exchange.ListOf(rows), nil
}

func getNode(c *call) (any, error) {
	v := c.Store.View()
	n, err := findNode(v, c.Args[0])
	if err != nil {
		return nil, err
	}
	return c.withReservations(v, n), nil
}

// withReservations is a node with those that the caller sees.
func (c *call) withReservations(v *fsm.View, n *api.Node) *api.NodeStatus {
	out, sees := c.nodeStatus(v, n), c.sight(v)
	for r := range v.Reservations(n.ID) {
		if sees.all || sees.partition(r.Partition) {
			out.Reservations = append(out.Reservations, r)
		}
	}
	return out
}

type unreserveRequest struct {
	Partition string `json:"partition,omitempty"` // "": all
}

// unreserve gives back what is reserved and not in use. What is on offer of it is taken back.
func unreserve(c *call) (any, error) {
	var in unreserveRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	v := c.Store.View()
	n, err := findNode(v, c.Args[0])
	if err != nil {
		return nil, err
	}
	cmd, there, volumes := &fsm.ReservationChange{Meta: c.Meta(), NodeID: n.ID}, false, 0
	for r := range v.Reservations(n.ID) {
		if in.Partition != "" && r.Partition != in.Partition {
			continue
		}
		there = true
		if r.Volume != nil { // it has files: who made it destroys it
			volumes++
			continue
		}
		if left := r.Resources.Minus(r.Used); !left.Equal(api.Resources{}) {
			cmd.Steps = append(cmd.Steps, fsm.ReservationStep{Kind: fsm.StepUnreserve, Partition: r.Partition, Principal: r.Principal, Labels: r.Labels, Resources: left})
		}
	}
	switch {
	case in.Partition != "" && v.Partition(in.Partition) == nil:
		return nil, noPartition(in.Partition)
	case !there:
		return nil, api.Errorf(api.CodeNotFound, "nothing is reserved of node %s%s: see `mesita node show %s`", n.Name, forPartition(in.Partition), n.Name)
	case len(cmd.Steps) == 0 && volumes > 0:
		return nil, api.Errorf(api.CodeConflict, "%s of node %s%s: its framework, or an operator with DESTROY_VOLUMES, destroys it with all that is in it, and then its disk can be given back",
			api.Count(volumes, "volume"), n.Name, forPartition(in.Partition))
	case len(cmd.Steps) == 0:
		return nil, api.Errorf(api.CodeConflict, "tasks use all that is reserved of node %s%s: it can be given back once they have ended", n.Name, forPartition(in.Partition))
	}
	if _, err := c.Do(cmd); err != nil {
		return nil, err
	}
	return c.withReservations(c.Store.View(), n), nil
}

func forPartition(path string) string {
	if path == "" {
		return ""
	}
	return " for partition " + path
}

type drainRequest struct {
	Deadline api.Duration `json:"deadline,omitempty"` // from now; 0 = none
}

func drainNode(c *call) (any, error) {
	dry := c.Query.Flag("dry_run")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	var in drainRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if in.Deadline < 0 || time.Duration(in.Deadline) > maxDrain {
		return nil, api.FieldErrorf("deadline", "%s is not within 0s to %s", in.Deadline, maxDrain)
	}
	if dry {
		return c.planDrain(in.Deadline > 0)
	}
	var by time.Time
	if in.Deadline > 0 {
		by = c.Now().Add(time.Duration(in.Deadline))
	}
	return c.setDrain(true, by)
}

// planDrain says where the tasks of a node would go; who may drain one sees all of them.
func (c *call) planDrain(deadline bool) (plan *api.DrainPlan, err error) {
	v := c.Store.View()
	n, err := findNode(v, c.Args[0])
	if err != nil {
		return nil, err
	}
	err = c.Ponder(func(ctx context.Context) (err error) {
		plan, err = c.Moves.Drain(ctx, v, n.ID, deadline)
		return err
	})
	return plan, err
}

// mostMoves bounds a plan that evens out nodes, fewMoves is how many it has if nobody
// says.
const (
	mostMoves = 1000
	fewMoves  = 20
)

// planRebalance says which tasks to move so that nodes are filled more evenly. The moves
// themselves are asked for one by one, as any is.
func planRebalance(c *call) (any, error) {
	path, most := c.Query.Text("partition"), c.Query.Number("max_moves", fewMoves, 1, mostMoves)
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	if path != "" && v.Partition(path) == nil {
		return nil, noPartition(path)
	}
	var plan *api.RebalancePlan
	err := c.Ponder(func(ctx context.Context) (err error) {
		plan, err = c.Moves.Rebalance(ctx, v, path, most)
		return err
	})
	return plan, err
}

func resumeNode(c *call) (any, error) { return c.setDrain(false, time.Time{}) }

func (c *call) setDrain(drain bool, by time.Time) (any, error) {
	n, err := findNode(c.Store.View(), c.Args[0])
	if err != nil {
		return nil, err
	}
	n, err = exchange.DoAs[*api.Node](c.Call, &fsm.NodeDrain{Meta: c.Meta(), ID: n.ID, Drain: drain, By: by})
	if err != nil {
		return nil, err
	}
	return c.nodeStatus(c.Store.View(), n), nil
}

func promoteNode(c *call) (any, error) {
	n, err := findNode(c.Store.View(), c.Args[0])
	if err != nil {
		return nil, err
	}
	if n, err = exchange.DoAs[*api.Node](c.Call, &fsm.NodePromote{Meta: c.Meta(), ID: n.ID}); err != nil {
		return nil, err
	}
	return c.nodeStatus(c.Store.View(), n), nil
}

func demoteNode(c *call) (any, error) {
	n, err := findNode(c.Store.View(), c.Args[0])
	if err != nil {
		return nil, err
	}
	if n, err = c.Cluster.DemoteNode(c.R.Context(), n, c.ID.Actor); err != nil {
		return nil, err
	}
	return c.nodeStatus(c.Store.View(), n), nil
}

func removeNode(c *call) (any, error) {
	force, dry := c.Query.Flag("force"), c.Query.Flag("dry_run")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	n, err := findNode(c.Store.View(), c.Args[0])
	if err != nil {
		return nil, err
	}
	if dry {
		return removed{}, c.Cluster.MayRemoveNode(n, force)
	}
	return removed{1}, c.Cluster.RemoveNode(c.R.Context(), n, force, c.ID.Actor)
}
