package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// Raft keeps whom it voted for by the address that the request names, and the
// term of the vote in a write of its own. Two nodes that exchange addresses
// within one election would both get the vote; and a node that dies between the
// two writes would give a second one to whom it voted for in an earlier term. So
// raft is shown, and keeps, a ballot in place of the address. Of a vote for itself
// it keeps the address still, which is like no ballot.

// ballot is a vote for a node in a term. No address looks like one.
func ballot(id string, term uint64) []byte { return fmt.Appendf(nil, "%s%s%d", id, between, term) }

// byNode replaces the address in the request for a vote. Raft also compares that
// with the address of the leader, which may ask anew: it is told by its id here.
func byNode(r *raft.RequestVoteRequest, leader raft.ServerID) *raft.RequestVoteRequest {
	c := *r // it may be the sender's own
	c.Addr = ballot(string(r.ID), r.Term)
	c.LeadershipTransfer = r.LeadershipTransfer || leader != "" && string(leader) == string(r.ID)
	return &c
}
