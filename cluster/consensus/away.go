package consensus

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// memberEvery is how often it is looked whether a node that does not answer is
// still a member.
const memberEvery = 5 * time.Second

var errAway = errors.New("the node does not answer, and no longer counts")

// away holds entries to nodes that do not answer back until a heartbeat gets
// through. Raft alone would wait ever longer between two tries, up to 10 s, and
// so long a voter that comes back would know its leader but not the log.
type away struct {
	ending <-chan struct{}

	mu    sync.Mutex
	nodes map[raft.ServerID]chan struct{} // closed when it answers again
}

func newAway(ending <-chan struct{}) *away {
	return &away{ending: ending, nodes: map[raft.ServerID]chan struct{}{}}
}

// await blocks while a node is away and member says that it matters.
func (a *away) await(id raft.ServerID, member func() bool) error {
	a.mu.Lock()
	back := a.nodes[id]
	a.mu.Unlock()
	if back == nil {
		return nil
	}
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for {
		select {
		case <-back:
			return nil
		case <-a.ending:
			return errEnding
		case <-tick.C:
			if !member() {
				return errAway
			}
		}
	}
}

// tried takes in how a call to a node went.
func (a *away) tried(id raft.ServerID, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	back := a.nodes[id]
	switch {
	case err != nil && back == nil:
		a.nodes[id] = make(chan struct{})
	case err == nil && back != nil:
		close(back)
		delete(a.nodes, id)
	}
}

// forget lets everybody go: this node begins or ends to lead.
func (a *away) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, back := range a.nodes {
		close(back)
	}
	clear(a.nodes)
}
