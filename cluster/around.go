package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
)

// unlinked reports whether no connection to a node could be made, although its
// host is not known to be up without it, or nothing that was sent on one was
// acknowledged: the link may be cut.
func unlinked(err error) bool {
	var op *net.OpError
	return errors.Is(err, syscall.ETIMEDOUT) || errors.As(err, &op) && op.Op == "dial" && !errors.Is(err, syscall.ECONNREFUSED)
}

// helloPath is where a node says what it has.
const helloPath = "/v1/internal/hello"

// around are nodes that may pass a request of this one on to the leader, which
// err says that it did not get to; none if it did. A hello goes no other way: it
// would make a node ready that the leader cannot ask, over and over.
func (a *Agent) around(leader, path string, err error) []string {
	if !unlinked(err) || path == helloPath {
		return nil
	}
	return members{a}.PassOn(leader)
}

// getFromLeader asks the leader for a stream, through another node where the
// link to it is cut: a node that does not lead relays.
func (a *Agent) getFromLeader(ctx context.Context, leader, path string) (*http.Response, error) {
	get := func(id string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+path, nil)
		if err != nil {
			return nil, err
		}
		return a.peers.transport(id).RoundTrip(req)
	}
	res, err := get(leader)
	for _, other := range a.around(leader, path, err) {
		if res, err = get(other); !unlinked(err) {
			break
		}
	}
	return res, err
}
