package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// A voter that was replaced while it was away knows nothing of it: no leader
// speaks to it any more, so it would ask for votes for ever, and take itself for
// a member. Whoever it asks tells it so.

// retiredText is in the answer to a voter that is none any more, whatever else
// the transport makes of an error.
const retiredText = "the cluster has other voters by now"

// retires tells a node that wants to be elected that it is not a voter any more, if
// this node knows more than it: then only a leader can make it one again, and
// that speaks to it first.
func (n *Node) retires(r *raft.RequestPreVoteRequest) error {
	voters := n.Voters()
	if len(voters) == 0 || slices.Contains(voters, string(r.ID)) {
		return nil
	}
	commit := n.raft.CommitIndex()
	known, err := n.stores.endsAt(commit)
	if err != nil || known.LastIndex < commit {
		return err
	}
	if !(Standing{LastTerm: r.LastLogTerm, LastIndex: r.LastLogIndex}).Behind(Standing{LastTerm: known.LastTerm, LastIndex: commit}) {
		return nil
	}
	return fmt.Errorf("%s, and node %s is not among them", retiredText, r.ID)
}

// errRetired is why a node does not ask for votes.
var errRetired = errors.New("this node is not a voter any more")

// heardRetired takes in that another node said so.
func (w *wire) heardRetired(err error) bool {
	if err == nil || !strings.Contains(err.Error(), retiredText) {
		return false
	}
	if !w.retired.Swap(true) {
		select {
		case w.retire <- struct{}{}:
		default:
		}
	}
	return true
}
