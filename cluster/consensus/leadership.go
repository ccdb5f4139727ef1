package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// leadership is whether this node leads, with a context for each time it does.
type leadership struct {
	notify chan bool // from raft, which waits for it to be read

	mu     sync.Mutex
	term   context.Context // while it leads, else nil
	cancel context.CancelCauseFunc
	won    chan struct{} // closed when it wins
}

func newLeadership() *leadership {
	return &leadership{notify: make(chan bool, 16), won: make(chan struct{})}
}

func (l *leadership) win() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != nil {
		return
	}
	l.term, l.cancel = context.WithCancelCause(context.Background()) // it ends with the lead
	close(l.won)
}

func (l *leadership) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil {
		return
	}
	l.cancel(ErrNotLeader)
	l.term, l.cancel = nil, nil
	l.won = make(chan struct{})
}

// AwaitLeadership blocks until this node leads, and returns a context that ends
// with the leadership, or with ctx. Call Barrier before relying on the store.
// The cancel function must be called. It fails only when ctx ends.
func (n *Node) AwaitLeadership(ctx context.Context) (context.Context, context.CancelFunc, error) {
	l := n.leader
	for {
		l.mu.Lock()
		term, won := l.term, l.won
		l.mu.Unlock()
		if term != nil {
			leading, cancel := context.WithCancelCause(ctx)
			stop := context.AfterFunc(term, func() { cancel(context.Cause(term)) })
			return leading, func() { stop(); cancel(context.Canceled) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-won:
		}
	}
}

// IsLeader reports whether this node leads, as far as it knows.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Leads reports whether this node leads and its store holds all that was
// acknowledged before it did. A leader that was just elected may not have
// applied what its predecessor committed.
func (n *Node) Leads() bool {
	if !n.IsLeader() {
		return false
	}
	term := n.raft.CurrentTerm()
	if n.current.Load() == term {
		return true
	}
	// An entry of its own term that took effect is after all of those.
	commit := n.raft.CommitIndex()
	var e raft.Log
	if n.stores.logs.GetLog(commit, &e) != nil || e.Term != term || !n.holds(heard{term, commit}) {
		return false
	}
	n.current.Store(term)
	return n.IsLeader()
}

// LeaderID is the id of the node that leads, "" while none is known.
func (n *Node) LeaderID() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// Barrier blocks until all that was committed when it was called has taken
// effect on this node, which must lead. It writes a log entry.
func (n *Node) Barrier(ctx context.Context) error {
	return n.await(ctx, func() raft.Future { return n.raft.Barrier(enqueueFor) })
}

// TransferLeadership makes another voter the leader: the one that has most of
// the log.
func (n *Node) TransferLeadership(ctx context.Context) error {
	return n.await(ctx, func() raft.Future { return n.raft.LeadershipTransfer() })
}

// TransferTo makes that voter the leader.
func (n *Node) TransferTo(ctx context.Context, id string) error {
	for _, s := range n.members() {
		if s.Suffrage == raft.Voter && string(s.ID) == id {
			return n.await(ctx, func() raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) })
		}
	}
	return fmt.Errorf("%s is not a voter", id)
}

// await waits for an answer of raft, or for ctx. Raft answers all at the latest
// when the lead is lost or the node ends.
func (n *Node) await(ctx context.Context, ask func() raft.Future) error {
	answer := make(chan error, 1)
	if !n.spawn(func() { answer <- ask().Error() }) {
		return errEnding
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-answer:
		if err != nil {
			return proposeError(err)
		}
		return nil
	}
}

// CaughtUp reports whether this node's store holds all that the cluster had
// committed when this node heard of a leader. Once it is true it stays so.
func (n *Node) CaughtUp() bool {
	if n.caught.Load() {
		return true
	}
	known := n.wire.leaderCommit()
	if n.IsLeader() {
		known = heard{n.raft.CurrentTerm(), n.raft.CommitIndex()}
	}
	if known.commit == 0 || !n.holds(known) {
		return false
	}
	n.caught.Store(true)
	return true
}

// holds reports whether the store has what a leader had committed. A leader knows
// what is committed only from the first entry of its own term on.
func (n *Node) holds(h heard) bool {
	if n.raft.CommitIndex() < h.commit {
		return false
	}
	var e raft.Log
	for i := h.commit; i > 0; i-- {
		if err := n.stores.logs.GetLog(i, &e); err != nil {
			return errors.Is(err, raft.ErrLogNotFound) // it is in the snapshot that was restored
		}
		if i == h.commit && e.Term != h.term {
			return false
		}
		if e.Type == raft.LogCommand {
			return n.cfg.Store.View().Index() >= i
		}
	}
	return true
}
