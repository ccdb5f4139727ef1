package consensus

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
)

// changeWithin bounds a change of the members when ctx does not.
const changeWithin = 30 * time.Second

// Server is one member of the cluster, as Raft sees it.
type Server struct {
	ID    string
	Addr  string // where it was when it was added
	Voter bool
}

func (n *Node) members() []raft.Server {
	return n.raft.GetConfiguration().Configuration().Servers // it never fails
}

// Members are those that take part in Raft, ordered by id.
func (n *Node) Members() ([]Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read the members: %w", err)
	}
	var out []Server
	for _, s := range f.Configuration().Servers {
		out = append(out, Server{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}

// Lacks reports whether a node takes no part in Raft, for certain: this node leads, and
// that the other is out is committed. It is soon, or Lacks is asked again.
func (n *Node) Lacks(id string) bool {
	term := n.raft.CurrentTerm()
	if !n.IsLeader() || slices.ContainsFunc(n.members(), func(s raft.Server) bool { return string(s.ID) == id }) {
		return false
	}
	end := n.raft.LastIndex() // the members of now are in the log before it, which a leader cuts nothing from
	for range 10 {
		if n.raft.CommitIndex() >= end {
			return n.IsLeader() && n.raft.CurrentTerm() == term
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// Voters are the ids of the voters, sorted; none if this node was never in a
// cluster.
func (n *Node) Voters() []string {
	var out []string
	for _, s := range n.members() {
		if s.Suffrage == raft.Voter {
			out = append(out, string(s.ID))
		}
	}
	slices.Sort(out)
	return out
}

func (n *Node) votes(id string) bool { return slices.Contains(n.Voters(), id) }

// AddVoter makes a node vote, or gives a voter a new address. A new one gets
// the log first, so that no decision has to wait for it; if it does not answer
// until ctx ends, it stays a non-voter, and AddVoter may be called again. Only
// the leader can.
func (n *Node) AddVoter(ctx context.Context, id, addr string) error {
	if !n.IsLeader() {
		return ErrNotLeader
	}
	if !n.votes(id) {
		if err := n.AddNonvoter(ctx, id, addr); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, changeWithin)
		defer cancel()
		if err := n.wire.awaitFollower(wait, raft.ServerID(id)); err != nil {
			return fmt.Errorf("%w (%w)", api.Errorf(api.CodeTimeout, "node %s does not have the log yet, so it does not vote", id), err)
		}
	}
	return n.change(ctx, func(d time.Duration) raft.Future {
		return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, d)
	})
}

// AddNonvoter sends a node the log, without a vote. Only the leader can.
func (n *Node) AddNonvoter(ctx context.Context, id, addr string) error {
	return n.change(ctx, func(d time.Duration) raft.Future {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, d)
	})
}

// Demote takes a node's vote; it still gets the log. Only the leader can.
func (n *Node) Demote(ctx context.Context, id string) error {
	return n.change(ctx, func(d time.Duration) raft.Future { return n.raft.DemoteVoter(raft.ServerID(id), 0, d) })
}

// Remove takes a node out of Raft. Only the leader can; one that removes itself
// no longer leads.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.change(ctx, func(d time.Duration) raft.Future { return n.raft.RemoveServer(raft.ServerID(id), 0, d) })
}

func (n *Node) change(ctx context.Context, ask func(time.Duration) raft.Future) error {
	within := changeWithin
	if t, ok := ctx.Deadline(); ok {
		within = min(within, max(time.Until(t), time.Millisecond))
	}
	if err := n.await(ctx, func() raft.Future { return ask(within) }); err != nil {
		return fmt.Errorf("change the members: %w", err)
	}
	return nil
}
