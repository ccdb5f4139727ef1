package cluster

import (
	"context"
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
)

// neededUploads are those of some uploads that a version of a job has and that the others
// would ask this node for. The leader tells all others: what they know of the log may be of
// before the job that needs one.
func (a *Agent) neededUploads(digests []string) (map[string]bool, error) {
	needed := server.NeededUploads{Digests: digests}
	if a.raft.Leads() {
		needed = needed.Of(a.store.View(), a.self.NodeID)
	} else if err := a.needAtLeader(&needed); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, d := range needed.Digests {
		out[d] = true
	}
	return out, nil
}

func (a *Agent) needAtLeader(of *server.NeededUploads) error {
	leader := a.leaderID()
	if leader == "" {
		return api.Errorf(api.CodeUnavailable, "no leader is known")
	}
	ctx, cancel := context.WithTimeout(context.Background(), askMember)
	defer cancel()
	asked := *of
	return a.peers.call(ctx, leader, http.MethodPost, server.NeededPath, asked, of)
}
