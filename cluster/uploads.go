package cluster

import (
	"context"
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
)

// neededUploads are those of some uploads that a version of a job has and that the others
// would ask this node for. A node that does not follow the log asks the leader.
func (a *Agent) neededUploads(digests []string) (map[string]bool, error) {
	needed := server.NeededUploads{Digests: digests}
	if a.hasState() {
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
