package consensus

import (
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// NodeDialer is a stream layer that makes sure of who answers. Without it, a
// request to a node whose address is now another's is answered by that one, and
// its vote counts twice; or by the candidate itself.
type NodeDialer interface {
	DialNode(id, addr string, timeout time.Duration) (net.Conn, error)
}

// named is raft's transport with the id of the node that is meant in each
// address, and the address found when it is needed, so that a node with a new
// one stays a member.
type named struct {
	*raft.NetworkTransport
	addrOf func(nodeID string) (string, bool) // may be nil
}

// between is not part of an id or an address.
const between = "@"

func (t *named) to(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	if t.addrOf != nil {
		if now, ok := t.addrOf(string(id)); ok && now != "" {
			addr = raft.ServerAddress(now)
		}
	}
	return raft.ServerAddress(id) + between + addr
}

// meant is the id and the address in what to made.
func meant(addr raft.ServerAddress) (id, at string) {
	id, at, ok := strings.Cut(string(addr), between)
	if !ok {
		return "", string(addr)
	}
	return id, at
}

func (t *named) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, t.to(id, addr))
}

func (t *named) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, t.to(id, addr), args, resp)
}

func (t *named) RequestVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, t.to(id, addr), args, resp)
}

func (t *named) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, t.to(id, addr), args, resp)
}

func (t *named) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, t.to(id, addr), args, resp, data)
}

func (t *named) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, t.to(id, addr), args, resp)
}
